"""What verifiers sign to take a stake on a chain for an offence that was proved to them. Pure.

The contract is contracts/src/StakeRegistry.sol: a quorum of its roster, each offence once.
"""

from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.eip712 import Domain, address, keccak, uint

_SLASH_TYPE = keccak(b"Slash(address offender,uint256 amount,bytes32 offence,uint256 rosterEpoch)")


def registry_domain(chain_id: int, contract: bytes) -> Domain:
    """The domain of the StakeRegistry at the 20-byte address."""
    return Domain("swarmd StakeRegistry", "1", chain_id, contract)


def slash_digest(domain: Domain, offender: bytes, amount: int, offence: bytes, roster_epoch: int) -> bytes:
    """32 bytes that a verifier signs to take up to `amount` minor units of `offender` (20 bytes)."""
    if len(offence) != 32:
        raise ValueError("an offence is named by 32 bytes")
    struct = _SLASH_TYPE + address(offender) + uint(amount) + offence + uint(roster_epoch)
    return domain.digest(keccak(struct))


def offence_of(mesh_id: bytes, shown: dict[str, Any]) -> bytes:
    """The name of what a checked piece of evidence shows: 32 bytes, the same whichever pair of statements shows it.

    `shown`: as `swarmd.node.consensus.certificates.check` says it. RemoteFault `no-offence` if it is none.
    """
    what, who = shown.get("what"), shown.get("who")
    places: dict[Any, list[str]] = {"fork": ["epoch", "bucket", "seq"], "contradiction": ["need"]}
    place = places.get(what)
    if place is None or type(who) is not str:
        raise RemoteFault("no-offence", f"{str(what)[:32]} is nothing to take a stake for")
    at = [shown[name] for name in place]
    return keccak(b"swarmd/offence/1\0" + encode([mesh_id, what, who, at]))
