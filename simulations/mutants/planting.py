"""A bug, and how a process comes to import the core with it: past the cache of compiled files, once and for good."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `module` (of swarmd.protocol), `before` becomes `after`."""

    what: str
    module: str
    before: str
    after: str


class Planter(MetaPathFinder):
    """Finds one module of the core and gives its source changed; fails loudly if the change does not fit."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = "swarmd.protocol." + mutant.module
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> Any:
        # Past the cache of compiled files: it holds the true module.
        source = self.get_data(self.path).decode()
        return compile(planted(self._mutant, source), self.path, "exec", dont_inherit=True)


def planted(mutant: Mutant, source: str) -> str:
    """`source` with the bug in it; ValueError unless the change fits exactly once."""
    if source.count(mutant.before) != 1:
        raise ValueError(f"{mutant.what}: found {source.count(mutant.before)} times in {mutant.module}")
    return source.replace(mutant.before, mutant.after)


def plant_in_core(mutant: Mutant) -> None:
    """Have this process import the core with the bug in it, for good."""
    planter = Planter(mutant)
    if planter.name in sys.modules:
        raise RuntimeError(f"{planter.name} is loaded already: the bug would have no effect")
    sys.meta_path.insert(0, planter)
