"""Content at the local socket: blocks in and out in groups, pins, collection, verification.

What works on many blocks runs in worker threads, a few at a time, so that the daemon's own thread never waits for it.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

import trio
from swarmd.node.content.dag import walk
from swarmd.node.content.gc import GRACE_S, Roots, Tell, collect, verify
from swarmd.node.content.layered import LayeredBlocks
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.cids import is_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

MAX_GET_CIDS: Final = 1_024
MAX_HAS_CIDS: Final = 1_024
# What one answer holds of blocks: half of what a message may have.
MAX_GET_BYTES: Final = 8 * 1_048_576
_THREADS: Final = 4
_ADOPT_BYTES: Final = 4 * 1_048_576
_PROGRESS_EVERY_S: Final = 0.1

Op = Callable[[LocalCall], Awaitable[Any]]
Ensure = Callable[[bytes], Awaitable[None]]


class ContentOps:
    """`ops()` are the operations. `roots` says what the node itself needs, in the daemon's thread; `ensure` fetches
    a file from peers."""

    def __init__(
        self,
        blocks: LayeredBlocks,
        roots: Callable[[], Iterable[bytes]],
        ensure: Ensure,
        on_pinned: Callable[[bytes], None] = lambda cid: None,
    ) -> None:
        """`on_pinned` hears of each DAG that was pinned: all of it is here."""
        self._on_pinned = on_pinned
        self._blocks = blocks
        self._repo = blocks.repo
        self._roots = roots
        self._ensure = ensure
        self._threads = trio.CapacityLimiter(_THREADS)
        self._importing: dict[int, float] = {}  # connection -> when it began to put (Unix time)
        self._collecting = False

    def ops(self) -> Mapping[str, Op]:
        return {
            "content.put": self._put,
            "content.get": self._get,
            "content.has": self._has,
            "content.sync": self._sync,
            "content.fetch": self._fetch,
            "content.pin": self._pin,
            "content.unpin": self._unpin,
            "content.pins": self._pins,
            "content.usage": self._usage,
            "content.gc": self._gc,
            "content.verify": self._verify,
        }

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(work, limiter=self._threads)

    # Blocks --------------------------------------------------------------------------------------------

    async def _put(self, call: LocalCall) -> Any:
        """{blocks: [[CID, bytes], ...]}. From the first one on, nothing this client puts is collected until it leaves."""
        blocks = call.args.get("blocks")
        if type(blocks) is not list or not all(
            type(pair) is list and len(pair) == 2 and all(type(part) is bytes for part in pair)
            for pair in blocks
        ):
            raise LocalFault("bad-args", "content.put takes a list of [CID, bytes]")
        number = call.connection.number
        if number not in self._importing:
            self._importing[number] = self._repo.clock_s()
            call.connection.on_close(lambda: self._importing.__delitem__(number))
        return {
            "blocks": await self._in_thread(
                lambda: self._repo.put_many((cid, block) for cid, block in blocks)
            )
        }

    async def _get(self, call: LocalCall) -> Any:
        """{cids}: [bytes or None, ...] of as many of them, from the first on, as one answer holds."""
        cids = call.args.get("cids")
        if type(cids) is not list or not 0 < len(cids) <= MAX_GET_CIDS or not all(map(is_cid, cids)):
            raise LocalFault("bad-args", f"content.get takes 1 to {MAX_GET_CIDS} binary CIDs")
        found = await self._in_thread(lambda: self._read(cids))
        # The journal's connection is this thread's; what is in there is small.
        return {
            "blocks": [
                self._blocks.journal.get(cid) if block is None else block
                for cid, block in zip(cids, found, strict=False)
            ]
        }

    def _read(self, cids: list[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        room = MAX_GET_BYTES
        for cid in cids:
            block = self._repo.get(cid)
            room -= len(block or b"")
            if room < 0 and found:
                break
            found.append(block)
        return found

    async def _has(self, call: LocalCall) -> Any:
        """{cids}: are all of them here?"""
        cids = call.args.get("cids")
        if type(cids) is not list or len(cids) > MAX_HAS_CIDS or not all(map(is_cid, cids)):
            raise LocalFault("bad-args", f"content.has takes at most {MAX_HAS_CIDS} binary CIDs")
        return {"all": all(map(self._blocks.has, cids))}

    async def _sync(self, call: LocalCall) -> Any:
        """What was put before survives a power cut once this is answered."""
        await self._in_thread(self._repo.sync)
        return {}

    async def _fetch(self, call: LocalCall) -> Any:
        """{cid}: have a file or a folder whole, from peers if need be."""
        cid = _cid(call)
        # A large DAG that is here is looked through beside the daemon's own work.
        if not await self._in_thread(partial(self._complete, cid)):
            await self._ensured(cid)
        return {}

    def _complete(self, cid: bytes) -> bool:
        """Is all of it in the store of content, the journal left aside?"""
        try:
            return all(map(self._repo.has, walk(cid, self._repo.get)))
        except RemoteFault:
            return False  # whoever fetches it says what is wrong

    async def _ensured(self, cid: bytes) -> None:
        try:
            await self._ensure(cid)
        except RemoteFault as fault:
            raise LocalFault(fault.code, fault.message) from None

    # Pins ----------------------------------------------------------------------------------------------

    async def _pin(self, call: LocalCall) -> Any:
        """{cid, recursive = true, name = ""}: pin it; what is not here is fetched, what only the journal has, copied."""
        cid, recursive = _cid(call), call.args.get("recursive", True)
        name = call.args.get("name", "")
        if type(recursive) is not bool or type(name) is not str or len(name) > 256:
            raise LocalFault(
                "bad-args", "content.pin takes a CID, recursive and a name of 256 characters at most"
            )
        pin = partial(self._repo.pin, cid, recursive=recursive, name=name)
        try:
            made = await self._in_thread(pin)
        except LocalFault as fault:
            if fault.code != "content-missing":
                raise
            if recursive and not await self._whole(cid):
                await self._ensured(cid)
            await self._adopt(cid, recursive)
            made = await self._in_thread(pin)
        if recursive:
            self._on_pinned(cid)
        return pin_row(made)

    async def _whole(self, cid: bytes) -> bool:
        for each in walk(cid, self._blocks.get):
            if not self._blocks.has(each):
                return False
            await trio.lowlevel.checkpoint()
        return True

    async def _adopt(self, cid: bytes, recursive: bool) -> None:
        """Copy into the store of content what only the journal has of a DAG."""
        group: list[tuple[bytes, bytes]] = []
        size = 0
        for each in walk(cid, self._blocks.get) if recursive else [cid]:
            if not self._repo.has(each) and (block := self._blocks.journal.get(each)) is not None:
                group.append((each, block))
                size += len(block)
            if size >= _ADOPT_BYTES:
                await self._in_thread(partial(self._repo.put_many, group))
                group, size = [], 0
            await trio.lowlevel.checkpoint()
        await self._in_thread(partial(self._repo.put_many, group))

    async def _unpin(self, call: LocalCall) -> Any:
        cid = _cid(call)
        return {"unpinned": await self._in_thread(lambda: self._repo.unpin(cid))}

    async def _pins(self, call: LocalCall) -> Any:
        return {"pins": [pin_row(pin) for pin in await self._in_thread(self._repo.pins)]}

    async def _usage(self, call: LocalCall) -> Any:
        usage = await self._in_thread(self._repo.usage)
        journal = self._blocks.journal.stat()
        return {**usage_row(usage), "journal_blocks": journal.blocks, "journal_bytes": journal.bytes}

    # Collection and verification -----------------------------------------------------------------------

    async def _gc(self, call: LocalCall) -> Any:
        """{grace_s}: streams {"phase", "count"}; the answer is what `Collected` counts."""
        grace_s = call.args.get("grace_s", GRACE_S)
        if type(grace_s) not in (int, float) or not 0 <= grace_s < 1e9:
            raise LocalFault("bad-args", "grace_s is a time in seconds")
        if self._collecting:
            raise LocalFault("gc-running", "a collection is running", fix="wait for its end")
        self._collecting = True
        try:
            done = await self._told(
                call,
                lambda tell: collect(
                    self._repo,
                    self._roots_of_daemon(),
                    # "now" has whole seconds in the index: what is put in this one is not older than 0 s.
                    grace_s=grace_s if grace_s else -1,
                    not_after_s=lambda: min(self._importing.values(), default=float("inf")),
                    tell=tell,
                ),
            )
        finally:
            self._collecting = False
        return done.to_map()

    def _roots_of_daemon(self) -> Roots:
        """`roots`, asked from a worker thread, and not more often than is worth the daemon's time."""
        asked_at = -1e9
        known: list[bytes] = []

        def roots() -> Iterable[bytes]:
            nonlocal asked_at, known
            if time.monotonic() - asked_at > 2.0:
                known = trio.from_thread.run_sync(lambda: list(self._roots()))
                asked_at = time.monotonic()
            return known

        return roots

    async def _verify(self, call: LocalCall) -> Any:
        return await self._told(call, lambda tell: verify(self._repo, tell))

    async def _told(self, call: LocalCall, work: Callable[[Tell], Any]) -> Any:
        """Run `work` in a thread; what it tells becomes events, at most ten a second. Ends when the client leaves."""
        send, receive = trio.open_memory_channel[dict[str, Any]](16)
        counts: dict[str, int] = {}
        told_at = 0.0

        def tell(phase: str, count: int) -> None:
            nonlocal told_at
            counts[phase] = counts.get(phase, 0) + count
            trio.from_thread.check_cancelled()
            if time.monotonic() - told_at > _PROGRESS_EVERY_S:
                told_at = time.monotonic()
                trio.from_thread.run_sync(offer, {"phase": phase, "count": counts[phase]})

        def offer(step: dict[str, Any]) -> None:
            try:
                send.send_nowait(step)
            except trio.WouldBlock:
                pass  # who reads slowly misses steps, not the end

        async def pass_on() -> None:
            async for step in receive:
                await call.emit(step)

        fault: LocalFault | None = None
        found: Any = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on)
            with send:
                try:
                    found = await self._in_thread(lambda: work(tell))
                except LocalFault as ours:  # raised here it would come out in a group, and be "internal"
                    fault = ours
        if fault is not None:
            raise fault
        return found


def _cid(call: LocalCall) -> bytes:
    cid = call.args.get("cid")
    if not is_cid(cid):
        raise LocalFault("bad-args", "cid must be a binary CIDv1 (raw, dag-pb or dag-cbor, sha2-256)")
    assert isinstance(cid, bytes)
    return cid


def pin_row(pin: Any) -> dict[str, Any]:
    return {"cid": pin.cid, "recursive": pin.recursive, "name": pin.name, "at_s": pin.at_s}


def usage_row(usage: Any) -> dict[str, Any]:
    return {
        "blocks": usage.blocks,
        "bytes": usage.bytes,
        "disk_bytes": usage.disk_bytes,
        "max_bytes": usage.max_bytes,
        "corrupt": usage.corrupt,
        "pins": usage.pins,
    }
