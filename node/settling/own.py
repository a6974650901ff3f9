"""This node's own binding, in a file of its own: it stands in the manifests whether or not the chain can be reached."""

import json
from pathlib import Path
from typing import Any

from swarmd.node.private_file import write_private
from swarmd.protocol.faults import CorruptState, RemoteFault
from swarmd.protocol.ledger.binding import Binding, binding_from_map, binding_to_map

OWN_FILE = "binding.json"


def save_own(folder: Path, binding: Binding) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(binding_to_map(binding), default=lambda value: value.hex())
    write_private(folder / OWN_FILE, text.encode())


def load_own(folder: Path) -> Binding | None:
    """What this node says of itself, None before `swarmd wallet bind`. CorruptState `bad-binding-file`."""
    path = folder / OWN_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for name in ("account", "did_signature", "account_signature"):
            found[name] = bytes.fromhex(found[name])
        return binding_from_map(found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RemoteFault) as error:
        fix = "remove it, and swarmd wallet bind again"
        raise CorruptState("bad-binding-file", f"{path}: {error}", fix=fix) from None
