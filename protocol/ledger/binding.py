"""A did:key and an account on a chain that say of each other that they are one owner's. Pure.

Both keys sign one statement: Ed25519 by the node's key, EIP-712 by the account's. One signature alone binds nothing:
anybody can claim somebody else's account, or somebody else's DID, for its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarmd.protocol import schema
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.eip712 import (
    ADDRESS_BYTES,
    SIGNATURE_BYTES,
    Domain,
    Recover,
    address,
    keccak,
    require_signer,
    uint,
)

_BINDING_TYPE = keccak(b"Binding(string did,address account,uint256 madeAt)")
_TAG = b"swarmd/binding/1\0"

# (public key of 32 bytes, data, signature of 64 bytes) -> is it of that key?
VerifyEd25519 = Callable[[bytes, bytes, bytes], bool]


@dataclass(frozen=True, slots=True)
class Binding:
    """`did` and `account` (20 bytes) on chain `chain_id` belong together, said at `made_at_s` (seconds since 1970)."""

    did: str
    account: bytes
    chain_id: int
    made_at_s: int
    did_signature: bytes = b""
    account_signature: bytes = b""

    def digest(self) -> bytes:
        """32 bytes that both sign (the node's key with a tag before them)."""
        domain = Domain("swarmd Binding", "1", self.chain_id, bytes(20))
        return domain.digest(
            keccak(_BINDING_TYPE + keccak(self.did.encode()) + address(self.account) + uint(self.made_at_s))
        )

    def for_did(self) -> bytes:
        """What the node's Ed25519 key signs."""
        return _TAG + self.digest()


def check_binding(binding: Binding, recover: Recover, verify: VerifyEd25519) -> None:
    """RemoteFault `bad-did` or `bad-signature` unless both have signed."""
    key = public_key_of(binding.did)
    if len(binding.did_signature) != 64 or not verify(key, binding.for_did(), binding.did_signature):
        raise RemoteFault("bad-signature", f"not signed by {binding.did}")
    require_signer(recover, binding.digest(), binding.account_signature, binding.account)


binding_shape = schema.record(
    {
        "did": schema.did,
        "account": schema.blob(ADDRESS_BYTES, ADDRESS_BYTES),
        "chain": schema.uint((1 << 63) - 1),
        "made_at_s": schema.uint((1 << 53) - 1),
        "did_signature": schema.blob(64, 64),
        "account_signature": schema.blob(SIGNATURE_BYTES, SIGNATURE_BYTES),
    }
)


def binding_to_map(binding: Binding) -> dict[str, Any]:
    """As it stands in a manifest."""
    return {
        "did": binding.did,
        "account": binding.account,
        "chain": binding.chain_id,
        "made_at_s": binding.made_at_s,
        "did_signature": binding.did_signature,
        "account_signature": binding.account_signature,
    }


def binding_from_map(value: Any) -> Binding:
    """Well-formed; whether it is signed, `check_binding` says. RemoteFault `bad-payload`."""
    binding_shape(value, "binding")
    return Binding(
        value["did"],
        value["account"],
        value["chain"],
        value["made_at_s"],
        value["did_signature"],
        value["account_signature"],
    )
