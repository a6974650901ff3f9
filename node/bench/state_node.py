"""One node of `swarmd bench state`: a real runner, journal, gate, sync and transport, with a history loaded.

As a process it plays one of two roles. `serves` has some more of the history and takes it in when asked to. `asks`
syncs that from the other, again and again, then posts needs of its own and asks its views.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import nacl.signing
import trio
from swarmd import policies
from swarmd.node.bench import history
from swarmd.node.bench.percentiles import percentiles
from swarmd.node.bench.processes import Ready, serve
from swarmd.node.bench.state_views import query_views, rss_mb
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.garbage import Garbage
from swarmd.node.journal import Journal
from swarmd.node.journaled import JournaledEngine
from swarmd.node.policy.host import WasmGate
from swarmd.node.ports import PolicyGate, Verdict
from swarmd.node.runner import Runner
from swarmd.node.state.sync import Sync
from swarmd.node.transport.p2p.transport import P2PTransport
from swarmd.node.turns import Out
from swarmd.protocol import limits
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.didkey import did_of
from swarmd.protocol.identity.manifest import sign_manifest
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.state import State

FRAMES_A_TURN = 8
SYNC_OPS = 100
SYNC_WARM_UP = 5
_APPEND_WARM_UP = 50
_LOAD_PAUSE_S = 0.2
_NOT_YET = -1


class OpenGate:
    """Lets everything in, at no cost: for what is to be measured without a policy."""

    policy_hash = bytes(32)
    _verdict = Verdict(True, (), 0, bytes(32))

    def evaluate(self, gate: str, facts: Any) -> Verdict:
        return self._verdict


def base_gate() -> PolicyGate:
    """What a daemon has whose operator has named no policy."""
    policy = policies.load("base")
    return WasmGate(policy.wasm, policy.data)


class StateNode:
    """A node in `folder`. It is no verifier, so nothing follows for it from what it hears."""

    def __init__(
        self,
        folder: Path,
        number: int,
        gate: PolicyGate,
        clock_ns: Callable[[], int] = time.time_ns,
        chain_epochs: int = limits.CHAIN_EPOCHS,
    ) -> None:
        self.genesis = history.genesis(chain_epochs)
        self.key: nacl.signing.SigningKey = history.key_of(number)
        self.did = did_of(bytes(self.key.verify_key))
        self.journal = Journal(folder / "journal.db")
        self.on_out: Callable[[Out], None] = lambda out: None
        core = JournaledEngine(
            genesis=self.genesis,
            me=self.did,
            sign=self.sign,
            journal=self.journal,
            gate=gate,
            blocks=SqliteBlockStore(self.journal.db),
            clock_ns=clock_ns,
            new_state=lambda: State(self.genesis, self.did),
        )
        self.runner = Runner(core, self._out)
        self.ops = 0

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data).signature

    def _out(self, out: Out) -> None:
        for reply in out.replies:
            reply.done.set()
        self.on_out(out)

    def take(self, frames: list[bytes]) -> None:
        """Take frames in, in one turn."""
        for frame in frames:
            self.runner.offer_frame("bench", frame)
        before = self.runner.counters["admitted"]
        self._out(self.runner.turn())
        self.ops += self.runner.counters["admitted"] - before

    async def load(self, frames: Iterator[bytes], ops: int) -> None:
        """Take in frames until there are `ops` envelopes; others get their turn in between."""
        while self.ops < ops and (some := list(islice(frames, FRAMES_A_TURN))):
            self.take(some)
            await trio.lowlevel.checkpoint()


class Peer:
    """The transport's handler: answers sync as the daemon does, and takes more of the history in when asked to."""

    def __init__(self, node: StateNode, transport: P2PTransport) -> None:
        self.node = node
        self.sync = Sync(node.runner, node.journal, transport, self._manifest)
        self.more: Iterator[bytes] | None = None
        self.ended = trio.Event()
        self._transport = transport

    def _manifest(self) -> bytes:
        addrs = self._transport.addrs
        mesh_id, did = self.node.genesis.mesh_id, self.node.did
        return sign_manifest(mesh_id, did, time.time_ns(), {}, (), addrs, self.node.sign).frame()

    def on_frame(self, peer_id: str, frame: bytes) -> None: ...

    async def on_peer_up(self, peer_id: str, did: str) -> None: ...

    async def on_peer_down(self, peer_id: str) -> None: ...

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        message = decode(body)
        if message["t"] == "end":
            self.ended.set()
            return encode(self.node.runner.chains.bucket_roots())
        if message["t"] != "more":
            return self.sync.serve(peer_id, message)
        if self.more is None:
            return encode(_NOT_YET)
        before = self.node.ops
        while self.node.ops < before + SYNC_OPS:
            self.node.take([next(self.more)])
        return encode(self.node.ops - before)


