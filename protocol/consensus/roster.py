"""The verifiers of one epoch, as the checkpoint before it fixed them, and the beacon that its draws are mixed with.

Who is in the roster of epoch n + 1 is fixed by the checkpoint that opens n; the beacon of n + 1 follows from the
checkpoint that opens n + 1, a whole epoch of everybody's signed statements later. So whoever makes a key for a draw must
do so before anybody knows the draw (adr/0025).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from swarmd.protocol.consensus.committee import too_few
from swarmd.protocol.genesis import Genesis

PLAIN = 1  # tickets of a verifier in each draw
ATTESTED = 2  # and of one that runs in an attested enclave (seed 004, command 70)


@dataclass(frozen=True, slots=True)
class Roster:
    """`members` sorted; `weights` of those that have not `PLAIN`; `bootstrap`: one judge is enough (seed 004, command
    36). `beacon` is empty before the epoch has begun, and in epoch 0."""

    members: tuple[str, ...]
    weights: Mapping[str, int] = field(default_factory=dict)
    bootstrap: bool = True
    beacon: bytes = b""

    def weight(self, did: str) -> int:
        return self.weights.get(did, PLAIN)

    def begun(self, before: bytes, root: bytes) -> "Roster":
        """With its beacon: of that of the epoch `before` and the merkle `root` of all that was said since (32 bytes)."""
        return replace(self, beacon=sha256(b"swarmd/beacon/1\0" + before + root).digest())


def of_genesis(genesis: Genesis) -> Roster:
    """A mesh that is founded with enough verifiers never was in bootstrap mode: its founders named them all."""
    return Roster(genesis.roster, bootstrap=too_few(len(genesis.roster), genesis))
