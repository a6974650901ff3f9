"""Sync: repairs what gossip lost. Each peer is asked for the buckets that differ, then for the missing batches.

The messages are canonical CBOR on the peer's kept-open request stream:
`{"t": "hello", "manifest": frame}` both ways, `{"t": "roots", "roots": [256 x 32 bytes]}` answered by the
vectors of the buckets that differ, `{"t": "batches", "want": [[author, epoch, bucket, first, last]]}` answered
by sealed batches, as many as fit; `parts` and `checkpoints` are of node/checkpoint/service.py. Who asks, learns; the peer does its own asking.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import trio
from swarmd.node.journal import Journal
from swarmd.node.ports import PeerGone, Transport
from swarmd.node.runner import Runner
from swarmd.protocol import limits, schema
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.chains import Chain, Gap
from swarmd.protocol.faults import CorruptState, LocalFault, RemoteFault

log = logging.getLogger("swarmd.sync")

MAX_ANSWER_BYTES = 4 * 1_048_576
MAX_WANTS = 1_024
RETRY_S = 1.0
# Rounds that run at one time: who comes back to a hundred peers need not hear the same from all of them.
MAX_ROUNDS_AT_ONCE = 4
# What one request asks for, in batches: small enough that several peers share what is missing.
PART_BATCHES = 256
# A chain that a peer was asked for so long ago is asked of others too: it may be stalling.
TAKE_OVER_S = 5.0
_roots = schema.list_of(schema.blob(32, 32), limits.BUCKETS, limits.BUCKETS)
_seq = schema.uint(1 << 62)


def _want(value: Any, path: schema.Path) -> None:
    if type(value) is not list or len(value) != 5:
        raise RemoteFault("bad-sync", f"{schema.spelled(path)}: [author, epoch, bucket, first, last]")
    schema.did(value[0], path)
    for number in value[1:]:
        _seq(number, path)


_wants = schema.list_of(_want, 1, MAX_WANTS)


@dataclass(slots=True)
class Progress:
    """How far a round with one peer is, in batches; `missing` is what it has and we have not asked others for."""

    peer: str
    missing: int = 0
    got: int = 0


class Epochs(Protocol):
    """What knows of checkpoints."""

    def serve(self, peer: str, message: dict[str, Any]) -> bytes: ...

    async def catch_up(self, peer: str) -> bool: ...


class Sync:
    """Serves the requests of peers and runs our own rounds.

    Several rounds go on at one time and share the work: a chain that one of them fetches is none of the others'
    until it is done. What a peer does not deliver is asked of the next; what came is journalled batch by batch in
    the order of its chain, so a round that is cut short is gone on with and not begun again.
    """

    def __init__(
        self,
        runner: Runner,
        journal: Journal,
        transport: Transport,
        manifest_frame: Callable[[], bytes],
        *,
        interval_s: float = 30.0,
    ) -> None:
        self._runner = runner
        self._journal = journal
        self._transport = transport
        self._manifest_frame = manifest_frame
        self._interval_s = interval_s
        self._followed: dict[str, trio.CancelScope] = {}
        self._filling: set[tuple[str, Chain]] = set()
        self._fetching: dict[Chain, float] = {}  # chain -> until when it is one peer's to deliver
        self._fetch_ended = trio.Event()
        self._slots = trio.CapacityLimiter(MAX_ROUNDS_AT_ONCE)
        self._dice = Random()
        self.on_level: Callable[[str], None] = lambda peer: None  # we have all that `peer` has
        self.epochs: Epochs | None = None
        self.rounds = 0
        self.repaired = 0

    # Serving -------------------------------------------------------------------------------------------

    def serve(self, peer: str, message: dict[str, Any]) -> bytes:
        """The answer to a request of `peer`. RemoteFault for one that is not well-formed."""
        kind = message.get("t")
        if kind == "hello" and type(message.get("manifest")) is bytes:
            self._runner.offer_frame(peer, message["manifest"])
            return encode({"manifest": self._manifest_frame()})
        if kind == "roots":
            _roots(message.get("roots"), "roots")
            return encode({"vectors": self._vectors(message["roots"])})
        if kind == "batches":
            _wants(message.get("want"), "want")
            return self._batches(message["want"])
        if kind in ("parts", "checkpoints") and self.epochs is not None:
            return self.epochs.serve(peer, message)
        raise RemoteFault("bad-sync", f"no such request: {str(kind)[:32]}")

    def _vectors(self, roots: list[bytes]) -> list[Any]:
        """[bucket, [[author, epoch, last seq]]] of the buckets that differ, within the size of an answer."""
        vectors: list[Any] = []
        room = MAX_ANSWER_BYTES
        for bucket, root in enumerate(self._runner.chains.bucket_roots()):
            if root == roots[bucket]:
                continue
            chains = [[chain[0], chain[1], seq] for chain, seq in self._runner.chains.vector(bucket)]
            room -= 80 * len(chains) + 16
            if room < 0:
                break
            vectors.append([bucket, chains])
        return vectors

    def _batches(self, wants: list[list[Any]]) -> bytes:
        bodies: list[bytes] = []
        room = MAX_ANSWER_BYTES
        for author, epoch, bucket, first, last in wants:
            for body in self._journal.batch_bodies((author, epoch, bucket), first, last):
                room -= len(body)
                if room < 0 and bodies:
                    return encode({"batches": bodies, "more": True})
                bodies.append(body)
        return encode({"batches": bodies, "more": False})

    # Asking --------------------------------------------------------------------------------------------

    async def follow(self, peer: str) -> None:
        """Sync with one peer, at once and then every interval, until `leave`, or until it is followed anew."""
        self.leave(peer)
        with trio.CancelScope() as scope:
            self._followed[peer] = scope
            try:
                while True:
                    pause_s = self._interval_s
                    try:
                        await self._visit(peer)
                    except PeerGone as gone:
                        # It may be slow, or on a new stream already: only the transport knows when it is gone.
                        log.debug("sync: %s", gone)
                        pause_s = min(pause_s, RETRY_S)
                    # Not all nodes of a mesh at one time, nor one node all its peers.
                    await trio.sleep(pause_s * self._dice.uniform(0.9, 1.1))
            finally:
                if self._followed.get(peer) is scope:
                    del self._followed[peer]

    def leave(self, peer: str) -> None:
        """The peer is gone, or has come back on another connection: follow it no more."""
        scope = self._followed.pop(peer, None)
        if scope is not None:
            scope.cancel()

    async def _visit(self, peer: str) -> None:
        try:
            with self._charged(peer):
                await self._hello(peer)
                if self.epochs is not None:
                    await self.epochs.catch_up(peer)
                missing: list[int] = []
                while await self.round(peer, lambda progress: missing.append(progress.missing)):
                    missing.clear()
                # Not merely that nothing came: it may say it has what it does not give.
                if missing and not missing[0]:
                    self.on_level(peer)
        except LocalFault as fault:
            log.info("sync with %s waits: %s", peer, fault)

    @contextmanager
    def _charged(self, peer: str) -> Iterator[None]:
        """What is wrong with a peer's answers is charged to it; that it is gone, and what is ours, goes on up."""
        try:
            yield
        except RemoteFault as fault:
            log.info("sync with %s: %s", peer, fault)
            self._transport.report(peer, fault.code)
        except (PeerGone, LocalFault, CorruptState):
            raise
        except Exception:
            # The isolation boundary of one peer's answers (P10).
            log.exception("sync with %s failed", peer)
            self._transport.report(peer, "internal")

    async def _hello(self, peer: str) -> None:
        answer = await self.ask(peer, {"t": "hello", "manifest": self._manifest_frame()})
        if type(answer.get("manifest")) is not bytes:
            raise RemoteFault("bad-sync", "a hello without a manifest")
        self._runner.offer_frame(peer, answer["manifest"])

    async def now(self, told: Callable[[Progress], None] = lambda progress: None) -> dict[str, int]:
        """Rounds with every peer until none brings anything new.

        Returns {"asked": peers, "silent": of these, who did not answer, "repaired": batches}.
        """
        before, peers, silent = self.repaired, [peer.peer_id for peer in self._transport.peers()], 0
        ours: list[LocalFault] = []

        async def with_one(peer: str) -> None:
            nonlocal silent
            try:
                with self._charged(peer):
                    while await self.round(peer, told):
                        pass
            except PeerGone:
                silent += 1
            except LocalFault as fault:  # such as a full disk; not in a group, so that who asked is told it
                ours.append(fault)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(with_one, peer)
        if ours:
            raise ours[0]
        return {"asked": len(peers), "silent": silent, "repaired": self.repaired - before}

    async def round(self, peer: str, told: Callable[[Progress], None] = lambda progress: None) -> bool:
        """Ask once for everything that differs; True if something new came."""
        async with self._slots:
            self.rounds += 1
            roots = self._runner.chains.bucket_roots()
            answer = await self.ask(peer, {"t": "roots", "roots": roots})
            progress = Progress(peer)
            wants = self._missing(answer.get("vectors"))
            progress.missing = sum(want[4] - want[3] + 1 for want in wants)
            told(progress)
            left_out, ended = 0, self._fetch_ended
            while wants:
                part, wants = _first_part(wants)
                mine = self._not_asked(part)
                left_out += len(part) - len(mine)
                if mine:
                    came, new = await self._fetch_alone(peer, mine)
                    progress.got += new
                    self.repaired += new
                    told(progress)
                    if came == 0:
                        break  # it says it has what it does not give, perhaps without end
        if progress.got == 0 and left_out:
            # Others are at it. Look again when one of them is done: it may not have delivered.
            with trio.move_on_after(TAKE_OVER_S):
                await ended.wait()
            return True
        return progress.got > 0

    def _not_asked(self, wants: list[list[Any]]) -> dict[Chain, list[Any]]:
        """Of `wants`, what did not come meanwhile and is not another peer's to deliver."""
        mine = {}
        for author, epoch, bucket, first, last in wants:
            chain: Chain = (author, epoch, bucket)
            known, _ = self._runner.chains.next_of(chain)
            over = self._runner.chains.is_over(chain)  # a checkpoint may have come meanwhile
            if not over and known <= last and self._fetching.get(chain, 0.0) <= trio.current_time():
                mine[chain] = [author, epoch, bucket, max(first, known), last]
        return mine

    async def _fetch_alone(self, peer: str, wants: dict[Chain, list[Any]]) -> tuple[int, int]:
        until = trio.current_time() + TAKE_OVER_S
        self._fetching |= dict.fromkeys(wants, until)
        try:
            return await self.fetch(peer, list(wants.values()))
        finally:
            for chain in wants:
                if self._fetching.get(chain) == until:
                    del self._fetching[chain]
            self._fetch_ended.set()
            self._fetch_ended = trio.Event()

    def _missing(self, vectors: Any) -> list[list[Any]]:
        if type(vectors) is not list:
            raise RemoteFault("bad-sync", "vectors must be a list")
        wants = []
        for entry in vectors:
            if type(entry) is not list or len(entry) != 2 or type(entry[1]) is not list:
                raise RemoteFault("bad-sync", "a vector is [bucket, chains]")
            bucket = entry[0]
            for chain in entry[1]:
                if type(chain) is not list or len(chain) != 3:
                    raise RemoteFault("bad-sync", "a chain is [author, epoch, seq]")
                _want([chain[0], chain[1], bucket, 0, chain[2]], "vector")
                here = self._runner.chains
                seq, _ = here.next_of((chain[0], chain[1], bucket))
                if seq <= chain[2] and not here.is_over((chain[0], chain[1], bucket)):
                    wants.append([chain[0], chain[1], bucket, seq, chain[2]])
        return wants

    async def fetch(self, peer: str, wants: list[list[Any]]) -> tuple[int, int]:
        """Fetch ranges of batches; returns how many came, and how many of them were new to us."""
        answer = await self.ask(peer, {"t": "batches", "want": wants})
        bodies = answer.get("batches")
        if type(bodies) is not list or any(type(body) is not bytes for body in bodies):
            raise RemoteFault("bad-sync", "batches must be byte strings")
        if not bodies:
            return 0, 0
        return len(bodies), await self._runner.offer_synced(peer, [decode(body) for body in bodies])

    async def fill(self, peer: str, gap: Gap) -> None:
        """Fetch the batches before one that came early."""
        key = (peer, gap.chain)
        if key in self._filling:
            return  # many may come early at once; what is missing after this one, sync finds
        self._filling.add(key)
        author, epoch, bucket = gap.chain
        try:
            # Not `+= await`: that would add to what the counter was before.
            _, new = await self.fetch(peer, [[author, epoch, bucket, gap.first, gap.last]])
            self.repaired += new
        except (PeerGone, LocalFault):
            log.debug("gap of %s not filled by %s", author, peer)
        except RemoteFault as fault:
            self._transport.report(peer, fault.code)
        except CorruptState:
            raise
        except Exception:
            # As above.
            log.exception("filling a gap from %s failed", peer)
        finally:
            self._filling.discard(key)

    async def ask(self, peer: str, message: dict[str, Any]) -> dict[str, Any]:
        """A request of this protocol and its answer. PeerGone, or RemoteFault if the answer is none."""
        answer = decode(await self._transport.request(peer, encode(message)))
        if type(answer) is not dict:
            raise RemoteFault("bad-sync", "an answer must be a map")
        return answer


def _first_part(wants: list[list[Any]]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Split off what one request asks for: whole ranges up to PART_BATCHES batches, the first one cut if need be."""
    room, taken = PART_BATCHES, 0
    part: list[list[Any]] = []
    for author, epoch, bucket, first, last in wants[:MAX_WANTS]:
        if room <= 0:
            break
        end = min(last, first + room - 1)
        part.append([author, epoch, bucket, first, end])
        room -= end - first + 1
        if end < last:
            return part, [[author, epoch, bucket, end + 1, last], *wants[taken + 1 :]]
        taken += 1
    return part, wants[taken:]
