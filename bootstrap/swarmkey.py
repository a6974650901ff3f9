"""The pre-shared key of a private mesh, in the file format that other libp2p software reads too."""

import os
import secrets
from pathlib import Path

from swarmd.protocol.faults import LocalFault

KEY_FILE = "swarm.key"
PSK_BYTES = 32
_HEADER = "/key/swarm/psk/1.0.0/"
_BASE16 = "/base16/"


def new_psk() -> bytes:
    return secrets.token_bytes(PSK_BYTES)


def load_psk(home: Path) -> bytes | None:
    """The 32-byte key of `swarm.key` in the home; None if there is none: the mesh is open."""
    path = home / KEY_FILE
    try:
        mode = path.stat().st_mode & 0o777
        lines = path.read_text("ascii").split()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LocalFault("bad-swarm-key", f"{path}: {error}", fix="take it anew from a member") from None
    if mode & 0o077:
        raise LocalFault("key-exposed", f"others can read {path} (mode {mode:o})", fix=f"chmod 600 {path}")
    try:
        header, base, text = lines
        psk = bytes.fromhex(text)
        if header != _HEADER or base != _BASE16 or len(psk) != PSK_BYTES:
            raise ValueError
    except ValueError:
        raise LocalFault(
            "bad-swarm-key", f"{path} is no swarm key", fix=f"it has three lines: {_HEADER} {_BASE16} and hex"
        ) from None
    return psk


def write_psk(home: Path, psk: bytes) -> None:
    """Atomically, 0600; a key that is there already is not written over: LocalFault `home-exists`."""
    path = home / KEY_FILE
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LocalFault("home-exists", f"{path} is there already", fix="choose another --home") from None
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(f"{_HEADER}\n{_BASE16}\n{psk.hex()}\n")
        file.flush()
        os.fsync(file.fileno())
