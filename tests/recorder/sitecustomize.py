"""Python imports this at its start wherever tests/conftest.py put this folder on PYTHONPATH: in every swarmd that a
test starts. What a command writes with --json is then also kept in the file that CLI_DOCUMENTS names, and
tests/conftest.py holds it against the schema of the command.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

FILE = "CLI_DOCUMENTS"
MODULE = "swarmd.node.console.output"


def record(module: ModuleType) -> None:
    """Have `Output.document` keep what it writes."""
    write = module.Output.document

    def document(self: Any, value: Any) -> None:
        write(self, value)
        kept = {
            "command": self.command,
            "test": os.environ.get("PYTEST_CURRENT_TEST", ""),
            # As the command's reader gets it: bytes are hex, keys are text.
            "document": json.loads(json.dumps(value, default=module.plain)),
        }
        # Whole lines of many processes in one file: each is one write that appends.
        file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(kept).encode() + b"\n")
        finally:
            os.close(file)

    module.Output.document = document  # type: ignore[attr-defined]


class Finder(importlib.abc.MetaPathFinder):
    """Lets `record` at the module once it has been imported, and is gone."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            record(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get(FILE) and MODULE not in sys.modules:
    sys.meta_path.insert(0, Finder())
