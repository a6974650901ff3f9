"""Micro-benchmarks of the core: what signing, verifying, parsing, building and a step cost, and what state weighs.

Run by `calibrate`; `python -m swarmd.simulations.scale.micro` prints the figures alone. A mesh of five engines does
whole needs, each envelope sealed and parsed as between daemons; the median over the needs is reported.
"""

import json
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from statistics import median

import nacl.bindings
import nacl.signing
from swarmd.protocol import cids, limits
from swarmd.protocol.batch import GENESIS_PREV, parse_flush, sign_flush
from swarmd.protocol.cbor import Link, decode
from swarmd.protocol.chains import Chains, Head
from swarmd.protocol.didkey import did_of
from swarmd.protocol.effects import Effect, Judge, Publish, RunAgent
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.identity.manifest import Manifest, sign_manifest
from swarmd.protocol.inputs import Admitted, AgentDone, Authored, Commanded, Input, Judged, ManifestSeen
from swarmd.protocol.state import State

NODES = 5  # bootstrap mode: K is 1, as in the meshes of calibrate
START_NS = 1_760_000_000 * limits.S_NS
_ANSWER = b'{"echo":1}'


def timed_us(action: Callable[[], object], repeat: int = 200, rounds: int = 7) -> float:
    """Microseconds of CPU of one call: the best of some rounds, since others on the machine only ever add."""
    best = float("inf")
    for _ in range(rounds):
        began_ns = time.thread_time_ns()
        for _ in range(repeat):
            action()
        best = min(best, (time.thread_time_ns() - began_ns) / repeat / 1_000)
    return best


class Engines:
    """Engines that hear each other at once, in the order of speaking. `times_us` collects by what was done."""

    def __init__(self, nodes: int = NODES) -> None:
        self.nodes = nodes
        self.keys = [nacl.signing.SigningKey(sha256(bytes([n])).digest()) for n in range(nodes)]
        self.dids = [did_of(bytes(key.verify_key)) for key in self.keys]
        self.genesis = Genesis("micro", tuple(sorted(self.dids)), {did: 10**12 for did in self.dids})
        self.mesh_id = self.genesis.mesh_id
        self.states = [State(self.genesis, did) for did in self.dids]
        self.now_ns = START_NS
        self.times_us: dict[str, list[float]] = {"build": [], "step": [], "seal": [], "parse": []}
        self._chain: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._inbox: deque[tuple[int, Input]] = deque()
        for number in range(nodes):
            manifest = self.manifest(number)
            for other in range(nodes):
                step(self.states[other], ManifestSeen(manifest, self.now_ns))

    def manifest(self, number: int) -> Manifest:
        def sign(data: bytes) -> bytes:
            return self.keys[number].sign(data).signature

        return sign_manifest(
            self.mesh_id, self.dids[number], self.now_ns, {"bench.echo": 1_000}, (), (), sign
        )

    def _timed(self, what: str, began_ns: int) -> None:
        self.times_us[what].append((time.thread_time_ns() - began_ns) / 1_000)

    def need(self, number: int) -> None:
        """One need of one task, from NEED to FINALIZE."""
        task = {
            "id": "t1",
            "capability": "bench.echo",
            "max_price": 10_000,
            "input": {"value": {"cid": Link(cids.raw_cid(b"1")), "as": "json"}},
            "verify": {"type": "reexec"},
        }
        args = {
            "title": f"bench {number}",
            "budget": 10_000,
            "deadline_s": 600,
            "tasks": [task],
            "inline": [],
        }
        self.now_ns += 1_000_000
        self._inbox.append((number % self.nodes, Commanded("need.post", args, self.now_ns)))
        while self._inbox:
            self._feed(*self._inbox.popleft())

    def _feed(self, index: int, given: Input) -> None:
        self.now_ns += 10_000
        began_ns = time.thread_time_ns()
        effects = step(self.states[index], given)
        if isinstance(given, Admitted | Authored):
            self._timed("step", began_ns)
        for effect in effects:
            self._carry_out(index, effect)

    def _carry_out(self, index: int, effect: Effect) -> None:
        if isinstance(effect, RunAgent):
            answer = AgentDone(
                effect.job_id, cids.raw_cid(_ANSWER), len(_ANSWER), _ANSWER, {"wall_ms": 1}, "", self.now_ns
            )
            self._inbox.append((index, answer))
        elif isinstance(effect, Judge):
            self._inbox.append((index, Judged(effect.job_id, "accept", 100, "the same", self.now_ns)))
        elif isinstance(effect, Publish):
            began_ns = time.thread_time_ns()
            envelope = effect.envelope(self.dids[index], bytes(32), bytes(32), effect.trace)
            self._timed("build", began_ns)
            self._inbox.append((index, Authored(envelope, self.now_ns)))
            self._gossip(index, envelope)

    def _gossip(self, index: int, envelope: Envelope) -> None:
        """Sealed alone in a flush, parsed by each of the others."""
        bucket = bucket_of(envelope.thread)
        seq, prev = self._chain.get((index, bucket), (0, GENESIS_PREV))
        began_ns = time.thread_time_ns()
        frame, batches = sign_flush(
            self.mesh_id,
            self.dids[index],
            [(0, bucket, seq, prev, [envelope])],
            lambda data: self.keys[index].sign(data).signature,
        )
        self._timed("seal", began_ns)
        self._chain[(index, bucket)] = (seq + 1, batches[0].hash)
        for other in range(self.nodes):
            if other == index:
                continue
            began_ns = time.thread_time_ns()
            parsed = parse_flush(self.mesh_id, decode(frame))
            self._timed("parse", began_ns)
            self._inbox.append((other, Admitted(parsed[0].envelopes, {}, self.now_ns)))


