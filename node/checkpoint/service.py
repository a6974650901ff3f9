"""Carries out what the engine asks about the end of an epoch: make a snapshot, check another's, adopt a certified one."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio
from swarmd.node.checkpoint.archive import Archive
from swarmd.node.checkpoint.electing import LATE, Electing
from swarmd.node.checkpoint.exchange import MAX_CHECKPOINTS, Exchange
from swarmd.node.checkpoint.files import Followed
from swarmd.node.checkpoint.making import Absent, Incomplete, OtherHistory, Snapshots
from swarmd.node.checkpoint.pruning import Pruner
from swarmd.node.checkpoint.records import Kept, Records
from swarmd.node.codec import effect_id
from swarmd.node.journal import Journal
from swarmd.node.ports import PeerGone, Transport
from swarmd.node.runner import Runner
from swarmd.node.state.sync import Sync
from swarmd.protocol.batch import Batch, EnvelopeProof, prove
from swarmd.protocol.chains import Chain, Head, is_over
from swarmd.protocol.checkpoint import adopting, ballots, closing
from swarmd.protocol.checkpoint import snapshot as snapshots
from swarmd.protocol.checkpoint.making import choose_cut, why_not_cut
from swarmd.protocol.checkpoint.snapshot import ClosedNeed, Packed, Snapshot
from swarmd.protocol.effects import Adopt, CheckSnapshot, MakeSnapshot
from swarmd.protocol.envelope import Envelope, bucket_of, epoch_thread
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault
from swarmd.protocol.inputs import Adopted, SnapshotChecked, SnapshotMade
from swarmd.protocol.shadow import keeping

log = logging.getLogger("swarmd.checkpoint")

SETTLE_S = 1.0  # a cut is this old when it is proposed, so that others have it by gossip
# To get a proposal's cut and what we lack of it. Making it is our own work and takes what it takes: the ballot's rounds go on,
# and what was made for an early one answers a later one that proposes the same.
CHECK_TIMEOUT_S = 60.0
RETRY_S = 1.0
SEAL_S = 0.02
Wish = MakeSnapshot | CheckSnapshot | Adopt


class Unsealed(LocalFault):
    """Some of a certificate is said and not yet signed: a matter of milliseconds."""


class Checkpoints:
    """`start` effects while `run` runs; `serve` peers; `catch_up` with one that is epochs ahead."""

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        records: Records,
        transport: Transport,
        sync: Sync,
        peer_of: Callable[[str], str],
        pruner: Pruner,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self.records = records
        self._transport = transport
        self._sync = sync
        self._peer_of = peer_of
        self._pruner = pruner
        pruner.proposed = self._proposed
        self.archive = Archive(runner, journal, records)
        self._exchange = Exchange(records, transport, sync, peer_of)
        self._snapshots = Snapshots(runner.genesis, journal, records)
        self._electing = Electing()
        runner.watchers.append(lambda envelope: self._electing.seen(runner.state, envelope))
        self._running: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._making = trio.Lock()
        self._catching = trio.Lock()
        self.last: dict[str, Any] = {}  # how the last snapshot was made, for `swarmd consensus status`

    async def run(self, kept: Iterable[Wish], *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled, beginning with what the outbox still holds."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for wish in kept:
                self.start(wish)
            nursery.start_soon(self._pruner.run)
            task_status.started()
            await trio.sleep_forever()

    def start(self, wish: Wish) -> None:
        key = effect_id(wish)
        if key not in self._running and self._nursery is not None:
            self._running.add(key)
            self._nursery.start_soon(self._carry_out, key, wish)

    async def _carry_out(self, key: str, wish: Wish) -> None:
        """Again and again until it is done or the epoch is over: peers come and go, disks fill and empty."""
        try:
            while self._runner.state.epoch < wish.epoch:
                pause_s = RETRY_S
                try:
                    match wish:
                        case MakeSnapshot():
                            await self._make(wish)
                        case CheckSnapshot():
                            await self._check(wish)
                        case Adopt():
                            await self._adopt(wish)
                    return
                except Unsealed:
                    pause_s = SEAL_S
                except (LocalFault, PeerGone) as fault:
                    log.info("%s waits: %s", key, fault)
                except CorruptState:
                    raise
                except Exception:
                    # The isolation boundary of what a peer gave us (P10).
                    log.exception("%s failed; trying again", key)
                await trio.sleep(pause_s)
        finally:
            self._running.discard(key)

    async def begin_at(self, epoch: int, state: bytes, certificate: tuple[EnvelopeProof, ...]) -> None:
        """Adopt a checkpoint whose snapshot was put into the records, and begin our chains at its cut."""
        await self._take(epoch, state, certificate, Followed((), {}, {}))

    def _proposed(self) -> list[bytes]:
        ballot = self._runner.state.ballot
        return [] if ballot is None else [proposed.state for proposed in ballot.proposals.values()]

    def status(self) -> dict[str, Any]:
        """The last checkpoint, the ballot about the next, and what is kept where."""
        state = self._runner.state
        latest, ballot = self.records.latest(), state.ballot
        return {
            "epoch": state.epoch,
            "state": latest.state.hex() if latest is not None else "",
            "signatures": len(latest.certificate) - 1 if latest is not None else 0,
            "since_ns": state.epoch_since_ns,
            "epoch_s": state.genesis.epoch_s,
            "fenced": state.fenced,
            "orphaned": {need: [each.hex() for each in ids] for need, ids in state.orphaned.items()},
            "ballot": None
            if ballot is None
            else {
                "round": ballot.promised,
                "proposals": len(ballot.proposals),
                "votes": max(map(len, ballot.votes.values()), default=0),
                "refused": sorted(set(ballot.refusals.values())),
            },
            "last_made": dict(self.last),
            "tiers": self._pruner.status(),
        }

    # Making and checking -------------------------------------------------------------------------------

    async def _make(self, wish: MakeSnapshot) -> None:
        state = await self._made_before(wish.epoch, wish.round) or await self._made_now(wish)
        root = (await self._snapshots.load(state)).root
        self._runner.tell(lambda at_ns: SnapshotMade(wish.epoch, wish.round, root, state, at_ns))

    async def _made_now(self, wish: MakeSnapshot) -> bytes:
        cut = choose_cut(self._runner.chains.heads, await self._snapshots.base(), wish.epoch)
        await trio.sleep(SETTLE_S)
        async with self._making:
            # While we waited we may have made one of another's cut.
            if known := await self._made_before(wish.epoch, wish.round):
                return known
            began = time.perf_counter()
            packed = await self._snapshots.make(cut)
            self._note(await self._snapshots.load(packed.state), packed, time.perf_counter() - began)
            return packed.state

    async def _made_before(self, epoch: int, round_: int) -> bytes | None:
        """Of the snapshots that we made of this epoch, by ourselves or to check another's, the one to propose again.

        A new one would have a longer cut and take longer still; on a busy mesh each would come after its round. What most
        have made already they vote for at once. None if there is none, or so many have refused it that no quorum is left.
        """
        if self._runner.state.epoch + 1 == epoch:
            for state in self._electing.electable(self._runner.state, self._snapshots.made):
                with suppress(Absent):
                    if not await self._broken_promise(state, round_):
                        return state
        return None

    def _note(self, found: Snapshot, packed: Packed, took_s: float) -> None:
        self.last = {
            "epoch": found.epoch,
            "state": packed.state.hex(),
            "root": found.root.hex(),
            "ops": found.ops,
            "open": len(found.open),
            "closed": len(found.closed),
            "accounts": len(found.accounts),
            "bytes": len(packed.head) + sum(map(len, packed.parts.values())),
            "took_ms": round(1000 * took_s),
            "apart": self._snapshots.apart,
        }

    async def _check(self, wish: CheckSnapshot) -> None:
        same, reason = await self._same(wish)
        if same:
            round_ = ballots.round_of(self._runner.state, wish.proposal)
            reason = await self._broken_promise(wish.state, round_)
            same = not reason
        self._runner.tell(lambda at_ns: SnapshotChecked(wish.proposal, same, reason, at_ns))

    async def _broken_promise(self, state: bytes, round_: int) -> str:
        found = await self._snapshots.load(state)
        return keeping.broken_promise(self._runner.state, found, round_)

    async def _same(self, wish: CheckSnapshot) -> tuple[bool, str]:
        """Have we made the snapshot, or do we make the same of the same cut? And why not."""
        if self.records.frame(wish.state) is not None:
            found = await self._snapshots.load(wish.state)
            return found.root == wish.root, "another root"
        try:
            with trio.move_on_after(CHECK_TIMEOUT_S) as patience:
                peer = self._peer(wish.holder)
                cut = await self._exchange.cut_of(peer, wish.state)
                if why := why_not_cut(cut, await self._snapshots.base(), wish.epoch):
                    return False, why
                await self._complete(cut, peer)
            if patience.cancelled_caught:
                return False, LATE
            async with self._making:
                if self.records.frame(wish.state) is not None:
                    return await self._same(wish)  # it was made while we waited, for an earlier round
                packed = await self._snapshots.make(cut)
        except RemoteFault as fault:
            self._transport.report(self._peer_of(wish.holder), fault.code)
            return False, f"{fault.code}: {fault.message}"
        except OtherHistory as fault:
            return False, fault.message
        found = await self._snapshots.load(packed.state)
        if (packed.state, found.root) != (wish.state, wish.root):
            return False, f"the cut gives {packed.state.hex()[:16]} here, not {wish.state.hex()[:16]}"
        return True, ""

    def _peer(self, did: str) -> str:
        peer = self._peer_of(did)
        if not peer:
            raise PeerGone(f"not connected with {did}")
        return peer

    async def _complete(self, cut: snapshots.Cut, peer: str) -> None:
        """Get what of a cut gossip has not brought."""
        while wants := self._snapshots.missing(cut, self._runner.chains.heads):
            asked = [[*chain, first, last] for chain, first, last in wants[:256]]
            came, _ = await self._sync.fetch(peer, asked)
            if came == 0:
                raise Incomplete(f"{len(wants)} chains of the cut, which who proposed it does not give")

    # Adopting ------------------------------------------------------------------------------------------

    async def _adopt(self, wish: Adopt) -> None:
        certificate = self._proofs(wish)
        await self._have(wish.state, wish.holders)
        await self._take(wish.epoch, wish.state, certificate)

    async def _have(self, state: bytes, holders: Sequence[str]) -> None:
        """See to it that the snapshot is here, whole."""
        try:
            await self._snapshots.load(state)
        except Absent:
            await self._exchange.get(state, holders)

    def _proofs(self, wish: Adopt) -> tuple[EnvelopeProof, ...]:
        """The certificate as envelopes with their seals. LocalFault as long as one of ours is not sealed yet."""
        wanted = {ref: place for place, ref in enumerate(wish.certificate)}
        found: dict[int, EnvelopeProof] = {}
        for _, _, batch in self._journal.bucket_batches(bucket_of(epoch_thread(wish.epoch))):
            if isinstance(batch, Batch):
                for index, envelope in enumerate(batch.envelopes):
                    if envelope.id in wanted:
                        found[wanted[envelope.id]] = prove(batch, index)
        if 0 not in found:
            raise Unsealed("no-certificate", "the checkpoint's own batch is not here yet")
        proofs = tuple(found[place] for place in sorted(found))
        # Not all that voted need be here in a batch; a quorum must.
        roster = self._runner.state.terms.roster(wish.epoch - 1)
        try:
            ballots.verify_certificate(self._runner.genesis.mesh_id, wish.epoch, roster, proofs)
        except RemoteFault as fault:
            raise Unsealed("no-certificate", fault.message) from None
        return proofs

    async def _take(
        self,
        epoch: int,
        state: bytes,
        certificate: tuple[EnvelopeProof, ...],
        passed: Followed | None = None,
    ) -> None:
        """Adopt a snapshot that is here whole. `passed`: the checkpoints up to it, where we jump over some; then our
        chains begin at its cut where we lack what is before."""
        found = await self._snapshots.load(state)
        if found.epoch != epoch:
            raise CorruptState("P7", f"the certified snapshot of epoch {epoch} says it is of {found.epoch}")
        head = self.records.body(state)
        assert head is not None
        kept = Kept(epoch, state, head, certificate)

        def make(at_ns: int) -> Adopted:
            # Within the turn's transaction: with the checkpoint comes all that follows from it, or nothing.
            runner = self._runner
            stale = self._stale(found)
            self.records.add(kept, found, self.archive.row_of)
            if passed is not None:
                self.records.add_passed(passed.chain, passed.parts)
                self.records.set_floor(state)
                for chain, last in found.cut.items():
                    if is_over(found.over, chain):
                        continue
                    if chain not in runner.chains.heads or runner.chains.heads[chain].seq < last.seq:
                        runner.chains.restore(chain, last)
            wanted = {*adopting.to_rebuild(runner.state, found), *closing.threads_of(runner.state, stale)}
            threads = {name: tuple(runner.thread(name)) for name in sorted(wanted)}
            return Adopted(found, threads, at_ns, stale)

        async with self.archive.with_lines_of(found.closed.values()):
            if self._runner.state.epoch >= epoch:
                return
            reply = self._runner.tell(make, reply=True, of_the_mesh=True)
            assert reply is not None
            await reply.wait()
        log.info("epoch %d has begun: %d needs closed, %d open", epoch, len(found.closed), len(found.open))
        self._pruner.wake(epoch)

    def _stale(self, found: Snapshot) -> tuple[Envelope, ...]:
        """Within the turn's transaction: what we hold of chains that `found` closes and know of no cut to be in. It leaves
        the journal: nobody counts it, and what is derived anew must not. Hardly ever anything: its author spoke on in many
        epochs, and for all that time none of those who end epochs had it."""
        runner = self._runner
        here = [
            (chain, head.seq) for chain, head in runner.chains.heads.items() if is_over(found.over, chain)
        ]
        if not here:
            return ()
        base = self.records.base
        before = (self.records.cut(base) or {}) if base != snapshots.NO_SNAPSHOT else {}
        stale: list[Envelope] = []
        for chain, seq in here:
            known = max(cut[chain].seq if chain in cut else -1 for cut in (found.cut, before))
            if seq > known:
                for batch in runner.journal.drop_batches(chain, known):
                    stale += batch.envelopes
        stale += [each for each in runner.voice.unsealed if each.epoch <= found.over.get(runner.me, -1)]
        for each in stale:
            ours = log.warning if each.sender == runner.me else log.info
            ours("%s in %s of %s: %s", each.kind, each.thread, each.sender, closing.WHY)
        return tuple(stale)

    async def closed_after(self, epoch: int) -> list[tuple[int, Mapping[str, ClosedNeed]]]:
        """What the checkpoints that open later epochs closed, oldest first; not of those whose snapshot was put away."""
        found: list[tuple[int, Mapping[str, ClosedNeed]]] = []
        for kept in list(self.records.since(epoch + 1, MAX_CHECKPOINTS)):
            try:
                found.append((kept.epoch, (await self._snapshots.load(kept.state)).closed))
            except Absent:
                log.warning("what epoch %d closed is put away already", kept.epoch)
        return found

    # With peers ---------------------------------------------------------------------------------------

    def serve(self, peer: str, message: dict[str, Any]) -> bytes:
        """The answer to `parts` or `checkpoints`. RemoteFault for what is not well-formed."""
        return self._exchange.serve(message)

    async def catch_up(self, peer: str) -> bool:
        """If `peer` knows of later checkpoints: verify the chain of certificates from ours on and begin at the last.

        True if we moved. RemoteFault if what it says does not hold: then another peer is as good.
        """
        async with self._catching:
            moved = False
            while True:
                state = self._runner.state
                passed = await self._exchange.verified(
                    peer, self._runner.genesis, state.terms.rosters, state.epoch
                )
                if not passed.chain:
                    return moved
                kept = passed.chain[-1]
                await self._have(kept.state, [])
                await self._take(kept.epoch, kept.state, kept.certificate, passed)
                moved = True


def floor_of(records: Records) -> Callable[[], Iterable[tuple[Chain, Head]]]:
    """Where chains begin, for the runner."""
    return lambda: records.floor().items()