async def main(settings: Any, ready: Ready) -> dict[str, Any]:
    Garbage().start()  # as the daemon
    frames = history.read_frames(Path(settings["frames"]))
    node = StateNode(Path(settings["folder"]), settings["number"], base_gate())
    transport = P2PTransport(bytes(node.key), "bench", static_peers=settings["peers"], frames_are_signed=True)
    peer = Peer(node, transport)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, peer)
        await ready(transport.addrs[0])
        began_s = time.perf_counter()
        await node.load(frames, settings["ops"])
        report = {"ops": node.ops, "load_s": round(time.perf_counter() - began_s, 1)}
        if settings["peers"]:
            nursery.start_soon(node.runner.run)
            report |= await _asks(node, peer, transport, settings)
        else:
            peer.more = frames
            await peer.ended.wait()
            await trio.sleep(_LOAD_PAUSE_S)  # until the answer is out
        nursery.cancel_scope.cancel()
    return report | {"rss_mb": rss_mb(), "cpu_s": time.process_time()}


async def _asks(node: StateNode, peer: Peer, transport: P2PTransport, settings: Any) -> dict[str, Any]:
    other = transport.peers()[0].peer_id
    report = await _incremental(peer, transport, other, settings["rounds"])
    roots = decode(await transport.request(other, encode({"t": "end"})))
    report["agree"] = roots == node.runner.chains.bucket_roots()
    report |= await _append(node, settings["appends"])
    return report | {"views": query_views(node.runner.state, settings["queries"])}


async def _incremental(peer: Peer, transport: P2PTransport, other: str, rounds: int) -> dict[str, Any]:
    """What a round of sync takes that finds about 100 new envelopes: from asking to all of it in the journal."""
    ask = encode({"t": "more"})
    took_ms: list[float] = []
    came: list[int] = []
    while len(took_ms) < rounds + SYNC_WARM_UP:
        ops: int = decode(await transport.request(other, ask))
        if ops == _NOT_YET:
            await trio.sleep(_LOAD_PAUSE_S)
            continue
        began = time.perf_counter()
        await peer.sync.round(other)
        took_ms.append(1e3 * (time.perf_counter() - began))
        came.append(ops)
    return {"sync": percentiles(took_ms[SYNC_WARM_UP:]), "sync_ops": round(sum(came) / len(came), 1)}


async def _append(node: StateNode, appends: int) -> dict[str, Any]:
    """From telling the runner of a command to its being on disk, one after the other."""
    took_ms = []
    for number in range(appends + _APPEND_WARM_UP):
        value = b"%d" % number
        task = {
            "id": "t1",
            "capability": "bench.echo",
            "max_price": 1_000,
            "input": {"value": {"cid": Link(raw_cid(value)), "as": "json"}},
            "verify": {"type": "reexec"},
        }
        args = {
            "title": f"bench {number}",
            "budget": 1_000,
            "deadline_s": 600,
            "tasks": [task],
            "inline": [value],
        }
        began = time.perf_counter()
        reply = node.runner.tell(partial(Commanded, "need.post", args), reply=True)
        assert reply is not None
        await reply.wait()
        took_ms.append(1e3 * (time.perf_counter() - began))
    return {"append": percentiles(took_ms[_APPEND_WARM_UP:])}


if __name__ == "__main__":
    serve(main)
