"""Assembling what an agent gets from content, and keeping what it answers as content."""

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio
from swarmd.node.content.fetch import fetch
from swarmd.node.content.layered import LayeredBlocks
from swarmd.node.content.network import ContentNetwork
from swarmd.node.content.treewalk import TreeWalk
from swarmd.node.content.unixfs import file_node, import_bytes, missing, read_file
from swarmd.node.ports import PeerGone, Transport
from swarmd.protocol.canonical_json import BadJson, canonical_json, parse_json
from swarmd.protocol.cids import cid_text, raw_cid
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.kinds import COMMIT, NEED
from swarmd.protocol.limits import MAX_CONTENT_BYTES, MAX_INLINE_BYTES

log = logging.getLogger("swarmd.content")

# An agent takes its whole input as one JSON document on stdin; larger content is for agents that fetch by CID.
MAX_INPUT_BYTES = 16 * 1_048_576


class Content:
    """The node's content: its store, and the peers it can fetch from."""

    def __init__(
        self,
        store: LayeredBlocks,
        transport: Transport,
        addrs_of: Callable[[str], Sequence[str]] = lambda _: (),
        network: ContentNetwork | None = None,
        me: str = "",
    ) -> None:
        """`addrs_of`: the multiaddrs that a node (did:key) says it can be dialled at. `network`: who else may have
        content; without one, connected peers are asked by request only. `me`: the did:key of this node."""
        self.store = store
        self._me = me
        self.on_here: list[Callable[[bytes], None]] = []  # hear of each content that is here now
        self._network = network
        self._transport = transport
        self._addrs_of = addrs_of
        self._fetching: dict[bytes, trio.Event] = {}

    def add(self, data: bytes) -> tuple[bytes, int]:
        """Store `data` as a UnixFS file; returns (CID, size)."""
        root = import_bytes(data, self.store.put)
        self.announce(root.cid)
        return root.cid, root.size

    def announce(self, cid: bytes) -> None:
        """Let the mesh know of content that is here now."""
        for heard in self.on_here:
            heard(cid)

    def seen(self, envelope: Envelope) -> None:
        """An envelope is on disk. If this node said it, so are the small blocks in it: let the mesh know of those."""
        if envelope.sender != self._me or envelope.kind not in (NEED, COMMIT):
            return
        blocks = envelope.payload.get("inline") or ()
        for block in (blocks,) if isinstance(blocks, bytes) else blocks:
            cid = raw_cid(block)
            if self.store.has(cid):  # not if the rules found the envelope void
                self.announce(cid)

    def here(self, cid: bytes) -> bool:
        """Is all of it in the store?"""
        return self.store.has(cid) and not missing(cid, self.store.get, self.store.has, walk=TreeWalk(cid))

    async def ensure(self, cid: bytes, holders: Sequence[str]) -> None:
        """Have the whole content, fetched from the holders (did:key) first, then from any peer.

        LocalFault `content-unavailable` if nobody that is connected has it.
        """
        while (other := self._fetching.get(cid)) is not None:
            await other.wait()
        if self.here(cid):
            return
        event = self._fetching[cid] = trio.Event()
        try:
            await self._dial(holders)
            peers = self._transport.peers()
            by_did = {peer.did: peer.peer_id for peer in peers}
            first = [by_did[did] for did in holders if did in by_did]
            rest = [peer.peer_id for peer in peers if peer.peer_id not in first]
            if self._network is not None:
                await self._network.fetch(first + rest, cid, self.store.content)
            else:
                await fetch(self._transport, first + rest, cid, self.store.content)
            self.announce(cid)
        finally:
            del self._fetching[cid]
            event.set()

    async def _dial(self, holders: Sequence[str]) -> None:
        """Connect to the first holder that we can reach, unless one is connected: gossip needs few connections,
        content a direct one."""
        connected = {peer.did for peer in self._transport.peers()}
        if any(did in connected for did in holders):
            return
        for did in holders:
            for addr in self._addrs_of(did):
                try:
                    await self._transport.connect(addr)
                    return
                except (PeerGone, LocalFault) as error:
                    log.debug("%s at %s not reached: %s", did, addr, error)

    def read(self, cid: bytes, max_bytes: int = MAX_INPUT_BYTES) -> bytes:
        """The bytes of a file that is here; RemoteFault if it is larger or broken."""
        parts = []
        size = 0
        for part in read_file(cid, self.store.get):
            size += len(part)
            if size > max_bytes:
                raise RemoteFault("content-too-big", f"over {max_bytes} bytes")
            parts.append(part)
        return b"".join(parts)

    def _size(self, cid: bytes) -> int:
        """Of a file that is here, as its root declares."""
        return file_node(cid, self.store.get(cid) or b"", None, MAX_CONTENT_BYTES).size

    async def assemble(
        self, bindings: Mapping[str, Mapping[str, Any]], holders: Sequence[str]
    ) -> dict[str, Any]:
        """argument -> JSON value, from content and from results of earlier tasks (by JSON Pointer, RFC 6901)."""
        values: dict[str, Any] = {}
        for argument, binding in bindings.items():
            cid = binding["cid"]
            if not self.here(cid):
                await self.ensure(cid, holders)
            kind = binding.get("as", "json")
            if kind == "bytes" and (size := self._size(cid)) > MAX_INPUT_BYTES:
                # It is here: the agent gets it by its CID (swarmd content get), and not through one JSON document.
                values[argument] = {"cid": cid_text(cid), "bytes": size}
                continue
            data = self.read(cid)
            try:
                if kind == "text":
                    values[argument] = data.decode("utf-8")
                elif kind == "bytes":
                    values[argument] = {"base64": base64.b64encode(data).decode("ascii")}
                else:
                    values[argument] = point(parse_json(data), binding.get("pointer", ""))
            except (BadJson, UnicodeDecodeError, LookupError) as error:
                raise RemoteFault("bad-input", f"argument {argument}: {error}") from None
        return values

    def keep_json(self, value: Any) -> tuple[bytes, int, bytes]:
        """Store an agent's answer in its canonical form: (CID, size, the bytes).

        A small one is not stored here: it travels in the COMMIT, and is kept in the transaction of that.
        """
        data = canonical_json(value)
        if len(data) <= MAX_INLINE_BYTES:
            return raw_cid(data), len(data), data
        cid, size = self.add(data)
        return cid, size, data


def point(document: Any, pointer: str) -> Any:
    """RFC 6901; LookupError names the step that leads nowhere."""
    if pointer == "":
        return document
    if not pointer.startswith("/"):
        raise LookupError(f"a JSON Pointer begins with '/': {pointer!r}")
    for step in pointer[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and key in document:
            document = document[key]
        elif isinstance(document, list) and key.isdecimal() and int(key) < len(document):
            document = document[int(key)]
        else:
            raise LookupError(f"{pointer!r} leads nowhere at {key!r}")
    return document
