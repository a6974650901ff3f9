"""What must hold after each step. A breach is CorruptState: the daemon stops rather than spread it."""

from swarmd.protocol.faults import CorruptState
from swarmd.protocol.state import State
from swarmd.protocol.views import Views
from swarmd.protocol.work.need import Need


def check(state: State) -> None:
    """P9 for our own account always; everything when the state says so (tests, the simulator, `checks = "full"`)."""
    state.ledger.check([state.me])
    if state.check_everything:
        check_all(state)


def check_all(state: State) -> None:
    """P1, P3, P5, P6 and P9 over the whole state."""
    state.ledger.check_all()
    for need in state.needs.values():
        proposals = {d.proposal for d in need.decides.values() if d.epoch == need.draw}
        if len(proposals) > 1 and not need.equivocators:
            raise CorruptState("P1", f"{need.id}: {len(proposals)} decisions in epoch {need.draw}")
        for decide in need.decides.values():
            if not decide.votes:
                raise CorruptState("P6", f"{need.id}: a decision without a certificate")
        for final in need.finals.values():
            if not final.attests:
                raise CorruptState("P6", f"{need.id}: a result without a certificate")
        for commit in need.commits.values():
            claim = need.claims[commit.claim]
            if commit.worker != claim.worker or commit.ts_ns > claim.until_ns:
                raise CorruptState("P5", f"{need.id}/{commit.task}: a result outside its lease")
        _check_challenges(need)
        escrow = state.ledger.paid_for(need.id)
        if escrow is not None:
            paid = sum(amount for _, amount in escrow.paid.values())
            if paid + escrow.held + escrow.returned != escrow.amount:
                raise CorruptState("P9", f"{need.id}: escrow of {escrow.amount} does not add up")
    if not state.views.same(Views.of(state.needs.values())):
        raise CorruptState("views", "an index of needs or tasks is not what they are")


def _check_challenges(need: Need) -> None:
    """P3: what was reversed does not stand, and nothing is reversed but by a quorum's word."""
    for ruling in need.rulings.values():
        wanted = "reject" if ruling.upheld else "accept"
        reviews = [need.reviews[ref] for ref in ruling.reviews]
        if not reviews or any(r.verdict != wanted or r.challenge != ruling.challenge for r in reviews):
            raise CorruptState("P3", f"{need.id}/{ruling.task}: a challenge ended without a certificate")
    upheld = {need.challenges[r.challenge].commit for r in need.rulings.values() if r.upheld}
    if upheld != need.invalid.keys() or not upheld <= need.fallen:
        raise CorruptState("P3", f"{need.id}: what is reversed is not what challenges came to")
    for task, run in need.runs.items():
        if run.final is not None and run.final.commit in need.fallen:
            raise CorruptState("P3", f"{need.id}/{task}: a reversed result stands")
