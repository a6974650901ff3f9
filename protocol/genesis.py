"""Genesis: what the members of a mesh agree on before the first envelope.

It fixes the roster of epoch 0, the opening balances (test credit until deposits come from a chain) and the
quorum parameters. The mesh id is its hash, and every signature is made for one mesh id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swarmd.protocol import limits, schema
from swarmd.protocol.cbor import encode
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.faults import LocalFault, RemoteFault


@dataclass(frozen=True, slots=True)
class Genesis:
    """`roster` sorted; `balances` in USDC minor units; `alpha_permille` is the seed's alpha (0.3) x 1000."""

    name: str
    roster: tuple[str, ...]
    balances: Mapping[str, int]
    alpha_permille: int = 300
    k_target: int = 5
    bootstrap_threshold: int = 10
    claim_timeout_s: int = limits.CLAIM_TIMEOUT_S
    expiry_grace_s: int = limits.EXPIRY_GRACE_S

    def to_map(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "roster": list(self.roster),
            "balances": dict(self.balances),
            "k_target": self.k_target,
            "alpha_permille": self.alpha_permille,
            "bootstrap_threshold": self.bootstrap_threshold,
            "claim_timeout_s": self.claim_timeout_s,
            "expiry_grace_s": self.expiry_grace_s,
        }

    @property
    def mesh_id(self) -> bytes:
        """32 bytes: the hash of the canonical genesis."""
        return sha256(b"swarmd/genesis/1\0" + encode(self.to_map())).digest()

    @property
    def mesh_name(self) -> str:
        """A printable id for topics and people."""
        return cid_text(dag_cbor_cid(encode(self.to_map())))


_shape = schema.record(
    {
        "name": schema.text(64),
        "roster": schema.list_of(schema.did, 1, 4096),
        "balances": schema.map_of(schema.did, schema.uint(limits.MAX_AMOUNT), 0, 65_536),
        "k_target": schema.uint(31),  # a certificate, its subject and those who abstained fit into 64 refs
        "alpha_permille": schema.uint(1000),
        "bootstrap_threshold": schema.uint(4096),
        "claim_timeout_s": schema.uint(86_400),
        "expiry_grace_s": schema.uint(86_400),
    }
)


def parse_genesis(value: Any) -> Genesis:
    """A Genesis from its map (of JSON or CBOR); LocalFault `bad-genesis` naming what is wrong."""
    try:
        _shape(value, "genesis")
    except RemoteFault as fault:
        raise LocalFault("bad-genesis", fault.message, fix="take genesis.json anew from a member") from None
    roster = tuple(value["roster"])
    if list(roster) != sorted(set(roster)):
        raise LocalFault("bad-genesis", "the roster must be sorted, each member once")
    if sum(value["balances"].values()) > limits.MAX_AMOUNT:
        raise LocalFault("bad-genesis", "the opening balances add up to more than 2^63-1 minor units")
    if value["k_target"] < 1:
        raise LocalFault("bad-genesis", "k_target must be at least 1")
    return Genesis(**{**value, "roster": roster})
