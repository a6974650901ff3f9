"""The reference as Markdown, made of the code: commands, their documents, settings, the HTTP API, kinds of envelopes, error codes.

`docs/.site/hook.py` puts the pages into the site that `make docs` builds.
"""

import argparse
import ast
import json
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from swarmd.node.api.app import declared
from swarmd.node.config import PREFIX, Config, Loaded
from swarmd.node.console.described import Argument, Described, describe
from swarmd.node.console.documents import DOCUMENTS, ERROR
from swarmd.node.console.outcome import _BY_CODE, MEANING, REFUSED
from swarmd.node.console.reference_api import api
from swarmd.node.console.schema_text import cell, rows, table
from swarmd.node.console.schemas import every_schema, forms

ROOMS = ("protocol", "bootstrap", "node", "policies", "simulations", "contracts")
# Fault -> whose it is
_WHOSE = {
    "LocalFault": "the caller's: nothing was changed",
    "UsageFault": "the command line's",
    "RemoteFault": "a peer's: refused, and scored",
    "CorruptState": "this node's own disk or state: the daemon stops",
}


def pages(parser: argparse.ArgumentParser, root: Path) -> dict[str, str]:
    """Path in docs -> text. `root` of the source tree."""
    document = declared()
    return {
        "reference/commands.md": commands(list(describe(parser))),
        "reference/documents.md": documents(),
        "reference/documents.json": json.dumps(every_schema(), indent=1) + "\n",
        "reference/settings.md": settings(),
        "reference/api.md": api(document),
        "reference/openapi.json": json.dumps(document, indent=1) + "\n",
        "reference/kinds.md": kinds(root),
        "reference/errors.md": errors(root),
    }


def commands(found: list[Described]) -> str:
    lines = [
        "# Commands",
        "",
        "Each command of this version, as `--help` has it. How they are used: [cli.md](../cli.md).",
        "",
    ]
    for each in found:
        if not each.words:
            continue
        lines += [
            f"{'##' if len(each.words) == 1 else '###'} swarmd {' '.join(each.words)}",
            "",
            each.description,
            "",
        ]
        lines += ["```text", *(line.strip() for line in each.usage.splitlines()), "```", ""]
        if each.arguments:
            lines += [
                "| argument | meaning |",
                "| --- | --- |",
                *(_row(argument) for argument in each.arguments),
                "",
            ]
        lines += ["```text", *each.examples, "```", ""]
    return "\n".join(lines)


def _row(argument: Argument) -> str:
    required = " (required)" if argument.required and argument.names else ""
    return f"| `{cell(argument.label)}` | {cell(argument.help)}{required} |"


def documents() -> str:
    """What each command writes with --json; commands that write the same are shown once."""
    lines = [
        "# Documents",
        "",
        "What each command writes with `--json`: one document, or where it streams a document a line. `?` marks what may be",
        "absent; a property that is not here there is not. The same as JSON Schema: `swarmd schema COMMAND --json`, or all of",
        "it in [documents.json](documents.json).",
        "",
    ]
    shown: dict[int, str] = {}
    for name, schema in {"(when it fails)": ERROR, **DOCUMENTS}.items():
        lines += [f"## swarmd {name}", ""]
        if schema.get("description"):
            lines += [f"{schema['description'][0].upper()}{schema['description'][1:]}.", ""]
        if id(schema) in shown:
            lines += [f"As of `swarmd {shown[id(schema)]}`.", ""]
            continue
        shown[id(schema)] = name
        for number, form in enumerate(forms(schema)):
            lines += ["or", ""] if number else []
            found = [(f"`{path}`", kind, text) for path, kind, text in rows(form, str)]
            lines += table(("property", "type", "meaning"), found) or ["Any object.", ""]
    return "\n".join(lines)


def settings() -> str:
    lines = [
        "# Settings",
        "",
        "In `swarmd.toml` of the home, as `SWARMD_*` variables, or as flags of `swarmd up`; the later wins. `swarmd config",
        "show` names the origin of each.",
        "",
        "| setting | variable | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    rows = {row["name"]: row for row in Loaded(Config(), defaultdict(lambda: "default"), Path()).rows()}
    for each in fields(Config):
        row = rows[each.name]
        value = cell(str(row["value"])) or " "
        lines.append(f"| `{each.name}` | `{PREFIX}{each.name.upper()}` | `{value}` | {cell(row['doc'])} |")
    return "\n".join(lines) + "\n"


def kinds(root: Path) -> str:
    """Each kind with its schema, as protocol/kinds.py has it."""
    source = (root / "protocol" / "kinds.py").read_text("utf-8")
    lines = [
        "# Kinds of envelopes",
        "",
        "The payload of each, as `protocol/kinds.py` checks it; [wire.md](../wire.md) has the rest.",
    ]
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "SCHEMAS":
            assert isinstance(node.value, ast.Dict)
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                assert key is not None
                written = ast.get_source_segment(source, value, padded=True) or ""
                lines += [
                    "",
                    f"## {ast.unparse(key)}",
                    "",
                    "```py",
                    textwrap.dedent(written).replace("schema.", ""),
                    "```",
                ]
    return "\n".join(lines) + "\n"


def errors(root: Path) -> str:
    """Each code of a fault that the source raises by name."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            for fault, code in _raised(ast.parse(path.read_text("utf-8"))):
                found[code][0].add(fault)
                found[code][1].add(path.relative_to(root).as_posix())
    lines = [
        "# Errors",
        "",
        "`code` of the `error` that a command prints with `--json`. A code stays what it is; messages may change.",
        "",
        "| code | whose | exit code | raised in |",
        "| --- | --- | --- | --- |",
    ]
    for code, (faults, places) in sorted(found.items()):
        whose = "; ".join(_WHOSE[fault] for fault in sorted(faults))
        exit_code = 6 if faults == {"CorruptState"} else _BY_CODE.get(code, REFUSED)
        shown = ", ".join(f"`{place}`" for place in sorted(places)[:3]) + (" ..." if len(places) > 3 else "")
        lines.append(f"| `{code}` | {whose} | {exit_code} | {shown} |")
    lines += ["", "## Exit codes", "", "| code | meaning |", "| --- | --- |"]
    lines += [f"| {code} | {meaning} |" for code, meaning in MEANING.items()]
    return "\n".join(lines) + "\n"


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if (
            not isinstance(node, ast.Call)
            or not isinstance(node.func, ast.Name)
            or node.func.id not in _WHOSE
        ):
            continue
        if node.func.id == "UsageFault":
            yield node.func.id, "usage"
        elif node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            yield node.func.id, node.args[0].value
