"""What the rules of work take as given: genesis, and the rosters that checkpoints fixed."""

from dataclasses import dataclass, field
from functools import lru_cache

from swarmd.protocol.consensus import committee
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.consensus.roster import Roster, of_genesis
from swarmd.protocol.genesis import Genesis


class Seats:
    """A roster made ready to draw from. Equal to itself alone: a look-up by it does not hash all its members.

    `places`: member -> its place among them, from 0.
    """

    __slots__ = ("k_plan", "k_result", "mode", "places", "roster", "weights")

    def __init__(self, roster: Roster, genesis: Genesis) -> None:
        self.roster = roster
        self.places = {did: place for place, did in enumerate(roster.members)}
        self.weights = tuple(sorted(roster.weights.items()))
        self.mode = genesis.quorum_mode
        self.k_plan = committee.k_plan(len(roster.members), genesis)
        self.k_result = committee.k_result(len(roster.members), genesis, roster.bootstrap)


# Nearly every envelope of a need asks for its committees again. A `Seats` never changes.
@lru_cache(maxsize=16_384)
def _drawn(
    seats: Seats,
    purpose: str,
    thread: str,
    task: str,
    epoch: int,
    exclude: tuple[str, ...],
    gone: frozenset[str],
) -> Committee:
    roster, k = seats.roster, seats.k_plan if purpose == "plan" else seats.k_result
    order = committee.ranked(roster.members, purpose, thread, task, epoch, seats.weights, roster.beacon)
    if gone:
        order = tuple(did for did in order if did not in gone)
    return committee.draw(order, k, exclude, seats.mode)


@dataclass(slots=True)
class Terms:
    """`rosters`: epoch -> its verifiers; of epochs that have begun and are needed still, and of the next one."""

    genesis: Genesis
    rosters: dict[int, Roster] = field(default_factory=dict)
    _seats: dict[int, Seats] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.rosters:
            # Whoever chooses an id now must not know the draw it will meet: a roster is fixed an epoch ahead.
            founders = of_genesis(self.genesis)
            self.rosters = {0: founders, 1: founders}

    def known(self, epoch: int) -> int:
        """`epoch`, or, if its roster was let go, the first one after it whose roster was not.

        What is said in so old an epoch is judged alike by all nodes that are in one epoch; a checkpoint settles the rest.
        """
        if epoch in self.rosters:
            return epoch
        return min((kept for kept in self.rosters if kept > epoch), default=max(self.rosters))

    def roster(self, epoch: int) -> tuple[str, ...]:
        """The verifiers of an epoch that has begun here, sorted."""
        return self.rosters[self.known(epoch)].members

    def seats(self, epoch: int) -> Seats:
        """Those of `roster(epoch)`."""
        seats = self._seats.get(epoch)
        if seats is not None and self.rosters.get(epoch) is seats.roster:
            return seats  # nearly always
        epoch = self.known(epoch)
        roster, seats = self.rosters[epoch], self._seats.get(epoch)
        if seats is None or seats.roster is not roster:
            self._seats = {n: kept for n, kept in self._seats.items() if self.rosters.get(n) is kept.roster}
            seats = self._seats[epoch] = Seats(roster, self.genesis)
        return seats

    def k_plan(self, epoch: int) -> int:
        return self.seats(epoch).k_plan

    def k_result(self, epoch: int) -> int:
        return self.seats(epoch).k_result

    def draw(
        self,
        purpose: str,
        thread: str,
        task: str,
        epoch: int,
        exclude: tuple[str, ...],
        gone: frozenset[str] = frozenset(),
    ) -> Committee:
        """A committee of `epoch`, of K_plan for "plan" and K_result for other purposes.

        `exclude` sit in it only if nobody else is left, those who are `gone` never.
        """
        return _drawn(self.seats(epoch), purpose, thread, task, epoch, exclude, gone)


def in_bootstrap(terms: Terms, epoch: int) -> bool:
    """Is an epoch, which has begun here or comes next, one of bootstrap mode: K_result 1, rewards of challenges doubled?"""
    return terms.rosters[epoch].bootstrap
