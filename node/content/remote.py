"""The node's content for commands: through the daemon's socket while it runs, and from its folder while it does not.

Files are cut, hashed and put together in the command's process; what crosses the socket are blocks in groups, so both
ends need little memory however large a file is.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from swarmd.node.content.dag import links_of
from swarmd.node.content.gc import collect, verify
from swarmd.node.content.layered import journal_reader
from swarmd.node.content.ops import MAX_GET_CIDS, MAX_HAS_CIDS, pin_row, usage_row
from swarmd.node.content.repo import ContentRepo
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.cids import RAW, cid_text, codec_of
from swarmd.protocol.faults import LocalFault, RemoteFault

# Of a message to the daemon: well below what one may have.
_GROUP_BYTES: Final = 4 * 1_048_576
_GROUP_BLOCKS: Final = 8_192
# How many blocks are asked for ahead of the one that is read next; the answer is cut where it gets too big.
_AHEAD: Final = 32
Tell = Callable[[str, int], None]  # (phase, how many so far)


class NodeContent(Protocol):
    """What commands do with the node's content."""

    def put_group(self, blocks: Mapping[bytes, bytes | memoryview]) -> None: ...

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int: ...

    def get(self, cid: bytes) -> bytes | None: ...

    def has_all(self, cids: list[bytes]) -> bool: ...

    def sync(self) -> None: ...

    def fetch(self, cid: bytes) -> None:
        """Have a file whole, from peers if need be. LocalFault `content-unavailable`."""

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Mapping[str, Any]: ...

    def unpin(self, cid: bytes) -> bool: ...

    def pins(self) -> Sequence[Mapping[str, Any]]: ...

    def usage(self) -> Mapping[str, Any]: ...

    def collect(self, grace_s: float, tell: Tell) -> Mapping[str, Any]: ...

    def verify(self, tell: Tell) -> Mapping[str, Any]: ...


