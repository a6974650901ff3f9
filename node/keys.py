"""The node's Ed25519 key: one seed of 32 bytes, in hex, in a file only its owner can read."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import nacl.signing
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault

KEY_FILE = "node.key"


@dataclass(frozen=True, slots=True)
class Identity:
    """The node's DID and what signs for it. `seed` never leaves the process."""

    did: str
    seed: bytes
    _key: nacl.signing.SigningKey

    def __repr__(self) -> str:
        return f"Identity({self.did})"

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `data`."""
        return self._key.sign(data).signature


def _identity(seed: bytes) -> Identity:
    key = nacl.signing.SigningKey(seed)
    return Identity(did_of(bytes(key.verify_key)), seed, key)


def create_key(home: Path) -> Identity:
    """Make a key in `home`; LocalFault `key-exists` if there is one: a lost key is lost money."""
    path = home / KEY_FILE
    seed = secrets.token_bytes(32)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise LocalFault("key-exists", f"{path} is there already", fix="choose another --home") from None
    with os.fdopen(fd, "wb") as file:
        file.write(seed.hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return _identity(seed)


def load_key(home: Path) -> Identity:
    """Read the key; LocalFault if there is none, others can read it, or it is no key."""
    path = home / KEY_FILE
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text("ascii").strip()
        seed = bytes.fromhex(text)
    except FileNotFoundError:
        raise LocalFault(
            "no-home", f"{home} is no swarmd home: {KEY_FILE} is missing", fix="run swarmd init"
        ) from None
    except PermissionError:
        raise LocalFault(
            "key-unreadable", f"{path} cannot be read", fix=f"chown it, chmod 600 {path}"
        ) from None
    except (ValueError, UnicodeDecodeError):
        raise LocalFault("bad-key", f"{path} holds no key", fix="restore it from a backup") from None
    if mode & 0o077:
        raise LocalFault("key-exposed", f"others can read {path} (mode {mode:o})", fix=f"chmod 600 {path}")
    if len(seed) != 32:
        raise LocalFault("bad-key", f"{path} holds {len(seed)} bytes, not 32", fix="restore it from a backup")
    return _identity(seed)