def measure(needs: int = 300) -> dict[str, float]:
    """Microseconds and bytes by the names of the costs."""
    key = nacl.signing.SigningKey(bytes(32))
    message = bytes(120)
    signed, public = bytes(key.sign(message)), bytes(key.verify_key)
    sign_us = timed_us(lambda: key.sign(message))
    verify_us = timed_us(lambda: nacl.bindings.crypto_sign_open(signed, public))
    engines = Engines()
    for number in range(needs):
        engines.need(number)
    middle = {name: median(values) for name, values in engines.times_us.items()}
    return {
        "sign_us": round(sign_us, 1),
        "verify_us": round(verify_us, 1),
        "flush_us": round(max(0.0, middle["seal"] - sign_us), 1),
        "parse_us": round(max(0.0, middle["parse"] - verify_us), 1),
        "build_us": round(middle["build"], 1),
        # The mean, for the steps of a few kinds cost several times the median, and all must be paid for.
        "step_us": round(sum(engines.times_us["step"]) / len(engines.times_us["step"]), 1),
        **weigh(needs),
    }


def weigh(needs: int) -> dict[str, float]:
    """Bytes of Python objects that one engine keeps, by what they are for."""
    engines = Engines()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(needs):
            engines.need(number)
        for times in engines.times_us.values():
            times.clear()
        after, _ = tracemalloc.get_traced_memory()
        heard = sum(len(need.seen) for need in engines.states[0].needs.values())
        envelope_bytes = (after - before) / NODES / heard
        before, _ = tracemalloc.get_traced_memory()
        manifests = [engines.manifest(number % NODES) for number in range(50)]
        after, _ = tracemalloc.get_traced_memory()
        manifest_bytes = (after - before) / len(manifests)
        before, _ = tracemalloc.get_traced_memory()
        chains = Chains()
        for bucket in range(limits.BUCKETS):
            digest = sha256(bytes([bucket])).digest()
            chains.restore(
                (engines.dids[0], 0, bucket), Head(1_000 + bucket, digest, 1_000 + bucket, START_NS + bucket)
            )
        after, _ = tracemalloc.get_traced_memory()
        chain_bytes = (after - before) / len(chains.heads)
    finally:
        tracemalloc.stop()
    return {
        "envelope_bytes": round(envelope_bytes),
        "manifest_bytes": round(manifest_bytes),
        "chain_bytes": round(chain_bytes),
    }


if __name__ == "__main__":
    json.dump(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300), sys.stdout)
    print()
