"""How a snapshot is made: an engine that only observes takes the batches of the cut, on top of the snapshot before.

It has no duties, no policy and no clock, and gets the batches in one order, so all who have the cut make the same bytes.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from swarmd.protocol import engine, merkle
from swarmd.protocol.batch import Batch
from swarmd.protocol.chains import Chain, Head, is_over
from swarmd.protocol.checkpoint import adopting, closing, settling
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, ClosedNeed, Cut, OpenNeed, Snapshot
from swarmd.protocol.cids import dag_cbor_cid
from swarmd.protocol.envelope import parse
from swarmd.protocol.escrow import money as escrow_money
from swarmd.protocol.escrow import settling as escrow_settling
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Adopted
from swarmd.protocol.ledger.accounts import Account
from swarmd.protocol.pool import folding
from swarmd.protocol.shadow import keeping, rivals
from swarmd.protocol.state import NOBODY, State
from swarmd.protocol.work.committees import plan_committee
from swarmd.protocol.work.need import Need

EXPIRED = "expired"
KEPT_ROSTERS = 16  # of epochs that are over: a need that was posted in one may be on its way still


def in_order(batches: Iterable[Batch]) -> list[Batch]:
    """The order in which a maker takes batches: causes come first as a rule, and each chain in its order."""
    return sorted(
        batches, key=lambda b: order_of(b.envelopes[-1].lamport, b.author, b.epoch, b.bucket, b.seq)
    )


def order_of(lamport: int, author: str, epoch: int, bucket: int, seq: int) -> tuple[int, str, int, int, int]:
    """The key of `in_order`; `lamport` is that of the batch's last envelope, which is what a journal knows of it."""
    return (lamport, author, epoch, bucket, seq)


def choose_cut(heads: Mapping[Chain, Head], base: Snapshot | None, epoch: int) -> Cut:
    """The cut of the checkpoint that opens `epoch`, by who holds `heads`: all of it, but never less than the last one.

    Chains of `epoch` and later are left out: what they say counts only once that epoch has begun. So are closed ones.
    """
    over = base.over if base is not None else {}
    cut = {chain: head for chain, head in heads.items() if chain[1] < epoch and not is_over(over, chain)}
    for chain, head in _carried(base).items():
        if chain not in cut or cut[chain].seq < head.seq:
            cut[chain] = head  # we began at the snapshot, and have not got what came before it
    return cut


def _carried(base: Snapshot | None) -> Cut:
    """What the last cut has and the next one must have: all but the chains that were closed with it."""
    if base is None:
        return {}
    return {chain: head for chain, head in base.cut.items() if not is_over(base.over, chain)}


def why_not_cut(cut: Cut, base: Snapshot | None, epoch: int) -> str:
    """Why `cut` is none for the checkpoint that opens `epoch`, after `base`; "" if it is one."""
    early = next((chain for chain in cut if chain[1] >= epoch), None)
    if early is not None:
        return f"a chain of epoch {early[1]}, which has not begun"
    over = base.over if base is not None else {}
    late = next((chain for chain in cut if is_over(over, chain)), None)
    if late is not None:
        return f"a chain of epoch {late[1]}, which is closed"
    for chain, head in _carried(base).items():
        found = cut.get(chain)
        if found is None or found.seq < head.seq or (found.seq == head.seq and found.hash != head.hash):
            return f"it goes back behind the last one in a chain of {chain[0]}"
    return ""


