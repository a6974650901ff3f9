"""EIP-712 digests of the few structs that accounts on a chain sign for swarmd, and what a signature must look like.

Pure: keccak comes from pycryptodome, and recovering the signer (secp256k1) is a port that the node fills. The structs are
those of contracts/src; tests hold the digests against the contracts.
https://eips.ethereum.org/EIPS/eip-712, https://eips.ethereum.org/EIPS/eip-2 (low s)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from Crypto.Hash import keccak as _keccak
from swarmd.protocol.faults import RemoteFault

ADDRESS_BYTES = 20
SIGNATURE_BYTES = 65
MAX_UINT256 = (1 << 256) - 1
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

# (digest of 32 bytes, signature of 65 bytes r || s || v with v 27 or 28) -> the signer's 20-byte address, None if none.
Recover = Callable[[bytes, bytes], bytes | None]


def keccak(data: bytes) -> bytes:
    return _keccak.new(digest_bits=256, data=data).digest()


_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


@dataclass(frozen=True, slots=True)
class Domain:
    """Where a signature counts: one contract on one chain."""

    name: str
    version: str
    chain_id: int
    contract: bytes  # 20 bytes

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed: 32 bytes."""
        separator = keccak(
            _DOMAIN_TYPE
            + keccak(self.name.encode())
            + keccak(self.version.encode())
            + uint(self.chain_id)
            + address(self.contract)
        )
        return keccak(b"\x19\x01" + separator + struct_hash)


def uint(value: int) -> bytes:
    """A number as a word. ValueError unless it fits."""
    if not 0 <= value <= MAX_UINT256:
        raise ValueError(f"{value} is no uint256")
    return value.to_bytes(32, "big")


def address(account: bytes) -> bytes:
    """A 20-byte address as a word."""
    if len(account) != ADDRESS_BYTES:
        raise ValueError(f"an address has 20 bytes, not {len(account)}")
    return bytes(12) + account


def words(parts: Iterable[bytes]) -> bytes:
    """The hash of an array whose elements are words or hashes."""
    return keccak(b"".join(parts))


def check_signature(signature: bytes) -> None:
    """RemoteFault `bad-signature` for what the contracts would refuse: another length, another v, a high s.

    A high s would be a second valid signature of the same thing; nothing may be told apart by its signature anyway.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise RemoteFault("bad-signature", f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if signature[64] not in (27, 28):
        raise RemoteFault("bad-signature", f"v is 27 or 28, not {signature[64]}")
    if not 0 < int.from_bytes(signature[32:64], "big") <= _HALF_ORDER:
        raise RemoteFault("bad-signature", "s is zero or above half the order of the curve")


def require_signer(recover: Recover, digest: bytes, signature: bytes, signer: bytes) -> None:
    """RemoteFault `bad-signature` unless `signer` (20 bytes) signed `digest`."""
    check_signature(signature)
    if recover(digest, signature) != signer:
        raise RemoteFault("bad-signature", f"not signed by 0x{signer.hex()}")
