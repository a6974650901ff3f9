"""Two honest peers of a daemon, which know only the daemon: what one says reaches the other through it.

`honest.py ADDR MESH_ID_HEX MESH_NAME`: they talk all the time. A line on stdin asks that all sent so far has
arrived; the answer is a line of JSON: sent, lost, answered requests, unanswered ones, times disconnected.
"""

import json
import os
import sys
import time

import nacl.signing
import trio
from swarmd.node.transport.p2p import P2PTransport
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.didkey import did_of
from swarmd.protocol.identity.manifest import sign_manifest

PAUSE_S = 0.04
ARRIVE_S = 20.0


class Honest:
    """Says a new manifest again and again, and asks the daemon for its own."""

    def __init__(self, addr: str, mesh_id: bytes, mesh: str) -> None:
        seed = os.urandom(32)
        self._key = nacl.signing.SigningKey(seed)
        self._did = did_of(bytes(self._key.verify_key))
        self._mesh_id = mesh_id
        self.transport = P2PTransport(seed, mesh, static_peers=[addr])
        self.victim = addr.rpartition("/")[2]
        self.up = trio.Event()
        self.sent: dict[bytes, float] = {}
        self.got: dict[bytes, float] = {}
        self.downs = self.answered = self.unanswered = 0

    def manifest(self) -> bytes:
        def sign(data: bytes) -> bytes:
            return self._key.sign(data).signature

        return sign_manifest(self._mesh_id, self._did, time.time_ns(), {"x": 1}, (), (), sign).frame()

    async def talk(self) -> None:
        await self.up.wait()
        while True:
            frame = self.manifest()
            self.sent[frame] = time.monotonic()
            await self.transport.publish(frame)
            await trio.sleep(PAUSE_S)

    async def ask(self) -> None:
        await self.up.wait()
        hello = encode({"t": "hello", "manifest": self.manifest()})
        while True:
            try:
                answer = decode(await self.transport.request(self.victim, hello, timeout_s=15))
                self.answered += type(answer.get("manifest")) is bytes
            except Exception as error:
                print(f"no answer: {error!r}", file=sys.stderr, flush=True)
                self.unanswered += 1
            await trio.sleep(4 * PAUSE_S)

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        self.got.setdefault(frame, time.monotonic())

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        kind = decode(body)["t"]
        if kind == "hello":
            return encode({"manifest": self.manifest()})
        return encode({"vectors": [], "batches": [], "blocks": [], "more": False})  # it has nothing

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        self.up.set()

    async def on_peer_down(self, peer_id: str) -> None:
        self.downs += 1


async def report(a: Honest, b: Honest) -> dict[str, object]:
    while min(len(a.sent), len(b.sent)) < 3:  # noqa: ASYNC110 (so many at least are said after an attack)
        await trio.sleep(PAUSE_S)
    due = ([*a.sent], [*b.sent])
    with trio.move_on_after(ARRIVE_S):
        while any(f not in b.got for f in due[0]) or any(f not in a.got for f in due[1]):  # noqa: ASYNC110
            await trio.sleep(0.02)
    lost = sum(f not in b.got for f in due[0]) + sum(f not in a.got for f in due[1])
    times_s = [b.got[f] - a.sent[f] for f in due[0] if f in b.got]
    times_s += [a.got[f] - b.sent[f] for f in due[1] if f in a.got]
    times_s.sort()
    found = {
        "sent": len(due[0]) + len(due[1]),
        "lost": lost,
        "worst_ms": round(1e3 * times_s[-1], 1) if times_s else None,
        "p50_ms": round(1e3 * times_s[len(times_s) // 2], 1) if times_s else None,
        "answered": a.answered + b.answered,
        "unanswered": a.unanswered + b.unanswered,
        "downs": a.downs + b.downs,
    }
    # The next report is about what comes after this one.
    for honest, other, sent in ((a, b, due[0]), (b, a, due[1])):
        for frame in sent:
            del honest.sent[frame]
            other.got.pop(frame, None)
    return found


async def main() -> None:
    addr, mesh_id, mesh = sys.argv[1], bytes.fromhex(sys.argv[2]), sys.argv[3]
    a, b = (Honest(addr, mesh_id, mesh) for _ in range(2))
    async with trio.open_nursery() as nursery:
        for honest in (a, b):
            await nursery.start(honest.transport.run, honest)
        await a.up.wait()
        await b.up.wait()
        await trio.sleep(2)  # gossip's subscriptions
        for honest in (a, b):
            nursery.start_soon(honest.talk)
            nursery.start_soon(honest.ask)
        print(json.dumps([a.transport.peer_id, b.transport.peer_id]), flush=True)
        lines = trio.lowlevel.FdStream(os.dup(0))
        while await lines.receive_some(4_096):
            print(json.dumps(await report(a, b)), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
