"""Sync: repairs what gossip lost. Each peer is asked for the buckets that differ, then for the missing batches.

The messages are canonical CBOR on the peer's kept-open request stream:
`{"t": "hello", "manifest": frame}` both ways, `{"t": "roots", "roots": [256 x 32 bytes]}` answered by the
vectors of the buckets that differ, `{"t": "batches", "want": [[author, epoch, bucket, first, last]]}` answered
by sealed batches, as many as fit. Who asks, learns; the peer does its own asking.
"""

import logging
from collections.abc import Callable
from typing import Any

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
_roots = schema.list_of(schema.blob(32, 32), limits.BUCKETS, limits.BUCKETS)
_seq = schema.uint(1 << 62)


def _want(value: Any, path: str) -> None:
    if type(value) is not list or len(value) != 5:
        raise RemoteFault("bad-sync", f"{path}: [author, epoch, bucket, first, last]")
    schema.did(value[0], path)
    for number in value[1:]:
        _seq(number, path)


_wants = schema.list_of(_want, 1, MAX_WANTS)


class Sync:
    """Serves the requests of peers and runs our own rounds."""

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
                    await trio.sleep(pause_s)
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
            await self._hello(peer)
            while await self.round(peer):
                pass
        except RemoteFault as fault:
            log.info("sync with %s: %s", peer, fault)
            self._transport.report(peer, fault.code)
        except LocalFault as fault:
            log.info("sync with %s waits: %s", peer, fault)
        except (PeerGone, CorruptState):
            raise
        except Exception:
            # The isolation boundary of one peer's answers (P10).
            log.exception("sync with %s failed", peer)
            self._transport.report(peer, "internal")

    async def _hello(self, peer: str) -> None:
        answer = await self._ask(peer, {"t": "hello", "manifest": self._manifest_frame()})
        if type(answer.get("manifest")) is not bytes:
            raise RemoteFault("bad-sync", "a hello without a manifest")
        self._runner.offer_frame(peer, answer["manifest"])

    async def round(self, peer: str) -> bool:
        """Ask once for everything that differs; True if something new came."""
        self.rounds += 1
        roots = self._runner.chains.bucket_roots()
        answer = await self._ask(peer, {"t": "roots", "roots": roots})
        wants = self._missing(answer.get("vectors"))
        got = 0
        while wants:
            part, wants = wants[:MAX_WANTS], wants[MAX_WANTS:]
            got += await self.fetch(peer, part)
        self.repaired += got
        return got > 0

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
                seq, _ = self._runner.chains.next_of((chain[0], chain[1], bucket))
                if seq <= chain[2]:
                    wants.append([chain[0], chain[1], bucket, seq, chain[2]])
        return wants

    async def fetch(self, peer: str, wants: list[list[Any]]) -> int:
        """Fetch ranges of batches; returns how many were new to us."""
        answer = await self._ask(peer, {"t": "batches", "want": wants})
        bodies = answer.get("batches")
        if type(bodies) is not list or any(type(body) is not bytes for body in bodies):
            raise RemoteFault("bad-sync", "batches must be byte strings")
        if not bodies:
            return 0
        return int(await self._runner.offer_synced(peer, [decode(body) for body in bodies]))

    async def fill(self, peer: str, gap: Gap) -> None:
        """Fetch the batches before one that came early."""
        key = (peer, gap.chain)
        if key in self._filling:
            return  # many may come early at once; what is missing after this one, sync finds
        self._filling.add(key)
        author, epoch, bucket = gap.chain
        try:
            # Not `+= await`: that would add to what the counter was before.
            got = await self.fetch(peer, [[author, epoch, bucket, gap.first, gap.last]])
            self.repaired += got
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

    async def _ask(self, peer: str, message: dict[str, Any]) -> dict[str, Any]:
        answer = decode(await self._transport.request(peer, encode(message)))
        if type(answer) is not dict:
            raise RemoteFault("bad-sync", "an answer must be a map")
        return answer
