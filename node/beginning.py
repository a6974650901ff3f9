"""What a journal begins with: an empty state, or the one at the last checkpoint that was adopted."""

from swarmd.node.journal import Journal
from swarmd.protocol.dumping import load
from swarmd.protocol.envelope import Envelope, parse
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.state import State


def begin(
    journal: Journal, genesis: Genesis, me: str, fresh: State | None = None
) -> tuple[State, list[Envelope]]:
    """(state before the first input on record, what its node had said before that and must still know of)."""
    fresh = fresh or State(genesis, me, check_everything=True)
    dumped = journal.dumped()
    if dumped is None:
        return fresh, []
    state = load(genesis, me, dumped[0], check_everything=fresh.check_everything)
    return state, [parse(raw) for raw in dumped[1]]
