"""What nodes ask each other about checkpoints: heads and parts of snapshots, and the certified ones behind an epoch."""

from collections.abc import Callable, Sequence
from typing import Any

from swarmd.node.checkpoint.files import Followed, to_row, verify_chain
from swarmd.node.checkpoint.records import Kept, Records
from swarmd.node.ports import PeerGone, Transport
from swarmd.node.state.sync import Sync
from swarmd.protocol.cbor import encode
from swarmd.protocol.checkpoint import packing, unpacking
from swarmd.protocol.checkpoint.snapshot import Cut, Packed, state_of
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis

MAX_PARTS = 512
MAX_ANSWER_BYTES = 4 * 1_048_576
MAX_CHECKPOINTS = 64


class Exchange:
    """Asks peers and `serve`s them. What comes is checked against the hashes that it was asked by."""

    def __init__(
        self, records: Records, transport: Transport, sync: Sync, peer_of: Callable[[str], str]
    ) -> None:
        self._records = records
        self._transport = transport
        self._sync = sync
        self._peer_of = peer_of

    async def cut_of(self, peer: str, state: bytes) -> Cut:
        """The cut of a snapshot that `peer` proposes."""
        name = unpacking.cut_name(await self._head(peer, state))
        return unpacking.parse_cut((await self._parts(peer, [name]))[name])

    async def _head(self, peer: str, state: bytes) -> bytes:
        frame = (await self._sync.ask(peer, {"t": "parts", "names": [state]})).get("parts")
        if type(frame) is not list or len(frame) != 1 or type(frame[0]) is not bytes:
            raise PeerGone("the peer has not got that snapshot")
        head = packing.decompress(frame[0], MAX_ANSWER_BYTES)
        if state_of(head) != state:
            raise RemoteFault("bad-snapshot", "a head that does not hash to its checkpoint")
        return head

    async def _parts(self, peer: str, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """Checked bodies of all `names`."""
        bodies: dict[bytes, bytes] = {}
        left = list(names)
        while left:
            frames = (await self._sync.ask(peer, {"t": "parts", "names": left[:MAX_PARTS]})).get("parts")
            if type(frames) is not list or not frames:
                raise PeerGone("the peer has not got all parts of that snapshot")
            for name, frame in zip(left, frames, strict=False):
                if type(frame) is not bytes:
                    raise RemoteFault("bad-snapshot", "a part is a byte string")
                bodies[name] = unpacking.check_part(name, packing.decompress(frame))
            left = left[len(frames) :]
        return bodies

    async def get(self, state: bytes, holders: Sequence[str]) -> None:
        """Put a snapshot into the records, from the first that has it: its holders, then anybody. PeerGone if nobody."""
        first = [peer for did in holders if (peer := self._peer_of(did))]
        others = [each.peer_id for each in self._transport.peers()]
        for peer in dict.fromkeys([*first, *others]):
            try:
                head = await self._head(peer, state)
                names = [n for n in unpacking.part_names(head) if self._records.frame(n) is None]
                parts = await self._parts(peer, names)
                here = {n: b for n in unpacking.part_names(head) if (b := self._records.body(n)) is not None}
                self._records.put(Packed(head, {**here, **parts}))
                return
            except PeerGone:
                continue
            except RemoteFault as fault:
                self._transport.report(peer, fault.code)
        raise PeerGone(f"nobody here gives the snapshot {state.hex()[:16]}")

    async def verified(self, peer: str, genesis: Genesis, rosters: dict[int, Roster], epoch: int) -> Followed:
        """The peer's checkpoints behind `epoch` (64 at a time), which follow from what we know."""
        answer = await self._sync.ask(peer, {"t": "checkpoints", "from": epoch + 1})
        rows = answer.get("checkpoints", [])
        if type(rows) is not list or len(rows) > MAX_CHECKPOINTS:
            raise RemoteFault("bad-checkpoint", "checkpoints must be a list")
        return verify_chain(
            genesis,
            rosters,
            epoch,
            self._records.base,
            rows,
            lambda frame: packing.decompress(frame, MAX_ANSWER_BYTES),
        )

    def serve(self, message: dict[str, Any]) -> bytes:
        """The answer to `parts` {"names"} or `checkpoints` {"from"}. RemoteFault for what is not well-formed."""
        if message.get("t") == "checkpoints":
            first = message.get("from")
            if type(first) is not int or not 0 <= first < 1 << 62:
                raise RemoteFault("bad-sync", "from: an epoch")
            latest = self._records.latest()
            return encode(
                {
                    "latest": latest.epoch if latest is not None else 0,
                    "checkpoints": [self._row(kept) for kept in self._records.since(first, MAX_CHECKPOINTS)],
                }
            )
        names = message.get("names")
        if type(names) is not list or not 1 <= len(names) <= MAX_PARTS:
            raise RemoteFault("bad-sync", f"names: 1 to {MAX_PARTS} hashes")
        frames: list[bytes] = []
        room = MAX_ANSWER_BYTES
        for name in names:
            frame = self._records.frame(name) if type(name) is bytes and len(name) == 32 else None
            if frame is None or (room - len(frame) < 0 and frames):
                break
            room -= len(frame)
            frames.append(frame)
        return encode({"parts": frames})

    def _row(self, kept: Kept) -> list[Any]:
        return to_row(kept, packing.compress(kept.head), self._records.frame)
