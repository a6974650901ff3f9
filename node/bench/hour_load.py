"""The mesh of `swarmd bench hour`, in a process: what five verifiers say, written to stdout as the node shall hear it.

At the end of each epoch it makes the snapshot, as the proposer of a checkpoint does, and certifies it by the verifiers'
keys. Needs are under way then: an epoch ends between two phases of a wave of them.
"""

import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO, Final

from swarmd.node.bench import history
from swarmd.node.garbage import Garbage, give_back_large
from swarmd.protocol.batch import Batch
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint.making import Maker, choose_cut
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import Packed, Snapshot
from swarmd.protocol.limits import S_NS

FRAME: Final = 0  # a flush, as gossip brings it
SNAPSHOT: Final = 1  # [head, [part, ...]], before the checkpoint is said
CERTIFIED: Final = 2  # the checkpoint was said; its body is the number of the epoch
END: Final = 3
_HEAD = struct.Struct(">BQI")  # what, simulated time in ns, length of what follows
# A phase of a wave in which work is claimed and not yet done: an epoch that ends then finds open needs.
_CUT_AFTER_PHASE: Final = 2


def read_messages(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(what, simulated time, body) of each message, until END or the end of the file."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        what, now_ns, length = _HEAD.unpack(head)
        body = file.read(length)
        if what == END or len(body) < length:
            return
        yield what, now_ns, body


def packed_of(body: bytes) -> Packed:
    head, parts = decode(body)
    return Packed(head, dict(parts))


class Load:
    def __init__(self, file: BinaryIO, given: dict[str, int], garbage: Garbage) -> None:
        tasks_per_s, epoch_s = given["tasks_per_s"], given["epoch_s"]
        step_ns = S_NS // (tasks_per_s * history.OPS_PER_TASK)
        self._history = history.History(step_ns=step_ns, chain_epochs=given["chain_epochs"])
        self._maker = Maker(self._history.genesis, None)
        self._base: Snapshot | None = None
        self._file = file
        self._epoch_ns = epoch_s * S_NS
        # Half a second of needs is under way at a time, as far as the members' accounts allow it.
        self._window = min(history.WINDOW, max(1, tasks_per_s // (2 * history.TASKS_PER_NEED)))
        self._garbage = garbage

    def run(self, tasks: int) -> None:
        needs = tasks // history.TASKS_PER_NEED
        ends_ns = self._history.now_ns + self._epoch_ns
        while needs:
            count = min(needs, self._window)
            needs -= count
            for number, flushes in enumerate(self._history.wave(count)):
                self._say(flushes)
                if number == _CUT_AFTER_PHASE and self._history.now_ns >= ends_ns:
                    self._end_epoch()
                    ends_ns += self._epoch_ns
        self._write(END, b"")
        self._file.flush()

    def _write(self, what: int, body: bytes) -> None:
        self._file.write(_HEAD.pack(what, self._history.now_ns, len(body)))
        self._file.write(body)

    def _say(self, flushes: Iterator[tuple[bytes, list[Batch]]]) -> None:
        for frame, batches in flushes:
            self._write(FRAME, frame)
            for batch in batches:
                self._maker.feed(batch)

    def _end_epoch(self) -> None:
        said, epoch = self._history, self._history.epoch + 1
        found = self._maker.finish(choose_cut(said.heads(), self._base, epoch))
        packed = pack(found)
        self._write(SNAPSHOT, encode([packed.head, [[name, part] for name, part in packed.parts.items()]]))
        said.vote(found.root, packed.state)
        # Beyond the cut, and of an epoch that is over then: the next snapshot has it.
        late = [(frame, batches) for frame, batches in said.flush()]
        self._base = found
        self._maker = Maker(said.genesis, found, packed.state)
        self._say(iter(late))
        self._write(CERTIFIED, str(epoch).encode())
        said.begin(epoch, found.rosters, found.over)
        said.show_all()
        self._say(said.flush())
        if self._garbage.due():
            self._garbage.full()


def main(settings: str) -> None:
    """`settings`, as JSON: tasks, tasks_per_s, epoch_s, chain_epochs."""
    give_back_large()
    garbage = Garbage()
    garbage.start()
    given = json.loads(settings)
    with os.fdopen(sys.stdout.fileno(), "wb", buffering=1 << 20, closefd=False) as file:
        try:
            Load(file, given, garbage).run(given["tasks"])
        except BrokenPipeError:
            os._exit(0)  # who listens has stopped


if __name__ == "__main__":
    main(sys.argv[1])
