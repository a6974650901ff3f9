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

# How many of a committee decide: K of 2K-1, which outvotes silence, or 2f+1 of 3f+1, which outvotes f liars.
MAJORITY, BFT = "majority", "bft"
# What keeps two decisions apart: the committee's signatures alone, or a compare-and-set in etcd beside them.
COMMITTEE, ETCD = "committee", "etcd"
MAX_BFT_K = 15  # 2K-1 votes, or as many skips beside the updates they come with, fit into 64 refs


@dataclass(frozen=True, slots=True)
class Genesis:
    """`roster` sorted; `balances` in USDC minor units; `alpha_permille` is the seed's alpha (0.3) x 1000.

    `quorum_mode` (adr/0023) and `arbiter` (adr/0022) stand in genesis because all members must go by the same.
    """

    name: str
    roster: tuple[str, ...]
    balances: Mapping[str, int]
    alpha_permille: int = 300
    k_target: int = 5
    bootstrap_threshold: int = 10
    claim_timeout_s: int = limits.CLAIM_TIMEOUT_S
    expiry_grace_s: int = limits.EXPIRY_GRACE_S
    quorum_mode: str = MAJORITY
    arbiter: str = COMMITTEE
    epoch_s: int = limits.EPOCH_S  # how long an epoch lasts at least; 0: for ever
    # Challenges (adr/0026): how long results can be challenged, and their price is held, after a checkpoint found them;
    # 0: not at all, they are paid at once. What a challenger stakes and may earn, of the price x 1000.
    challenge_window_s: int = 0
    challenge_bond_permille: int = 500
    challenge_reward_permille: int = 250
    verifier_stake: int = limits.VERIFIER_STAKE  # what a verifier locks to join the pool, in minor units
    bootstrap_stable_s: int = limits.BOOTSTRAP_STABLE_S  # how long there must be enough verifiers
    # Of how many epochs in which an author spoke its chains stay open (adr/0043); 0: of all, for ever.
    chain_epochs: int = limits.CHAIN_EPOCHS

    def to_map(self) -> dict[str, Any]:
        """The canonical map. What came later stands in it only where it is not the default, so that a mesh which was
        founded before keeps its id."""
        later = {
            "quorum_mode": (self.quorum_mode, MAJORITY),
            "arbiter": (self.arbiter, COMMITTEE),
            "epoch_s": (self.epoch_s, limits.EPOCH_S),
            "challenge_window_s": (self.challenge_window_s, 0),
            "challenge_bond_permille": (self.challenge_bond_permille, 500),
            "challenge_reward_permille": (self.challenge_reward_permille, 250),
            "verifier_stake": (self.verifier_stake, limits.VERIFIER_STAKE),
            "bootstrap_stable_s": (self.bootstrap_stable_s, limits.BOOTSTRAP_STABLE_S),
            "chain_epochs": (self.chain_epochs, limits.CHAIN_EPOCHS),
        }
        return {
            "name": self.name,
            "roster": list(self.roster),
            "balances": dict(self.balances),
            "k_target": self.k_target,
            "alpha_permille": self.alpha_permille,
            "bootstrap_threshold": self.bootstrap_threshold,
            "claim_timeout_s": self.claim_timeout_s,
            "expiry_grace_s": self.expiry_grace_s,
            **{name: value for name, (value, default) in later.items() if value != default},
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
        "roster": schema.list_of(schema.did, 1, limits.MAX_VERIFIERS),
        "balances": schema.map_of(schema.did, schema.uint(limits.MAX_AMOUNT), 0, 65_536),
        "k_target": schema.uint(31),  # a certificate, its subject and those who abstained fit into 64 refs
        "alpha_permille": schema.uint(1000),
        "bootstrap_threshold": schema.uint(4096),
        "claim_timeout_s": schema.uint(86_400),
        "expiry_grace_s": schema.uint(86_400),
    },
    {
        "quorum_mode": schema.one_of(MAJORITY, BFT),
        "arbiter": schema.one_of(COMMITTEE, ETCD),
        "epoch_s": schema.uint(30 * 86_400),
        "challenge_window_s": schema.uint(30 * 86_400),
        "challenge_bond_permille": schema.uint(10_000),
        "challenge_reward_permille": schema.uint(500),
        "verifier_stake": schema.uint(limits.MAX_AMOUNT),
        "bootstrap_stable_s": schema.uint(365 * 86_400),
        "chain_epochs": schema.uint(1_000_000),
    },
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
    if value.get("quorum_mode") == BFT and value["k_target"] > MAX_BFT_K:
        raise LocalFault("bad-genesis", f"k_target must be at most {MAX_BFT_K} in quorum mode {BFT}")
    if value.get("challenge_window_s") and value.get("epoch_s") == 0:
        raise LocalFault("bad-genesis", "a challenge window ends with a checkpoint: epoch_s must not be 0")
    if value.get("chain_epochs") == 1:
        # What a member signs about money counts in its epoch and the one after.
        raise LocalFault("bad-genesis", "chain_epochs must be 0 (for ever) or at least 2")
    return Genesis(**{**value, "roster": roster})
