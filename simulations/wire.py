"""Frames, sealed batches and manifests on the simulated wire: the real bytes, the real checks, each done once.

Checking a frame is a pure function of its bytes, so nodes that hear the same frame share the outcome: in a simulated
mesh of n nodes the core's code runs once for n - 1 hearers. `--no-share` has it run for each of them, and gives the same
run byte for byte.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import nacl.signing
from swarmd.protocol import limits, merkle
from swarmd.protocol.batch import (
    FRAME_FLUSH,
    Batch,
    Sign,
    batch_to_list,
    parse_flush,
    parse_sealed,
    sign_flush,
)
from swarmd.protocol.cbor import decode, encode_ordered
from swarmd.protocol.chains import Chains
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.identity.manifest import FRAME_MANIFEST, Manifest, parse_manifest

Parsed = list[Batch] | Manifest
MAX_SHARED = 50_000  # outcomes kept, the latest


def keys_of(seed: int, name: str) -> tuple[str, Sign]:
    """The did and the signing function of a simulated node."""
    key = nacl.signing.SigningKey(sha256(f"swarmd/sim/{seed}/{name}".encode()).digest())

    def sign(data: bytes) -> bytes:
        signature: bytes = key.sign(data).signature
        return signature

    return did_of(bytes(key.verify_key)), sign


class Wire:
    """One for all nodes of a run. `parsed` counts the frames that were really decoded and verified."""

    def __init__(self, mesh_id: bytes, *, share: bool = True) -> None:
        self.mesh_id = mesh_id
        self.parsed = 0
        self._share = share
        self._frames: dict[bytes, Parsed | RemoteFault] = {}
        self._sealed: dict[bytes, Batch] = {}
        self._verified: set[bytes] = set()

    def parse(self, frame: bytes) -> Parsed:
        """The batches or the manifest of a gossiped frame; RemoteFault if it holds none."""
        known = self._frames.get(frame)
        if known is None or not self._share:
            self.parsed += 1
            try:
                known = self._parse(frame)
            except RemoteFault as fault:
                known = fault
            self._frames[frame] = known
            bound(self._frames, MAX_SHARED)
        if isinstance(known, RemoteFault):
            raise RemoteFault(known.code, known.message)
        return known

    def _parse(self, frame: bytes) -> Parsed:
        if len(frame) > limits.MAX_FLUSH_BYTES + 65_536:
            raise RemoteFault("frame-too-big", f"{len(frame)} bytes")
        value = decode(frame)
        kind = value[0] if type(value) is list and value else None
        if type(kind) is int and kind == FRAME_FLUSH:
            batches = parse_flush(self.mesh_id, value)
            if self._share:
                self._signed(batches[0])
            return batches
        if type(kind) is int and kind == FRAME_MANIFEST:
            return parse_manifest(self.mesh_id, value)
        raise RemoteFault("unknown-frame", f"frame type {str(kind)[:32]}")

    def _signed(self, batch: Batch) -> None:
        """Note that the signature of its flush is verified, as `parse_sealed` would."""
        seal = batch.seal
        root = merkle.root_from_proof(batch.header, seal.index, seal.count, seal.path)
        if root is not None:
            if len(self._verified) > MAX_SHARED:
                self._verified.clear()
            self._verified.add(seal.signature + root + batch.author.encode())

    def resealed(self, batch: Batch) -> Batch:
        """`batch` as a sync answer brings it: encoded with its seal, decoded and verified again."""
        key = batch.hash + batch.seal.signature
        known = self._sealed.get(key)
        if known is None or not self._share:
            verified = self._verified if self._share else None
            known = parse_sealed(self.mesh_id, decode(encode_ordered(batch_to_list(batch))), verified)
            self._sealed[key] = known
            bound(self._sealed, MAX_SHARED)
        return known


def bound(known: dict[Any, Any], most: int) -> None:
    """Let go of the oldest of what is `known`, if there is more than that."""
    while len(known) > most:
        del known[next(iter(known))]


def seal(
    mesh_id: bytes,
    me: str,
    chains: Chains,
    envelopes: list[Envelope],
    sign: Sign,
    record: Callable[[Batch], None],
) -> list[bytes]:
    """Sign what was said as flushes, `record` each batch (which must extend `chains`); returns the frames."""
    frames = []
    groups: dict[tuple[int, int], list[Envelope]] = {}

    def flush() -> None:
        links = []
        for (epoch, bucket), members in groups.items():
            seq, prev = chains.next_of((me, epoch, bucket))
            links.append((epoch, bucket, seq, prev, members))
        frame, batches = sign_flush(mesh_id, me, links, sign)
        for batch in batches:
            record(batch)
        frames.append(frame)
        groups.clear()

    for envelope in envelopes:
        key = (envelope.epoch, bucket_of(envelope.thread))
        full = len(groups.get(key, ())) >= limits.MAX_ENVELOPES_PER_BATCH
        if full or (key not in groups and len(groups) >= limits.MAX_BATCHES_PER_FLUSH):
            flush()
        groups.setdefault(key, []).append(envelope)
    if groups:
        flush()
    return frames
