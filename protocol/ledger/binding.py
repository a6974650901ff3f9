"""A did:key and an account on a chain that say of each other that they are one owner's. Pure.

Both keys sign one statement: Ed25519 by the node's key, EIP-712 by the account's. One signature alone binds nothing:
anybody can claim somebody else's account, or somebody else's DID, for its own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.eip712 import Domain, Recover, address, keccak, require_signer, uint

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
