"""Splitting what we have said into flushes, and signing them."""

from collections.abc import Iterator

from swarmd.protocol import limits
from swarmd.protocol.batch import Batch, Sign, sign_flush
from swarmd.protocol.chains import Chains
from swarmd.protocol.envelope import Envelope, bucket_of


def seal(
    mesh_id: bytes, me: str, chains: Chains, envelopes: list[Envelope], sign: Sign
) -> Iterator[tuple[bytes, list[Batch]]]:
    """(frame, batches) of each flush. The caller records the batches before it takes the next."""
    for group in split(envelopes):
        links = []
        for (epoch, bucket), members in group.items():
            seq, prev = chains.next_of((me, epoch, bucket))
            links.append((epoch, bucket, seq, prev, members))
        yield sign_flush(mesh_id, me, links, sign)


def split(envelopes: list[Envelope]) -> Iterator[dict[tuple[int, int], list[Envelope]]]:
    """Split into flushes within the wire's bounds: batches by (epoch, bucket), in order."""
    group: dict[tuple[int, int], list[Envelope]] = {}
    size = 0
    for envelope in envelopes:
        key = (envelope.epoch, bucket_of(envelope.thread))
        full = len(group.get(key, ())) >= limits.MAX_ENVELOPES_PER_BATCH
        many = key not in group and len(group) >= limits.MAX_BATCHES_PER_FLUSH
        if group and (full or many or size + len(envelope.raw) > limits.MAX_FLUSH_BYTES - 65_536):
            yield group
            group, size = {}, 0
        group.setdefault(key, []).append(envelope)
        size += len(envelope.raw) + 300
    if group:
        yield group
