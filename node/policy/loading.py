"""The policy that a node starts with, and the capsules of its home over it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd import policies
from swarmd.node.policy.capsule_store import CapsuleStore
from swarmd.node.policy.capsules import Capsules
from swarmd.node.policy.host import WasmGate
from swarmd.protocol.canonical_json import parse_json
from swarmd.protocol.faults import LocalFault


def make_capsules(home: Path, policy_path: str, signers: Sequence[str], me: str) -> Capsules:
    """The capsules of the home, over the policy that is configured."""
    cache = home / "cache"
    store = CapsuleStore(home / "policies")
    return Capsules(store, load_gate(policy_path, cache), me=me, signers=signers, cache_dir=cache)


def load_gate(policy_path: str, cache: Path) -> WasmGate:
    """The policy that ships, another of those (`policy_path` is its name), or the compiled wasm at `policy_path` with
    the data.json beside it. LocalFault `bad-policy` if it cannot be read."""
    if policy_path in ("", *policies.names()):
        policy = policies.load(policy_path or "base")
        return WasmGate(policy.wasm, policy.data, cache)
    path = Path(policy_path).expanduser()
    data_path = path.with_name("data.json")
    try:
        data: Any = parse_json(data_path.read_bytes()) if data_path.exists() else {}
        return WasmGate(path.read_bytes(), data, cache, limited=True)
    except (OSError, ValueError) as error:
        raise LocalFault(
            "bad-policy",
            f"{path}: {getattr(error, 'strerror', None) or error}",
            fix="see policy_path in swarmd.toml",
        ) from None