class RemoteContent:
    """`NodeContent` of a running daemon. Reads ahead along the links of the nodes it has read."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._expected: deque[bytes] = deque()  # what a reader that goes in order asks for next
        self._ahead: dict[bytes, bytes | None] = {}
        self._last: tuple[bytes, bytes | None] = (b"", None)

    def put_group(self, blocks: Mapping[bytes, bytes | memoryview]) -> None:
        self.put_many((cid, bytes(block)) for cid, block in blocks.items())

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        given = size = 0
        group: list[list[bytes]] = []
        for cid, block in blocks:
            group.append([cid, block])
            size += len(block)
            given += 1
            if size >= _GROUP_BYTES or len(group) >= _GROUP_BLOCKS:
                self._client.call("content.put", {"blocks": group})
                group, size = [], 0
        if group:
            self._client.call("content.put", {"blocks": group})
        self._last = (b"", None)
        return given

    def get(self, cid: bytes) -> bytes | None:
        if cid == self._last[0]:  # a file of zeros has one leaf, again and again
            return self._last[1]
        if cid not in self._ahead:
            self._ask(cid)
        block = self._ahead.pop(cid)
        self._last = (cid, block)
        if block is not None and codec_of(cid) != RAW:
            self._expect(cid, block)
        return block

    def _ask(self, cid: bytes) -> None:
        # What was asked for ahead of a reader that went another way is of no use to it.
        self._ahead.clear()
        wanted = {cid: None}
        if cid in self._expected:
            while self._expected and len(wanted) < min(_AHEAD, MAX_GET_CIDS):
                wanted[self._expected.popleft()] = None
        blocks = self._client.call("content.get", {"cids": list(wanted)})["blocks"]
        self._ahead = dict(zip(wanted, blocks, strict=False))
        # Those that did not fit come next.
        self._expected.extendleft(reversed(list(wanted)[len(blocks) :]))

    def _expect(self, cid: bytes, block: bytes) -> None:
        try:
            self._expected.extendleft(reversed(links_of(cid, block)))
        except RemoteFault:
            pass  # its reader will say what is wrong with it

    def has_all(self, cids: list[bytes]) -> bool:
        return all(
            self._client.call("content.has", {"cids": cids[first : first + MAX_HAS_CIDS]})["all"]
            for first in range(0, len(cids), MAX_HAS_CIDS)
        )

    def sync(self) -> None:
        self._client.call("content.sync")

    def fetch(self, cid: bytes) -> None:
        self._last = (b"", None)
        self._ahead.clear()
        self._client.call("content.fetch", {"cid": cid})

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.call(
            "content.pin", {"cid": cid, "recursive": recursive, "name": name}
        )
        return found

    def unpin(self, cid: bytes) -> bool:
        return bool(self._client.call("content.unpin", {"cid": cid})["unpinned"])

    def pins(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self._client.call("content.pins")["pins"]
        return found

    def usage(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client.call("content.usage")
        return found

    def collect(self, grace_s: float, tell: Tell) -> Mapping[str, Any]:
        return self._told("content.gc", {"grace_s": grace_s}, tell)

    def verify(self, tell: Tell) -> Mapping[str, Any]:
        return self._told("content.verify", {}, tell)

    def _told(self, op: str, args: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
        found: Any = None
        for found in self._client.stream(op, args):
            if isinstance(found, dict) and "phase" in found:
                tell(found["phase"], found["count"])
        result: Mapping[str, Any] = found
        return result


class FolderContent:
    """`NodeContent` of a home whose daemon does not run; the caller holds the home's lock."""

    def __init__(self, home: Path, folder: Path, *, max_bytes: int = 0) -> None:
        self._home = home
        self._repo = ContentRepo(folder, max_bytes=max_bytes)
        self._journal = journal_reader(home / "journal.db")

    def close(self) -> None:
        self._repo.close()

    def put_group(self, blocks: Mapping[bytes, bytes | memoryview]) -> None:
        self._repo.put_group(blocks)

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        return self._repo.put_many(blocks)

    def get(self, cid: bytes) -> bytes | None:
        block = self._repo.get(cid)
        return self._journal.get(cid) if block is None and self._journal is not None else block

    def has_all(self, cids: list[bytes]) -> bool:
        return all(
            self._repo.has(cid) or (self._journal is not None and self._journal.has(cid)) for cid in cids
        )

    def sync(self) -> None:
        self._repo.sync()

    def fetch(self, cid: bytes) -> None:
        raise LocalFault(
            "content-missing",
            f"{cid_text(cid)} is not here, and no daemon runs that could fetch it",
            fix="start one with swarmd up",
        )

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Mapping[str, Any]:
        return pin_row(self._repo.pin(cid, recursive=recursive, name=name))

    def unpin(self, cid: bytes) -> bool:
        return self._repo.unpin(cid)

    def pins(self) -> Sequence[Mapping[str, Any]]:
        return [pin_row(pin) for pin in self._repo.pins()]

    def usage(self) -> Mapping[str, Any]:
        found = usage_row(self._repo.usage())
        if self._journal is None:
            return {**found, "journal_blocks": 0, "journal_bytes": 0}
        journal = self._journal.stat()
        return {**found, "journal_blocks": journal.blocks, "journal_bytes": journal.bytes}

    def collect(self, grace_s: float, tell: Tell) -> Mapping[str, Any]:
        if (self._home / "journal.db").exists():
            raise LocalFault(
                "daemon-not-running",
                "what the node itself needs of its content only its daemon knows",
                fix="start it with swarmd up, then collect",
            )
        done = collect(self._repo, grace_s=grace_s if grace_s else -1, tell=_summed(tell))
        return done.to_map()

    def verify(self, tell: Tell) -> Mapping[str, Any]:
        return verify(self._repo, _summed(tell))


def _summed(tell: Tell) -> Tell:
    counts: dict[str, int] = {}

    def summed(phase: str, count: int) -> None:
        counts[phase] = counts.get(phase, 0) + count
        tell(phase, counts[phase])

    return summed
