"""The node's Ed25519 key: one seed of 32 bytes, in hex, in a file only its owner can read."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import nacl.signing
from swarmd.node.private_file import create_private
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault

KEY_FILE = "node.key"
_LOST = "restore a backup into a new home (swarmd backup restore); without one this node's key is lost"


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
    """Make a key in `home`: all of it or nothing. LocalFault `key-exists` if there is one: a lost key is lost money."""
    path = home / KEY_FILE
    seed = secrets.token_bytes(32)
    try:
        create_private(path, seed.hex().encode() + b"\n")
    except FileExistsError:
        raise LocalFault("key-exists", f"{path} is there already", fix="choose another --home") from None
    return _identity(seed)


def load_key(home: Path) -> Identity:
    """Read the key; LocalFault if there is none, others can read it, or it is no key."""
    path = home / KEY_FILE
    try:
        mode = path.stat().st_mode & 0o777
        text = path.read_text("ascii").strip()
        seed = bytes.fromhex(text)
    except FileNotFoundError:
        raise no_key(home) from None
    except PermissionError:
        fix = f"run swarmd as its owner; or as root: chown USER {path} && chmod 600 {path}"
        raise LocalFault("key-unreadable", f"{path} cannot be read", fix=fix) from None
    except OSError as error:
        raise LocalFault("bad-key", f"{path}: {error.strerror}", fix=_LOST) from None
    except (ValueError, UnicodeDecodeError):
        raise LocalFault("bad-key", f"{path} holds no key", fix=_LOST) from None
    if mode & 0o077:
        raise LocalFault("key-exposed", f"others can read {path} (mode {mode:o})", fix=f"chmod 600 {path}")
    if len(seed) != 32:
        raise LocalFault("bad-key", f"{path} holds {len(seed)} bytes, not 32", fix=_LOST)
    return _identity(seed)


def no_key(home: Path) -> LocalFault:
    """Why a home has no key: it is none yet, or its key was lost, which no `init` may hide."""
    if (home / "journal.db").exists() or (home / "genesis.json").exists():
        return LocalFault("key-lost", f"{home} is a node's home, and its {KEY_FILE} is gone", fix=_LOST)
    missing = (
        f"{home} is no swarmd home: {KEY_FILE} is missing" if home.exists() else f"{home} does not exist"
    )
    return LocalFault("no-home", missing, fix="make a node there: swarmd init, or swarmd up --init")
