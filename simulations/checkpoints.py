"""What a simulated node does about the ends of epochs: makes, checks, serves, fetches and adopts snapshots.

The effects MakeSnapshot, CheckSnapshot and Adopt stay in the outbox until they are answered, so a crash at any step
begins them again. A node that was away for two epochs or more asks for the newest certificates and goes on from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from swarmd.protocol.batch import Batch, EnvelopeProof, prove
from swarmd.protocol.cbor import encode
from swarmd.protocol.chains import chain_of, is_over
from swarmd.protocol.checkpoint import adopting, ballots, closing
from swarmd.protocol.checkpoint.making import Maker, choose_cut, in_order, why_not_cut
from swarmd.protocol.checkpoint.packing import cut_rows, pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, Cut, Packed, Snapshot, state_of
from swarmd.protocol.checkpoint.unpacking import check_part, cut_name, parse_cut, part_names, unpack
from swarmd.protocol.effects import Adopt, CheckSnapshot, MakeSnapshot
from swarmd.protocol.envelope import Envelope, bucket_of, epoch_thread
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Adopted, SnapshotChecked, SnapshotMade
from swarmd.protocol.shadow import keeping
from swarmd.simulations.clock import MS_NS, S_NS
from swarmd.simulations.disk import effect_id
from swarmd.simulations.wire import bound

if TYPE_CHECKING:
    from swarmd.simulations.node import SimNode

RETRY_NS = 400 * MS_NS
MAX_SHARED = 64  # snapshots that are kept for others to share
TRIES = 20  # then a member says that nobody gives it the cut
Wish = MakeSnapshot | CheckSnapshot | Adopt


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot on a node's disk."""

    snapshot: Snapshot
    packed: Packed


@dataclass(frozen=True, slots=True)
class Certified:
    """The checkpoint that opened `epoch`, with the proofs that carry it (CHECKPOINT first)."""

    epoch: int
    proofs: tuple[EnvelopeProof, ...]
    packed: Packed


class Makers:
    """Makes and checks snapshots. The cut's hashes fix all that is in it, so nodes that make the same one `share` the
    outcome, and so do those that are given the very same parts; else each makes and checks its own."""

    def __init__(self, genesis: Genesis, *, share: bool) -> None:
        self._genesis = genesis
        self._share = share
        self._known: dict[tuple[bytes, bytes], Kept] = {}
        self._whole: dict[bytes, Kept] = {}

    def make(
        self, base: Snapshot | None, base_state: bytes, cut: Cut, batches: Callable[[], list[Batch]]
    ) -> Kept:
        key = (base_state, sha256(encode(cut_rows(cut))).digest())
        known = self._known.get(key)
        if known is None or not self._share:
            maker = Maker(self._genesis, base, base_state)
            for batch in in_order(batches()):
                maker.feed(batch)
            snapshot = maker.finish(cut)
            known = self._known[key] = Kept(snapshot, pack(snapshot))
            bound(self._known, MAX_SHARED)
        return known

    def whole(self, packed: Packed, state: bytes) -> Kept:
        """The snapshot whose hash is `state`, every part checked. RemoteFault."""
        known = self._whole.get(state)
        if known is None or known.packed is not packed or not self._share:
            known = self._whole[state] = Kept(_whole(packed, state), packed)
            bound(self._whole, MAX_SHARED)
        return known


