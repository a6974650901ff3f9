"""One node of `swarmd bench gossip`: the daemon's own sealing, transport and decoding, without engine and disk."""

import os
import time
from typing import Any

import trio
from nacl.signing import SigningKey
from swarmd.node.bench.envelopes import EnvelopeMaker, arrivals
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.garbage import Garbage
from swarmd.node.sealing import FlushWindow, seal
from swarmd.node.transport.p2p import P2PTransport
from swarmd.protocol.batch import parse_flush
from swarmd.protocol.cbor import decode
from swarmd.protocol.chains import Chains
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope

MESH_ID = bytes(32)
_TICK_S = 0.001
_DRAIN_S = 1.0


class Receiver:
    """Takes a frame as the daemon does: decodes it strictly, verifies its signature, checks each envelope."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.ids: set[bytes] = set()
        self.frames = 0

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        batches = parse_flush(MESH_ID, decode(frame))
        now_ns = time.time_ns()
        self.frames += 1
        for batch in batches:
            for envelope in batch.envelopes:
                if envelope.id not in self.ids:
                    self.ids.add(envelope.id)
                    self.latencies_ms.append((now_ns - envelope.ts_ns) / 1e6)

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        return body

    async def on_peer_up(self, peer_id: str, did: str) -> None: ...

    async def on_peer_down(self, peer_id: str) -> None: ...


class Publisher:
    def __init__(self, transport: P2PTransport, key: SigningKey, size_bytes: int) -> None:
        self.sent = self.flushes = 0
        self._transport = transport
        self._key = key
        self._did = did_of(bytes(key.verify_key))
        self._maker = EnvelopeMaker(self._did, size_bytes)
        self._chains = Chains()
        self._window = FlushWindow()
        self._waiting: list[Envelope] = []

    async def run(self, rate: float, seconds: float, seed: int) -> None:
        """As the runner's loop: take what is due, flush when the window says so."""
        began_ns = time.time_ns()
        ends_ns = began_ns + int(seconds * 1e9)
        times = arrivals(rate, began_ns, ends_ns, seed)
        next_ns = next(times, ends_ns)
        while (now_ns := time.time_ns()) < ends_ns or self._waiting:
            while next_ns <= now_ns and next_ns < ends_ns:
                self._waiting.append(self._maker.make(next_ns))
                next_ns = next(times, ends_ns)
            if self._waiting and self._window.due(len(self._waiting), now_ns):
                await self._flush()
                self._window.flushed(now_ns)
            timer_ns = self._window.ends_at_ns if self._waiting else 0
            until_ns = min(next_ns, timer_ns) if self._waiting else next_ns
            await trio.sleep(max(_TICK_S, (until_ns - time.time_ns()) / 1e9))
            if self._waiting and timer_ns == until_ns:
                self._window.rang(time.time_ns() - timer_ns)

    async def _flush(self) -> None:
        for frame, batches in seal(MESH_ID, self._did, self._chains, self._waiting, self._sign):
            for batch in batches:
                self._chains.accept(batch)
                self.sent += len(batch.envelopes)
            self.flushes += 1
            await self._transport.publish(frame)
        self._waiting = []

    def _sign(self, data: bytes) -> bytes:
        return self._key.sign(data).signature


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    Garbage().start()  # as the daemon
    seed = os.urandom(32)
    receiver = Receiver()
    transport = P2PTransport(seed, "bench", static_peers=settings["peers"], frames_are_signed=True)
    publisher = Publisher(transport, SigningKey(seed), settings["size_bytes"])
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, receiver)
        await ready(transport.addrs[0])
        peers = len(transport.peers())
        began_cpu_s = time.process_time()
        await publisher.run(settings["rate"], settings["seconds"], settings["index"])
        await trio.sleep(_DRAIN_S)
        report = {
            "sent": publisher.sent,
            "flushes": publisher.flushes,
            "peers": peers,
            "frames": receiver.frames,
            "latencies_ms": [round(ms, 3) for ms in receiver.latencies_ms],
            "cpu_s": time.process_time() - began_cpu_s,
            "drops": sum(transport.counters().values()),
        }
        nursery.cancel_scope.cancel()
    return report


if __name__ == "__main__":
    serve(main)
