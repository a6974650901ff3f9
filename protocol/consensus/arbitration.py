"""Where genesis names an arbiter: who wins is asked of it, and recorded once, before anybody says DECIDE.

The arbiter (etcd, docs/adr/0022-etcd-arbitrates.md) is outside: `Arbitrate` asks it, its answer comes in as `Arbitrated`
like any other input. Certificates stay what they are: a decision still takes a quorum of signatures.
"""

from swarmd.protocol.effects import Arbitrate, Effect
from swarmd.protocol.genesis import ETCD
from swarmd.protocol.state import State
from swarmd.protocol.work.need import Need

WAITING = "the arbiter (etcd): it has not said yet which plan wins"


def may_decide(state: State, need: Need, proposal: bytes, k: int, out: list[Effect]) -> bool:
    """May we say DECIDE for the plan that `proposal` named first? Asks the arbiter, once, if it has not said."""
    if state.genesis.arbiter != ETCD:
        return True
    if need.arbitrated:
        return need.arbitrated == proposal
    _ask(state, need, proposal, k, out)
    need.waiting_for = WAITING
    return False


def settle_dispute(state: State, need: Need, out: list[Effect]) -> None:
    """Two plans with a quorum each: members lied. Then the arbiter's word counts on every node, not only on those
    that decide."""
    if state.genesis.arbiter != ETCD or need.arbitrated or need.decided is None:
        return
    if len({decide.proposal for decide in need.decides.values()}) > 1:
        _ask(state, need, need.decided.proposal, len(need.decided.votes), out)


def _ask(state: State, need: Need, proposal: bytes, k: int, out: list[Effect]) -> None:
    if need.once("arbitrate", need.draw):
        out.append(
            Arbitrate(
                need=need.id,
                epoch=need.draw,
                proposal=proposal,
                lamport=state.lamport,
                k=k,
                decider=state.me,
                at_ns=state.now_ns,
                until_ns=need.deadline_ns,
            )
        )