class Maker:
    """`feed` the batches of a cut in order, then `finish`."""

    def __init__(self, genesis: Genesis, base: Snapshot | None, base_state: bytes = NO_SNAPSHOT) -> None:
        """`base` and its hash: the snapshot before; None before the first."""
        self._prev = base_state
        self._present = base.present if base is not None else {}
        self._state = State(genesis, NOBODY)
        self._raws: dict[str, dict[bytes, bytes]] = {}
        self._ids: list[bytes] = []
        self._parked = dict(base.parked) if base is not None else {}
        self._open_before = base.open if base is not None else {}
        if base is not None:
            for need in base.open.values():
                self._raws[need.id] = {dag_cbor_cid(raw): raw for raw in need.envelopes}
            for raw in base.parked:
                envelope = parse(raw)
                self._raws.setdefault(envelope.thread, {})[envelope.id] = raw
            engine.step(self._state, Adopted(base, {}, 0))

    def feed(self, batch: Batch) -> None:
        for envelope in batch.envelopes:
            self._ids.append(envelope.id)
            self._raws.setdefault(envelope.thread, {})[envelope.id] = envelope.raw
        engine.step(self._state, Admitted(batch.envelopes, {}, 0))

    def finish(self, cut: Cut) -> Snapshot:
        """The snapshot that opens the next epoch. RemoteFault `bad-cut` for a cut that no honest node names."""
        state = self._state
        epoch = state.epoch + 1
        if any(chain[1] >= epoch for chain in cut):
            # They would be taken for dealt with, and have moved nothing.
            raise RemoteFault("bad-cut", f"it has envelopes of epochs after {state.epoch}")
        if any(is_over(state.over, chain) for chain in cut):
            raise RemoteFault("bad-cut", "it has chains that the last one closed")
        opened: dict[str, OpenNeed] = {}
        closed: dict[str, ClosedNeed] = {}
        # The chain with the latest word may be closed: time does not go back for that.
        at_ns = max(settling.time_of(cut), state.pool.cut_ns)
        self._swap()
        idle = self._idle()
        ends = settling.settle(state, at_ns)
        wrong = Counter(did for name in ends for did in settling.marks_of(state.needs[name]))
        folded = folding.fold(state, at_ns, idle, wrong)
        escrows = escrow_settling.settle(state, folded.pool.cut_ns)
        self._settle()
        lapsed = settling.lapse(state, self._open_before, at_ns)
        self._settle()
        for name, need in sorted(state.needs.items()):
            if name in lapsed:
                closed[name] = ClosedNeed(name, need.owner, EXPIRED, {}, 0, need.draws)
            elif name in ends:
                escrow = state.ledger.escrows[name]
                paid, marks = dict(escrow.paid), settling.marks_of(need)
                closed[name] = ClosedNeed(
                    name, need.owner, escrow.state, paid, escrow.returned, need.draws, marks
                )
            else:
                opened[name] = self._open(need, epoch, at_ns)
        # What waits for a need that nobody has heard of for two epochs is garbage.
        parked = {
            envelope.raw: since
            for (thread, _), waiting in state.parked.items()
            if thread not in closed and thread not in escrows.ended
            for envelope in waiting
            if (since := self._parked.get(envelope.raw, epoch)) > epoch - 2
            or thread in opened
            or thread in escrows.opened
        }
        self._ids.sort()
        draws = {draw for need in opened.values() for draw in need.draws}
        known, root = state.terms.rosters, merkle.root_of(self._ids)
        # Those of the epochs before are for who lied in the ballots that ended them, and for what is late.
        rosters = {
            draw: known[draw]
            for draw in sorted(known)
            if draw < epoch and (draw in draws or draw > epoch - KEPT_ROSTERS)
        }
        # Its members were fixed a checkpoint ago; what its draws are mixed with, nobody could know until now.
        rosters[epoch] = known[epoch].begun(known[state.epoch].beacon, root)
        rosters[epoch + 1] = folded.roster
        chain_epochs = state.genesis.chain_epochs
        present = closing.present_after(cut, epoch, self._present, chain_epochs)
        return Snapshot(
            epoch=epoch,
            prev=self._prev,
            root=root,
            ops=len(self._ids),
            rosters=rosters,
            cut=dict(cut),
            # Some were only ever looked at.
            accounts={d: a for d, a in state.ledger.accounts.items() if a != Account()},
            reputation={did: (good, bad) for did, (good, bad) in state.reputation.items()},
            open=opened,
            closed=closed,
            parked=parked,
            bonds=settling.bonds_of(state),
            pool=folded.pool.members,
            stakes={
                name: escrow
                for name, escrow in state.ledger.escrows.items()
                if name.startswith("stake-") and escrow.state == "funded"
            },
            enough_since_ns=folded.pool.enough_since_ns,
            cut_ns=folded.pool.cut_ns,
            shadow=keeping.part_of(state, epoch),
            escrows=escrow_settling.book(state, escrows),
            over=closing.over_after(cut, state.over, present, chain_epochs),
            present=present,
        )

    def _swap(self) -> None:
        """Of two NEEDs under one entry, the one stands that something final comes after, though the cut has it later."""
        state, swapped = self._state, rivals.to_swap(self._state, self._raws)
        for name, ref in sorted(swapped.items()):
            raws = self._raws[name]
            envelopes = (raws[ref], *(raw for other, raw in raws.items() if other != ref))
            draws = (state.terms.known(parse(raws[ref]).epoch),)
            adopting.reopen(state, OpenNeed(name, envelopes, draws, -1, b"", {}, None), ())
            need = state.needs[name]
            state.ledger.payments[name] = need.payments()
            state.ledger.closings.pop(name, None)
            if (end := need.closing_state()) is not None:
                state.ledger.closings[name] = end
        if swapped:
            state.ledger.rebuild()

    def _settle(self) -> None:
        """What returned may be the money that needs and escrows waited for."""
        ledger = self._state.ledger
        while ledger.newly_funded:
            name = ledger.newly_funded.pop()
            need = self._state.needs.get(name)
            if need is not None:
                ledger.settle(need.id, need.payments(), need.closing_state())
            else:
                escrow_money.funded(self._state, name)

    def _idle(self) -> set[str]:
        """Who is in the committee of a need that two checkpoints find undecided although it has a plan to vote on, and
        said nothing about it."""
        found: set[str] = set()
        for name, need in self._state.needs.items():
            planned = any(proposal.draw == need.draw for proposal in need.proposals.values())
            # Nobody is asked to vote on what is not paid for.
            asked = planned and self._was_paid_for(name)
            if need.decided is None and need.closed is None and need.undecided >= 0 and asked:
                drawn = plan_committee(self._state.terms, need, need.draw)
                heard = {parse(raw).sender for raw in self._raws[name].values()}
                found |= set(drawn.members) - heard
        return found

    def _was_paid_for(self, need: str) -> bool:
        """Did the checkpoint before find it so?"""
        before = self._open_before.get(need)
        return before is not None and before.escrow is not None

    def _open(self, need: Need, epoch: int, at_ns: int) -> OpenNeed:
        undecided, draws = need.undecided, need.draws
        if need.decided is not None:
            undecided = -1
        elif undecided < 0:
            undecided = epoch
        elif self._was_paid_for(need.id) and _may_draw(draws[-1], undecided, epoch):
            draws = (*draws, epoch)  # the second checkpoint that finds it so, and it could have been decided
        raws = self._raws[need.id]
        seen = sorted(need.seen, key=lambda ref: (ref != need.envelope, need.seen[ref][0], ref))
        return OpenNeed(
            id=need.id,
            envelopes=tuple(raws[ref] for ref in seen),
            draws=draws,
            undecided=undecided,
            decision=bytes(need.decided.id) if need.decided is not None else b"",
            finals={task: bytes(run.final.id) for task, run in need.runs.items() if run.final is not None},
            escrow=self._state.ledger.paid_for(need.id),
            found=settling.found(self._state, need, at_ns),
        )


def _may_draw(last: int, undecided: int, epoch: int) -> bool:
    """Is it time for another committee? Each one has its roster kept for as long as the need is open: after the first sixteen
    a need waits for the next an eighth of the time that it has waited (adr/0048)."""
    return epoch - last >= max(1, (last - undecided) // 8)
