"""The Solidity contracts: sources, build script, and the compiled artifacts that ship with the package."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled contract. Made by `node contracts/build.js`, read by `load_artifact`."""

    name: str
    abi: tuple[Mapping[str, Any], ...]
    bytecode: bytes  # creation code: what a deployment sends
    deployed_bytecode: bytes  # runtime code: what then lies on chain
    compiler: str  # "solc 0.8.37+commit..."
    source_sha256: str  # hex digest of the .sol file it was built from


@cache
def load_artifact(name: str) -> Artifact:
    """The artifact of the contract `name`, e.g. "SettlementAnchor". LookupError if none ships."""
    if not name.isidentifier():
        raise LookupError(f"not a contract name: {name!r}")
    resource = files(__name__).joinpath("artifacts", f"{name}.json")
    try:
        record = json.loads(resource.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LookupError(f"no artifact ships for the contract {name!r}") from None
    return Artifact(
        name=record["contract"],
        abi=tuple(record["abi"]),
        bytecode=bytes.fromhex(record["bytecode"].removeprefix("0x")),
        deployed_bytecode=bytes.fromhex(record["deployed_bytecode"].removeprefix("0x")),
        compiler=record["compiler"],
        source_sha256=record["source_sha256"],
    )
