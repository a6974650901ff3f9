"""Anti-entropy of a simulated node: bucket roots, vectors of those that differ, missing batches.

The same exchange as `node/state/sync.py`, with the messages as values. A node asks one peer at a time: a few at
its start, then a random one each interval, and again at once as long as something new comes.
"""

from typing import TYPE_CHECKING, Any

from swarmd.protocol.batch import Batch
from swarmd.protocol.chains import Chain, Gap

if TYPE_CHECKING:
    from swarmd.simulations.node import SimNode

AT_START = 1_000  # as the daemon does: with every peer
MAX_ANSWER_BATCHES = 2_000
Want = tuple[str, int, int, int, int]  # (author, epoch, bucket, first, last)


class Syncing:
    def __init__(self, node: "SimNode") -> None:
        self._node = node

    def begin(self) -> None:
        node = self._node
        others = [i for i in range(len(node.mesh.network.endpoints)) if i != node.index]
        for peer in node.random.sample(others, min(AT_START, len(others))):
            self.round(node.life, peer)
        node.mesh.loop.after(self._interval_ns(), self._tick, node.life)

    def _interval_ns(self) -> int:
        every_ns = self._node.mesh.sync_every_ns
        return every_ns // 2 + self._node.random.randrange(every_ns)

    def _tick(self, life: int) -> None:
        node = self._node
        if life != node.life:
            return
        peer = node.random.randrange(len(node.mesh.network.endpoints))
        if peer != node.index:
            self.round(life, peer)
        node.mesh.loop.after(self._interval_ns(), self._tick, life)

    # Serving -------------------------------------------------------------------------------------------

    def serve(self, source: int, body: Any) -> Any:
        if body[0] == "roots":
            _, roots, manifest = body
            self._node.on_frame(source, manifest)
            return self._vectors(roots), self._node.manifest_frame, self._node.checkpoints.epoch
        return self._batches(body[1])

    def _vectors(self, roots: list[bytes]) -> list[tuple[Chain, int]]:
        chains = self._node.chains
        return [
            row
            for bucket, root in enumerate(chains.bucket_roots())
            if root != roots[bucket]
            for row in chains.vector(bucket)
        ]

    def _batches(self, wants: list[Want]) -> list[Batch]:
        found: list[Batch] = []
        for author, epoch, bucket, first, last in wants:
            held = self._node.disk.batches.get((author, epoch, bucket), [])
            found.extend(held[first : last + 1])
            if len(found) >= MAX_ANSWER_BATCHES:
                break
        return found

    # Asking --------------------------------------------------------------------------------------------

    def round(self, life: int, peer: int) -> None:
        """Ask `peer` for everything that differs."""
        node = self._node
        if life != node.life:
            return
        node.counters["sync rounds"] += 1

        def answered(answer: Any) -> None:
            if life != node.life:
                return
            vectors, manifest, epoch = answer
            node.on_frame(peer, manifest)
            node.checkpoints.heard_of(peer, epoch)
            heads, wants = node.chains.heads, []
            for chain, last in vectors:
                if node.chains.is_over(chain):
                    continue
                head = heads.get(chain)
                if head is None or head.seq < last:
                    wants.append((*chain, 0 if head is None else head.seq + 1, last))
            if wants:
                self._fetch(life, peer, wants, again=True)

        body = ("roots", node.chains.bucket_roots(), node.manifest_frame)
        node.mesh.network.request(node.index, peer, body, answered, lambda: None)

    def fill(self, peer: int, gap: Gap) -> None:
        """Fetch the batches before one that came early, from who sent it."""
        if peer >= 0:
            self._fetch(self._node.life, peer, [(*gap.chain, gap.first, gap.last)], again=False)

    def fetch(self, peer: int, wants: list[Want]) -> None:
        """Fetch the batches of a cut."""
        self._fetch(self._node.life, peer, wants, again=False)

    def _fetch(self, life: int, peer: int, wants: list[Want], *, again: bool) -> None:
        node = self._node

        def taken(new: Any) -> None:
            if type(new) is int and new:
                node.counters["repaired"] += new
                if again:
                    self.round(life, peer)

        def answered(batches: list[Batch]) -> None:
            if life == node.life and batches:
                node.offer(peer, batches, taken)

        node.mesh.network.request(node.index, peer, ("batches", wants), answered, lambda: None)
