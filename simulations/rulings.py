"""What checkpoints settle, reckoned by the auditor from the envelopes in their cuts, and compared with what they say.

A checkpoint's cut is all that it takes from the nodes: which needs it closes, which it draws a new committee for, what
stands, what everybody has and the roots all follow from the auditor's own books of that cut.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from swarmd.protocol.batch import Batch
from swarmd.protocol.checkpoint.snapshot import Cut, Snapshot
from swarmd.protocol.envelope import Envelope, epoch_thread, parse
from swarmd.simulations import deals, pools, windows
from swarmd.simulations.books import (
    Books,
    Closed,
    Outcome,
    Ruling,
    Standing,
    bond_name,
    books,
    lock_of,
    settle,
)
from swarmd.simulations.oracle import Oracle

Say = Callable[[str, bool, str], None]  # (property, holds, what is wrong if not)


class Rulings:
    """`heard` every batch that anybody made durable; `adopted` when a node begins an epoch."""

    def __init__(self, oracle: Oracle) -> None:
        self.of: dict[int, Ruling] = {0: Ruling()}
        self.honest: set[str] = set()
        self._oracle = oracle
        self._batches: dict[bytes, Batch] = {}
        self._states: dict[int, bytes] = {}

    @property
    def latest(self) -> Ruling:
        return self.of[max(self.of)]

    def heard(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._batches.setdefault(batch.hash, batch)

    def adopted(self, snapshot: Snapshot, state: bytes, say: Say) -> None:
        """A node begins the epoch that `snapshot`, of hash `state`, opens."""
        epoch = snapshot.epoch
        known = self._states.setdefault(epoch, state)
        say("P1", known == state, f"two checkpoints open epoch {epoch}")
        if epoch in self.of or known != state:
            return
        say("P6", self._certified(epoch, state), f"no quorum certified the checkpoint of epoch {epoch}")
        before = self.of.get(epoch - 1)
        if before is None:
            say("P1", False, f"epoch {epoch} begins before {epoch - 1} did anywhere")
            return
        fresh = self._in_cut(snapshot.cut, before.cut)
        ids = sorted(envelope.id for batch in fresh for envelope in batch.envelopes)
        root = tree(ids)
        say("P7", (snapshot.root, snapshot.ops) == (root, len(ids)), f"the root of epoch {epoch} is another")
        late = [chain for chain in snapshot.cut if chain[1] >= epoch]
        say("P7", not late, f"the cut of epoch {epoch} has chains of epochs that had not begun")
        self._chains(before, snapshot, say)
        needs: dict[str, list[Envelope]] = {}
        for batch in sorted(fresh, key=_place):
            for envelope in batch.envelopes:
                if envelope.kind == "NEED" and not self._oracle.wrong_need(envelope.id):
                    needs.setdefault(envelope.thread, []).append(envelope)
        first = {thread: each[0].id for thread, each in needs.items()}
        held = [*ids, *before.parked, *before.waiting]
        found = books(self._oracle, before, held, {}, first)
        if better := _under_what_is_final(needs, found):
            found = books(self._oracle, before, held, {}, first | better)
        pool = pools.told([envelope for batch in fresh for envelope in batch.envelopes])
        stakes, wrong = pools.ends(before, found, snapshot, self.honest)
        found.money |= stakes
        ruling = self.of[epoch] = self._rule(before, snapshot, ids, found, pool, stakes)
        wrong += pools.seats(self._oracle, before, found, pool, snapshot, self.honest)
        say("P7", not wrong, f"epoch {epoch}: {'; '.join(wrong[:3])}")
        following = snapshot.rosters[epoch + 1]
        self._oracle.rosters[epoch + 1] = (following.members, following.bootstrap)
        beacon = self._oracle.beacons[epoch - 1]
        self._oracle.epoch_began(epoch, sha256(b"swarmd/beacon/1\0" + beacon + root).digest())
        _compare(snapshot, before, ruling, found, say)
        same = snapshot.rosters[epoch].members == self._oracle.rosters[epoch][0]
        say("P7", same, f"the roster of epoch {epoch} is not what the checkpoint before fixed")
        say(
            "P7",
            snapshot.rosters[epoch].beacon == self._oracle.beacons[epoch],
            f"the beacon of epoch {epoch} is another",
        )

    def _chains(self, before: Ruling, snapshot: Snapshot, say: Say) -> None:
        """Are the chains in the cut those that were open, none of them shorter, and are the right ones closed?"""
        cut, epoch = snapshot.cut, snapshot.epoch
        shut = {chain for chain in before.cut if chain[1] <= before.over.get(chain[0], -1)}
        back = [c for c, seq in before.cut.items() if c not in shut and (c not in cut or cut[c].seq < seq)]
        shut |= {chain for chain in cut if chain[1] <= before.over.get(chain[0], -1)}
        say("P4", not shut & cut.keys(), f"the cut of epoch {epoch} has chains that were closed")
        say("P7", not back, f"the cut of epoch {epoch} goes back in {len(back)} chains")
        say("P4", snapshot.over == self._over(before, cut), f"epoch {epoch} closes other chains")

    def _over(self, before: Ruling, cut: Cut) -> dict[str, int]:
        """An author keeps the last few epochs at whose end it was heard, and what it said since; at most four times as many
        in which it spoke at all."""
        kept = self._oracle.terms.chain_epochs
        over = dict(before.over)
        for author, epochs in self._present(before, cut).items() if kept else ():
            spoken = sorted({chain[1] for chain in cut if chain[0] == author})
            ends = [
                over.get(author, -1),
                *[epoch - 1 for epoch in epochs[: -kept + 1][-1:]][: len(epochs) >= kept],
            ]
            ends += spoken[: -4 * kept][-1:]
            if max(ends) >= 0:
                over[author] = max(ends)
        return over

    def _present(self, before: Ruling, cut: Cut) -> dict[str, tuple[int, ...]]:
        """At the ends of which epochs each author was heard in them."""
        heard = {author: (before.epoch,) for author, epoch, _ in cut if epoch == before.epoch}
        authors = {*before.present, *(chain[0] for chain in cut)}
        return {author: before.present.get(author, ()) + heard.get(author, ()) for author in authors}

    def _certified(self, epoch: int, state: bytes) -> bool:
        """Did a quorum of those who end the epoch vote for it?"""
        members, quorum = self._oracle.epoch_enders(epoch - 1)
        voters: dict[bytes, set[str]] = {}
        said = self._oracle.threads.get(epoch_thread(epoch), ())
        proposals = {
            e.id
            for e in said
            if e.kind == "CHECKPOINT" and e.payload["state"] == state and e.sender in members
        }
        for envelope in said:
            if envelope.kind == "ATTEST_PLAN" and envelope.payload["verdict"] == "accept":
                for ref in envelope.refs:
                    if ref in proposals and envelope.sender in members and envelope.epoch == epoch - 1:
                        voters.setdefault(ref, set()).add(envelope.sender)
        return any(len(each) >= quorum for each in voters.values())

    def _rule(
        self,
        before: Ruling,
        snapshot: Snapshot,
        ids: Sequence[bytes],
        found: Books,
        pool: pools.Told,
        stakes: Mapping[str, Outcome],
    ) -> Ruling:
        epoch, cut = before.epoch + 1, snapshot.cut
        at_ns = max((self._batches[head.hash].envelopes[-1].ts_ns for head in cut.values()), default=0)
        at_ns = max(at_ns, before.time_ns)
        ended = windows.end_needs(self._oracle, before, found, at_ns)
        settle(self._oracle, found, before, before.returned)
        closed = dict(before.closed)
        opened = {}
        for thread, outcome in found.needs.items():
            if thread in ended:
                closed[thread] = Closed(found.opened[thread], outcome, found.escrows[thread], epoch)
                continue
            need = found.opened[thread]
            known = before.open.get(thread)
            draws, undecided = before.draws(need), known.undecided if known is not None else -1
            if outcome.decision:
                undecided = -1
            elif undecided < 0:
                undecided = epoch
            elif known is not None and known.paid and 8 * (epoch - draws[-1]) > draws[-1] - undecided - 8:
                draws = (*draws, epoch)  # for the second time in a row, or more, and ever more rarely
            opened[thread] = Standing(
                need.id, found.record[thread], draws, undecided, outcome.decision, dict(outcome.finals)
            )
        parked = {}
        late = set()
        for ref in (*ids, *before.parked):
            said = self._oracle.seen[ref]
            thread = said.thread
            if said.kind == "CHALLENGE" and thread not in before.closed:
                if ref not in found.record.get(thread, ()):
                    late.add(bond_name(said))
            if (
                said.kind == "NEED"
                or thread in closed
                or not thread.startswith("need-")
                or ref in found.record.get(thread, ())
            ):
                continue
            since = before.parked.get(ref, epoch)
            # What waits for a need that nobody has heard of for two epochs is dropped.
            if thread in opened or since > epoch - 2:
                parked[ref] = since
        strays = {}
        for ref in (*ids, *before.strays):
            said = self._oracle.seen[ref]
            closed_need = before.closed.get(said.thread)
            if said.kind == "CHALLENGE" and closed_need is not None and closed_need.epoch < before.epoch:
                # A snapshot names the needs that its own checkpoint closed, and no others: this one waits like one about a
                # need that nobody has heard of, and its bond with it. Of those it names, the bond goes home at once.
                late.add(bond_name(said))
                since = before.strays.get(ref, epoch)
                if since > epoch - 2:
                    strays[ref] = since
        home = windows.bonds_home(self._oracle, before, found, ended, late, at_ns)
        settle(self._oracle, found, before, before.returned | home)
        said_ns = max((self._oracle.seen[ref].ts_ns for ref in ids), default=0)
        traded = self._trades(before, ids, found, max(before.cut_ns, said_ns))
        unclaimed = traded.pop("unclaimed")
        traded["purses"] |= stakes
        home = home | unclaimed
        settle(self._oracle, found, before, before.returned | home)
        over = windows.overdue(self._oracle, before, found, at_ns)
        windows.lapse(self._oracle, before, found, before.returned | home, over)
        unpaid = before.unpaid
        for thread in over - found.escrows.keys():
            outcome = replace(found.needs[thread], state="EXPIRED", paid={}, closing="expired")
            closed[thread] = Closed(found.opened[thread], outcome, ("expired", 0, {}, 0), epoch)
            del opened[thread]
            if thread not in found.lapsed:
                unpaid |= {thread}
        parked = {ref: since for ref, since in parked.items() if self._oracle.seen[ref].thread not in closed}
        locks = {
            name: lock
            for name, lock in found.locks.items()
            if name in found.escrows or name in found.lapsed or lock.seq >= found.applied.get(lock.owner, 0)
        }
        returned = frozenset(name for name in before.returned | home if name in found.escrows)
        opened = {
            thread: replace(
                standing,
                found=windows.found(self._oracle, before, found, thread, at_ns),
                paid=thread in found.escrows,
            )
            for thread, standing in opened.items()
        }
        return Ruling(
            epoch,
            {chain: head.seq for chain, head in cut.items()},
            opened,
            closed,
            parked,
            locks,
            found.applied,
            returned,
            {
                **{did: at for did, at in before.left.items() if did not in pool.joining},
                **{did: before.left.get(did, epoch) for did in pool.leaving},
            },
            before.seated | set(snapshot.rosters[epoch + 1].members),
            windows.bonds_settled(before, found),
            over=self._over(before, cut),
            present=self._present(before, cut),
            time_ns=at_ns,
            strays=strays,
            lapsed=frozenset(found.lapsed),
            unpaid=unpaid,
            sent=found.sent.kept(self._oracle, epoch, frozenset(found.escrows)),
            **traded,
        )

    def _trades(self, before: Ruling, ids: Sequence[bytes], found: Books, at_ns: int) -> dict[str, Any]:
        """Time passes for escrows; the ended ones are closed, with what their purses come to."""
        epoch = before.epoch + 1
        opened: dict[str, tuple[deals.Item, ...]] = {}
        dealt, purses = dict(before.dealt), dict(before.purses)
        standings = dict(before.standings)

        def remember(did: str, well: int) -> None:
            good, bad = standings.get(did, (0, 0))
            standings[did] = (good + well, bad + 1 - well)

        for thread, account in sorted(found.deals.items()):
            covered = account.purse in found.escrows
            if account.phase != "over":
                account.read([(at_ns, covered)])
            elif account.purse and not covered:
                account.no_money()
            if account.phase != "over":
                opened[thread] = tuple(account.kept)
                if account.purse:
                    found.money[account.purse] = Outcome("", account.payments(), None)
                continue
            paid, fee = account.payments(), account.fee()
            home = sum(amount for name, (_, amount) in paid.items() if name.startswith(deals.HOME))
            dealt[thread] = (
                account.end,
                sum(a for n, (_, a) in paid.items() if not n.startswith(deals.HOME)),
                home,
                fee,
            )
            if account.purse and not account.broke:
                if fee:
                    paid["fee"] = (deals.FEES, fee)
                found.money[account.purse] = purses[account.purse] = Outcome("", paid, account.end)
            elif account.purse:
                del found.money[account.purse]
            if account.purse and account.end == "released":
                remember(account.buyer, 1)
                remember(account.seller, 1)
            if account.purse and account.guilty:
                remember(account.guilty, 0)
        every = [
            ref for ref in (*ids, *before.waiting) if self._oracle.seen[ref].thread.startswith("escrow-")
        ]
        seen = self._oracle.seen
        loose = [ref for ref in every if ref in found.loose and seen[ref].thread not in dealt]
        waiting = {
            ref: since
            for ref in loose
            if (since := before.waiting.get(ref, epoch)) > epoch - 2 or seen[ref].thread in opened
        }
        stay = {deals.purse_name(seen[ref]) for ref in loose if seen[ref].payload.get("op") == "fund"}
        funded = (
            n for n, escrow in found.escrows.items() if n.startswith("purse-") and escrow[0] == "funded"
        )
        return {
            "deals": opened,
            "dealt": dealt,
            "purses": purses,
            "heard": before.heard | set(every) - waiting.keys(),
            "waiting": waiting,
            "standings": standings,
            "cut_ns": at_ns,
            "unclaimed": frozenset(funded) - found.money.keys() - stay,
        }

    def _in_cut(self, cut: Cut, before: Mapping[tuple[str, int, int], int]) -> list[Batch]:
        """The batches of `cut` since the one before, followed back from the hashes it names."""
        found = []
        for chain, head in sorted(cut.items()):
            last, name = before.get(chain, -1), head.hash
            for _ in range(head.seq - last):
                batch = self._batches[name]
                found.append(batch)
                name = batch.prev
        return found


def _under_what_is_final(needs: Mapping[str, Sequence[Envelope]], found: Books) -> dict[str, bytes]:
    """Of several NEEDs of a thread, the one that a certified entry comes after, where it is not the first."""
    several = {thread: each for thread, each in needs.items() if len(each) > 1}
    if not several:
        return {}
    final = set(found.sent.certified)
    locks = [*found.locks.values(), *(lock_of(need) for each in several.values() for need in each)]
    grows = True
    while grows:
        before = {lock.prev for lock in locks if lock.hash() in final}
        grows = not before <= final
        final |= before
    return {
        thread: next((need.id for need in each if lock_of(need).hash() in final), each[0].id)
        for thread, each in several.items()
    }


def _place(batch: Batch) -> tuple[int, str, int, int, int]:
    """Where the protocol's order puts a batch of a cut."""
    return (batch.envelopes[-1].lamport, batch.author, batch.epoch, batch.bucket, batch.seq)