class Checkpoints:
    def __init__(self, node: "SimNode") -> None:
        self._node = node
        self._running: set[str] = set()
        self._catching_up = False

    def forget(self) -> None:
        self._running.clear()
        self._catching_up = False

    # What the disk has ---------------------------------------------------------------------------------

    def _base(self) -> tuple[Snapshot | None, bytes]:
        """The snapshot of the epoch that the disk is in, and its hash."""
        disk = self._node.disk
        if not disk.adopted:
            return None, NO_SNAPSHOT
        return disk.snapshots[disk.adopted[-1]].snapshot, disk.adopted[-1]

    @property
    def epoch(self) -> int:
        """The epoch that the disk is in."""
        base, _ = self._base()
        return base.epoch if base is not None else 0

    def thread(self, name: str, more: Sequence[Batch], unsealed: Sequence[Envelope]) -> tuple[Envelope, ...]:
        """Every envelope of a need or an escrow that is on record here, also in this turn."""
        bucket, node = bucket_of(name), self._node
        held = [b for chain, batches in node.disk.batches.items() if chain[2] == bucket for b in batches]
        every = [e for batch in (*held, *more) if batch.bucket == bucket for e in batch.envelopes]
        return tuple({e.id: e for e in (*every, *unsealed) if e.thread == name}.values())

    def _stale(
        self, found: Snapshot, more: Sequence[Batch], unsealed: Sequence[Envelope]
    ) -> tuple[Envelope, ...]:
        """What is here of chains that `found` closes, and was in no cut that the disk knows."""
        base, _ = self._base()
        known = [found.cut, base.cut if base is not None else {}]
        over = base.over if base is not None else {}

        def counts(batch: Batch) -> bool:
            chain = chain_of(batch)
            return any(chain in cut and batch.seq <= cut[chain].seq for cut in known)

        closing_now = [
            batch
            for chain, batches in self._node.disk.batches.items()
            if is_over(found.over, chain) and not is_over(over, chain)
            for batch in batches
        ]
        closing_now += [batch for batch in more if is_over(found.over, chain_of(batch))]
        said = [each for batch in closing_now if not counts(batch) for each in batch.envelopes]
        said += [each for each in unsealed if each.epoch <= found.over.get(each.sender, -1)]
        return tuple({each.id: each for each in said}.values())

    def _missing(self, cut: Cut) -> list[tuple[str, int, int, int, int]]:
        """Batches of `cut` that are not here."""
        wants = []
        batches = self._node.disk.batches
        for (author, epoch, bucket), head in sorted(cut.items()):
            held = len(batches.get((author, epoch, bucket), ()))
            if held <= head.seq:
                wants.append((author, epoch, bucket, held, head.seq))
        return wants

    def _make(self, cut: Cut) -> Kept:
        base, base_state = self._base()
        before = base.cut if base is not None else {}
        held = self._node.disk.batches

        def fresh() -> list[Batch]:
            return [
                batch
                for chain, head in sorted(cut.items())
                for batch in held.get(chain, [])[
                    before[chain].seq + 1 if chain in before else 0 : head.seq + 1
                ]
            ]

        return self._node.mesh.makers.make(base, base_state, cut, fresh)

    # Effects -------------------------------------------------------------------------------------------

    def start(self, effect: Wish) -> None:
        key = effect_id(effect)
        if key in self._running:
            return
        self._running.add(key)
        node = self._node
        took_ns = 20 * MS_NS + node.random.randrange(200 * MS_NS)
        match effect:
            case MakeSnapshot():
                node.mesh.loop.after(took_ns, self._propose, node.life, key, effect)
            case CheckSnapshot():
                node.mesh.loop.after(took_ns, self._check, node.life, key, effect, 0)
            case Adopt():
                node.mesh.loop.after(MS_NS, self._adopt, node.life, key, effect, 0)

    def _over(self, life: int, key: str, epoch: int) -> bool:
        """Is nobody waiting for this effect any more?"""
        node = self._node
        if life != node.life:
            return True
        if self.epoch >= epoch:
            node.drop(key)
            return True
        return False

    def _propose(self, life: int, key: str, effect: MakeSnapshot) -> None:
        if self._over(life, key, effect.epoch):
            return
        node = self._node
        base, _ = self._base()
        made = node.conduct.proposes(
            node, self._make(choose_cut(dict(node.disk.heads()), base, effect.epoch))
        )
        root, state = made.snapshot.root, made.packed.state
        node.counters["snapshots proposed"] += 1
        node.tell(lambda at_ns: SnapshotMade(effect.epoch, effect.round, root, state, at_ns), snapshot=made)

    def _check(self, life: int, key: str, effect: CheckSnapshot, tries: int) -> None:
        """Get the cut, then what of it is not here, then make it too."""
        if self._over(life, key, effect.epoch):
            return
        node = self._node
        kept = node.disk.snapshots.get(effect.state)
        if kept is not None:
            self._compare(effect, kept.snapshot.cut, life, key, tries)
        elif tries >= TRIES:
            self._checked(effect, "nobody gives its cut")
        else:

            def answered(answer: Any) -> None:
                try:
                    head, body = answer
                    if state_of(head) != effect.state:
                        raise RemoteFault("bad-snapshot", "another head")
                    cut = parse_cut(check_part(cut_name(head), body))
                except RemoteFault:
                    again()
                    return
                self._compare(effect, cut, life, key, tries)

            def again() -> None:
                node.mesh.loop.after(RETRY_NS, self._check, life, key, effect, tries + 1)

            self._ask(self._holder((effect.holder,), tries), ("cut", effect.state), answered, again)

    def _compare(self, effect: CheckSnapshot, cut: Cut, life: int, key: str, tries: int) -> None:
        if self._over(life, key, effect.epoch):
            return
        node = self._node
        base, _ = self._base()
        why = why_not_cut(cut, base, effect.epoch)
        if why:
            self._checked(effect, why)
            return
        wants = self._missing(cut)
        if wants:
            if tries >= TRIES:
                self._checked(effect, "nobody gives what is in its cut")
                return
            node.counters["cuts synced"] += 1
            node.sync.fetch(self._holder((effect.holder,), tries), wants)
            node.mesh.loop.after(RETRY_NS, self._check, life, key, effect, tries + 1)
            return
        if any(node.disk.batches[chain][head.seq].hash != head.hash for chain, head in cut.items()):
            self._checked(effect, "another branch of a chain")
            return
        made = self._make(cut)
        same = (made.packed.state, made.snapshot.root) == (effect.state, effect.root)
        why = "" if same else "the cut gives another snapshot"
        round_ = ballots.round_of(node.state, effect.proposal)
        self._checked(effect, why or keeping.broken_promise(node.state, made.snapshot, round_), made)

    def _checked(self, effect: CheckSnapshot, why: str, made: Kept | None = None) -> None:
        node = self._node
        node.counters["snapshots refused" if why else "snapshots agreed to"] += 1
        same = node.conduct.agrees(node, not why)
        node.tell(lambda at_ns: SnapshotChecked(effect.proposal, same, why, at_ns), snapshot=made)

    def _adopt(self, life: int, key: str, effect: Adopt, tries: int) -> None:
        if self._over(life, key, effect.epoch):
            return
        node = self._node
        kept = node.disk.snapshots.get(effect.state)
        if kept is not None:
            self._take(effect, kept)
            # If the disk was full and nothing came of it, again.
            node.mesh.loop.after(S_NS, self._adopt, life, key, effect, tries)
            return

        def answered(packed: Packed) -> None:
            if self._over(life, key, effect.epoch):
                return
            try:
                found = node.mesh.makers.whole(packed, effect.state)
            except RemoteFault:
                again()
                return
            node.counters["snapshots fetched"] += 1
            self._take(effect, found)
            node.mesh.loop.after(S_NS, self._adopt, life, key, effect, tries)

        def again() -> None:
            node.mesh.loop.after(RETRY_NS, self._adopt, life, key, effect, tries + 1)

        self._ask(self._holder(effect.holders, tries), ("snapshot", effect.state), answered, again)

    def _take(self, effect: Adopt, found: Kept) -> None:
        proofs = self._proofs(effect.epoch, effect.certificate)
        certified = (Certified(effect.epoch, proofs, found.packed),) if proofs else ()
        self._node.adopt(found, certified)

    def _proofs(self, epoch: int, certificate: tuple[bytes, ...]) -> tuple[EnvelopeProof, ...]:
        """Of the envelopes that carry a checkpoint; () as long as one of ours is not sealed."""
        bucket = bucket_of(epoch_thread(epoch))
        places = {
            envelope.id: (batch, place)
            for chain, batches in self._node.disk.batches.items()
            if chain[1:] == (epoch - 1, bucket)
            for batch in batches
            for place, envelope in enumerate(batch.envelopes)
        }
        if any(ref not in places for ref in certificate):
            return ()
        return tuple(prove(*places[ref]) for ref in certificate)

    def _holder(self, first: tuple[str, ...], tries: int) -> int:
        """Those who should have it in turn, then anybody."""
        node = self._node
        others = [i for i in range(len(node.mesh.network.endpoints)) if i != node.index]
        named = [place for did in first if (place := node.mesh.places[did]) != node.index]
        if tries < len(named):
            return named[tries]
        return node.random.choice(others or [node.index])

    def _ask(self, peer: int, body: Any, answered: Callable[[Any], None], gone: Callable[[], None]) -> None:
        node, life = self._node, self._node.life

        def taken(answer: Any) -> None:
            if life == node.life:
                (gone if answer == () else lambda: answered(answer))()

        node.mesh.network.request(node.index, peer, body, taken, gone)

    # For others ----------------------------------------------------------------------------------------

    def serve(self, body: Any) -> Any:
        """("cut", state) -> (head, cut part); ("snapshot", state) -> Packed; ("newest", epoch) -> what came after."""
        disk = self._node.disk
        if body[0] == "newest":
            return [disk.certified[e] for e in sorted(disk.certified) if e > body[1]]
        kept = disk.snapshots.get(body[1])
        if kept is None:
            return ()
        if body[0] == "cut":
            return kept.packed.head, kept.packed.parts[cut_name(kept.packed.head)]
        return kept.packed

    def heard_of(self, peer: int, epoch: int) -> None:
        """A peer is in `epoch`: if that is two ahead or more, do not go through them one by one."""
        node = self._node
        if self._catching_up or epoch < self.epoch + 2:
            return
        self._catching_up = True

        def done() -> None:
            self._catching_up = False

        def answered(newest: list[Certified]) -> None:
            done()
            try:
                self._skip_to(newest)
            except RemoteFault as fault:
                node.counters["refused: " + fault.code] += 1

        self._ask(peer, ("newest", self.epoch), answered, done)

    def _skip_to(self, newest: list[Certified]) -> None:
        """Verify a chain of certificates from the rosters we have, and adopt the last."""
        node = self._node
        rosters = {epoch: roster.members for epoch, roster in node.state.terms.rosters.items()}
        found: Kept | None = None
        for certified in newest:
            if certified.epoch - 1 not in rosters:
                raise RemoteFault("bad-certificate", "a gap: the roster that signs it is not known")
            roster = rosters[certified.epoch - 1]
            root, state = ballots.verify_certificate(
                node.mesh.genesis.mesh_id, certified.epoch, roster, certified.proofs
            )
            found = node.mesh.makers.whole(certified.packed, state)
            snapshot = found.snapshot
            if (snapshot.root, snapshot.epoch) != (root, certified.epoch):
                raise RemoteFault("bad-snapshot", "another root or epoch than certified")
            rosters |= {epoch: roster.members for epoch, roster in snapshot.rosters.items()}
        if found is not None and found.snapshot.epoch > self.epoch:
            node.counters["epochs skipped to"] += 1
            node.adopt(found, tuple(newest))

    # In a turn -----------------------------------------------------------------------------------------

    def adopted(
        self, found: Kept, at_ns: int, more: Sequence[Batch], unsealed: Sequence[Envelope]
    ) -> Adopted:
        """The input for a snapshot, with what has to be derived anew."""
        state = self._node.state
        if found.snapshot.epoch <= state.epoch:
            return Adopted(found.snapshot, {}, at_ns)
        stale = self._stale(found.snapshot, more, unsealed)
        rebuilt, again = adopting.to_rebuild(state, found.snapshot), closing.threads_of(state, stale)
        threads = {name: self.thread(name, more, unsealed) for name in again}
        threads |= {
            need: tuple(e for e in self.thread(need, more, unsealed) if e.id in state.needs[need].seen)
            for need in rebuilt
        }
        return Adopted(found.snapshot, threads, at_ns, stale)


def _whole(packed: Packed, state: bytes) -> Snapshot:
    """The snapshot whose hash is `state`, every part checked. RemoteFault."""
    if state_of(packed.head) != state:
        raise RemoteFault("bad-snapshot", "another head")
    for name in part_names(packed.head):
        if name not in packed.parts:
            raise RemoteFault("bad-snapshot", "a part is missing")
        check_part(name, packed.parts[name])
    return unpack(packed)
