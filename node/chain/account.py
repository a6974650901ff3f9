"""The account of a home: a secp256k1 key in a file only its owner can read, and the signer over it."""

import secrets
from pathlib import Path

from swarmd.node.chain.client import Call, Fees
from swarmd.node.private_file import write_private
from swarmd.protocol.faults import CorruptState, LocalFault

KEY_BYTES = 32
TRANSFER_GAS = 21_000
# The order of secp256k1: a key is a number from 1 to one less (SEC 2, section 2.4.1).
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def load_or_create_key(path: Path) -> bytes:
    """The 32-byte key in `path` (hex text, mode 0600), made on first use.

    Raises LocalFault `key-exposed` if others can read the file, CorruptState `bad-key` if it holds no key.
    """
    if not path.exists():
        key = 1 + secrets.randbelow(_ORDER - 1)
        write_private(path, key.to_bytes(KEY_BYTES, "big").hex().encode("ascii") + b"\n")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise LocalFault("key-exposed", f"{path} has mode {mode:04o}", fix=f"chmod 600 {path}")
    try:
        found = bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        raise CorruptState("bad-key", f"{path} is not hex") from None
    if len(found) != KEY_BYTES or not 0 < int.from_bytes(found, "big") < _ORDER:
        raise CorruptState("bad-key", f"{path} holds no secp256k1 key")
    return found


class LocalSigner:
    """Signs EIP-1559 transactions with a key held in memory."""

    def __init__(self, key: bytes) -> None:
        from eth_account import Account  # heavy: 0.3 s

        self._account = Account.from_key(key)
        self._key = key
        self.account = bytes.fromhex(self._account.address.removeprefix("0x"))

    def sign(self, call: Call, *, nonce: int, fees: Fees, chain_id: int) -> tuple[bytes, bytes]:
        """The raw transaction and its 32-byte hash."""
        to: bytes | str = "" if call.to is None else call.to
        return self._sign(to, call.data, 0, call.gas, nonce, fees, chain_id)

    def sign_value(self, to: bytes, value_wei: int, *, nonce: int, fees: Fees, chain_id: int) -> bytes:
        """The raw transaction that gives the 20-byte account `to` of our gas money."""
        return self._sign(to, b"", value_wei, TRANSFER_GAS, nonce, fees, chain_id)[0]

    def _sign(
        self, to: bytes | str, data: bytes, value_wei: int, gas: int, nonce: int, fees: Fees, chain_id: int
    ) -> tuple[bytes, bytes]:
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": chain_id,
                "nonce": nonce,
                "to": to,
                "data": data,
                "value": value_wei,
                "gas": gas,
                "maxFeePerGas": fees.max_fee_wei,
                "maxPriorityFeePerGas": fees.priority_fee_wei,
            }
        )
        return bytes(signed.raw_transaction), bytes(signed.hash)

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s || v of an EIP-712 digest: 65 bytes."""
        from swarmd.node.chain.evm_signatures import sign_digest

        return sign_digest(self._key, digest)