def _compare(snapshot: Snapshot, before: Ruling, ruling: Ruling, found: Books, say: Say) -> None:
    """What the checkpoint says against the auditor's own books of its cut."""

    def same(what: str, theirs: Any, ours: Any, property_id: str = "P7") -> None:
        text = ""
        if theirs != ours:
            name = next(n for n in sorted({*theirs, *ours}) if theirs.get(n) != ours.get(n))
            text = (
                f"epoch {snapshot.epoch}, {what}, {name}: it has {theirs.get(name)}, model {ours.get(name)}"
            )
        say(property_id, not text, text[:500])

    same(
        "closed needs",
        {
            name: (need.owner, need.outcome, dict(need.paid), need.returned)
            for name, need in snapshot.closed.items()
        },
        {
            name: (need.need.sender, need.escrow[0], need.escrow[2], need.escrow[3])
            for name, need in ruling.closed.items()
            if name not in before.closed
        },
    )
    same(
        "open needs",
        {
            name: (
                need.draws,
                need.undecided,
                bytes(need.decision),
                dict(need.finals),
                len(need.envelopes),
                dict(need.found),
            )
            for name, need in snapshot.open.items()
        },
        {
            name: (
                need.draws,
                need.undecided,
                need.decision,
                dict(need.finals),
                len(need.held),
                dict(need.found),
            )
            for name, need in ruling.open.items()
        },
    )
    # What it keeps about needs that were closed long ago is dropped in time, and moves nothing.
    parked = [(parse(raw), since) for raw, since in snapshot.parked.items()]
    waiting = {bytes(e.id): since for e, since in parked if _waits(e, ruling)}
    say("P7", waiting == dict(ruling.parked), f"epoch {snapshot.epoch}: other envelopes wait")
    purses = {did: (each.available, each.locked, each.earned) for did, each in snapshot.accounts.items()}
    model = {did: (each.available, each.locked, each.earned) for did, each in found.purses.items()}
    empty = (0, 0, 0)  # who has spent everything has an account still, others were only ever looked at
    every = {*purses, *model}
    same(
        "accounts",
        {did: purses.get(did, empty) for did in every},
        {did: model.get(did, empty) for did in every},
        "P9",
    )
    held = sum(need.escrow.held for need in snapshot.open.values() if need.escrow is not None)
    held += sum(bond.amount for bond in snapshot.bonds.values() if bond.funded)
    held += sum(stake.held for stake in snapshot.stakes.values())
    book = snapshot.escrows
    held += sum(money.held for _, money in book.purses.values() if money is not None)
    fixed = {name: [_mark(step) for step in each.steps] for name, each in book.open.items()}
    same("open escrows", fixed, {name: [_mark(i) for i in items] for name, items in ruling.deals.items()})
    ended = {name: (e.outcome, e.paid, e.returned, e.fee) for name, e in book.ended.items()}
    same("ended escrows", ended, dict(ruling.dealt), "P9")
    same("standings", dict(book.standings), dict(ruling.standings))
    total = sum(account.available for account in snapshot.accounts.values()) + held
    supply = sum(purse.available + purse.locked for purse in found.purses.values())
    say(
        "P9", total == supply, f"the checkpoint of epoch {snapshot.epoch} has {total} of {supply} minor units"
    )


def _mark(step: Any) -> Any:
    """A step of an escrow, of the core's or of the model's, as one value."""
    if isinstance(step, Envelope):
        return bytes(step.id)
    return step if isinstance(step, tuple) else (step.at_ns, step.covered)


def _waits(envelope: Envelope, ruling: Ruling) -> bool:
    return envelope.thread.startswith("need-") and envelope.thread not in ruling.closed


def tree(leaves: Sequence[bytes]) -> bytes:
    """The merkle root, written as its definition reads: the left subtree is the largest full one."""
    if not leaves:
        return sha256(b"\2swarmd/empty").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + tree(leaves[:left]) + tree(leaves[left:])).digest()
