"""Finding a policy by what an operator calls it: one that ships, a capsule of this node, or files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarmd import policies
from swarmd.node.policy import capsule as capsules
from swarmd.node.policy.capsule import Package
from swarmd.node.policy.capsule_store import CapsuleStore
from swarmd.node.policy.host import DEFAULT_GAS_LIMIT, WasmGate
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.faults import LocalFault, RemoteFault


@dataclass(frozen=True, slots=True)
class Found:
    """A policy and where it is from: "ships", "capsule" or "file". `folder` has its samples, if it has any."""

    name: str
    origin: str
    wasm: bytes = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)
    gas_limit: int = DEFAULT_GAS_LIMIT
    folder: Path | None = None
    package: Package | None = field(default=None, repr=False)

    def gate(self, cache_dir: Path | None = None) -> WasmGate:
        """What ships was compiled when it was built; all else is compiled with limits."""
        return WasmGate(self.wasm, self.data, cache_dir, self.gas_limit, limited=self.origin != "ships")


def find(text: str, store: CapsuleStore, data_path: Path | None = None) -> Found:
    """The policy that `text` names: NAME of one that ships, a capsule's CID or the beginning of one (8 characters at
    least), a capsule file, a wasm file with data.json beside it, or the folder of one. `data_path` replaces its data.

    LocalFault `no-such-policy`, or what is wrong with it.
    """
    found = _find(text, store)
    if data_path is None:
        return found
    return Found(found.name, found.origin, found.wasm, read_data(data_path), found.gas_limit, found.folder)


def _find(text: str, store: CapsuleStore) -> Found:
    if text in policies.names():
        policy = policies.load(text)
        return Found(text, "ships", policy.wasm, policy.data, folder=_samples_of(policies.folder(text)))
    path = Path(text).expanduser()
    if path.is_dir():
        path = path / f"{path.resolve().name}.wasm"
        if not path.is_file():
            raise LocalFault("no-such-policy", f"{path} does not exist", fix=f"swarmd policy build {text}")
    if path.is_file():
        return _package(path.read_bytes(), str(path)) if path.suffix == ".capsule" else _wasm(path)
    if len(text) >= 8 and text.isalnum():
        return _of(store.get(store.find(text)))
    raise LocalFault(
        "no-such-policy",
        f"{text!r} is no file, no capsule of this node, and none of {', '.join(policies.names())}",
        fix="swarmd policy list",
    )


def _samples_of(folder: Path | None) -> Path | None:
    return folder if folder is not None and (folder / "samples").is_dir() else None


def _wasm(path: Path) -> Found:
    data_path = path.with_name("data.json")
    data = read_data(data_path) if data_path.exists() else {}
    return Found(path.stem, "file", path.read_bytes(), data, folder=_samples_of(path.parent))


def read_data(path: Path) -> Mapping[str, Any]:
    """A data document. LocalFault `policy-data`."""
    try:
        data = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalFault(
            "policy-data",
            f"{path}: {getattr(error, 'strerror', None) or error}",
            fix="it must be one JSON object",
        ) from None
    if not isinstance(data, dict):
        raise LocalFault("policy-data", f"{path} holds no object", fix="it must be one JSON object")
    return data


def read_package(path: Path) -> Package:
    """A capsule file. LocalFault `bad-capsule`."""
    try:
        return capsules.parse_package(path.read_bytes())
    except (OSError, RemoteFault) as error:
        raise LocalFault(
            "bad-capsule",
            f"{path}: {getattr(error, 'strerror', None) or error}",
            fix="swarmd policy capsule create makes one",
        ) from None


def _package(content: bytes, what: str) -> Found:
    try:
        return _of(capsules.parse_package(content))
    except RemoteFault as fault:
        raise LocalFault(fault.code, f"{what}: {fault.message}", fix=fault.fix) from None


def _of(package: Package) -> Found:
    try:
        data = capsules.check_bytes(package)
    except RemoteFault as fault:
        raise LocalFault(fault.code, fault.message, fix=fault.fix) from None
    capsule = package.capsule
    return Found(capsule.name, "capsule", package.wasm, data, capsule.gas_limit, package=package)
