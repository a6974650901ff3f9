"""Keys of accounts on chains with value: Web3 Secret Storage v3 (scrypt, AES-128-CTR), which every wallet reads.

Deriving the key from the passphrase takes about a second and 256 MB: worker thread only.
"""

import json
import secrets
from pathlib import Path
from typing import Any

from swarmd.node.private_file import write_private
from swarmd.protocol.faults import CorruptState, LocalFault

KEYSTORE_FILE = "keystore.json"
PASSPHRASE_VARIABLE = "SWARMD_KEYSTORE_PASSPHRASE"
MIN_PASSPHRASE_CHARS = 8
# What others wrote is read up to these; beyond, a file could take all memory.
MAX_KEYSTORE_BYTES = 65_536
MAX_SCRYPT_N = 1 << 18


def create(folder: Path, passphrase: str, key: bytes | None = None) -> str:
    """Encrypt `key` (32 bytes; None: a fresh one) into the folder; returns the checksummed address.

    Raises LocalFault: `keystore-exists`, `weak-passphrase`, `bad-key`.
    """
    from eth_account import Account

    path = folder / KEYSTORE_FILE
    if path.exists():
        fix = "a lost key is lost money: move the file away yourself if you mean it"
        raise LocalFault("keystore-exists", f"{path} holds an account already", fix=fix)
    if len(passphrase) < MIN_PASSPHRASE_CHARS:
        fix = f"set {PASSPHRASE_VARIABLE} to at least {MIN_PASSPHRASE_CHARS} characters"
        raise LocalFault("weak-passphrase", f"it has {len(passphrase)} characters", fix=fix)
    try:
        account = Account.from_key(secrets.token_bytes(32) if key is None else key)
    except ValueError:
        fix = "a secp256k1 key has 32 bytes"
        raise LocalFault("bad-key", "that is no key of an account", fix=fix) from None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = Account.encrypt(account.key, passphrase, kdf="scrypt")
    write_private(path, json.dumps(record, indent=1).encode() + b"\n")
    return str(account.address)


def address_in(folder: Path) -> str | None:
    """The checksummed address of the keystore, without its passphrase; None if there is no keystore."""
    from eth_utils.address import to_checksum_address

    path = folder / KEYSTORE_FILE
    if not path.exists():
        return None
    try:
        return str(to_checksum_address("0x" + _read(path)["address"].removeprefix("0x")))
    except (KeyError, AttributeError, ValueError):
        raise CorruptState("bad-keystore", f"{path} names no address") from None


def unlock(folder: Path, passphrase: str) -> bytes:
    """The 32-byte key. Raises LocalFault `no-keystore`, `wrong-passphrase`, `key-exposed`; CorruptState."""
    return decrypt(_read(folder / KEYSTORE_FILE, private=True), passphrase)


def decrypt(record: dict[str, Any], passphrase: str) -> bytes:
    """The 32-byte key of a keystore, ours or a wallet's."""
    from eth_account import Account

    try:
        n = int((record.get("crypto") or record["Crypto"])["kdfparams"].get("n", 0))
        if n > MAX_SCRYPT_N:
            raise LocalFault("bad-keystore", f"its scrypt wants n={n}", fix="use one of n=262144 or less")
        return bytes(Account.decrypt(record, passphrase))
    except ValueError as error:
        if "MAC" in str(error):
            fix = f"set {PASSPHRASE_VARIABLE} to what it was made with"
            raise LocalFault(
                "wrong-passphrase", "the passphrase does not open the keystore", fix=fix
            ) from None
        raise LocalFault("bad-keystore", str(error)[:200], fix="a Web3 Secret Storage v3 file") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise LocalFault(
            "bad-keystore", f"{type(error).__name__}: {error}", fix="a Web3 Secret Storage v3 file"
        ) from None


def read_file(path: Path) -> dict[str, Any]:
    """A keystore from anywhere. LocalFault `no-keystore`, `bad-keystore`."""
    return _read(path)


def _read(path: Path, *, private: bool = False) -> dict[str, Any]:
    try:
        if private and (mode := path.stat().st_mode & 0o777) & 0o077:
            raise LocalFault("key-exposed", f"{path} has mode {mode:04o}", fix=f"chmod 600 {path}")
        with open(path, "rb") as file:
            text = file.read(MAX_KEYSTORE_BYTES + 1)
    except FileNotFoundError:
        raise LocalFault("no-keystore", f"{path} does not exist", fix="swarmd wallet create") from None
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or len(text) > MAX_KEYSTORE_BYTES:
        raise LocalFault("bad-keystore", f"{path} is no keystore", fix="a Web3 Secret Storage v3 file (JSON)")
    return found
