"""The process that makes a snapshot for `apart.py`: what to make on stdin, the snapshot on stdout, each one value of CBOR."""

import gc
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from swarmd.node.checkpoint.making import rows_beyond
from swarmd.node.checkpoint.records import Records
from swarmd.node.journal import Journal
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint.making import Maker
from swarmd.protocol.checkpoint.packing import pack
from swarmd.protocol.checkpoint.snapshot import NO_SNAPSHOT, Packed, Snapshot
from swarmd.protocol.checkpoint.unpacking import parse_cut, unpack
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import parse_genesis

# A third of the weight of a daemon: where daemons are more than cores it has about the share of one's thread that making
# takes in there.
NICE: Final = 5


def make(task: bytes) -> Packed:
    """What `make_apart` asks for. Raises LocalFault, CorruptState or RemoteFault if the journal does not hold it."""
    wanted = decode(task)
    cut, base_state = parse_cut(wanted["cut"]), wanted["base"]
    with closing(Journal(Path(wanted["journal"]), only_reads=True)) as journal:
        base: Snapshot | None = None
        if base_state != NO_SNAPSHOT:
            packed = Records(journal).packed(base_state)
            if packed is None:
                raise LocalFault("no-snapshot", f"the snapshot {base_state.hex()} is not here")
            base = unpack(packed)
        maker = Maker(parse_genesis(wanted["genesis"]), base, base_state)
        for row in rows_beyond(journal, cut, base.cut if base is not None else {}):
            maker.feed(journal.batch_at(row))
        return pack(maker.finish(cut))


def main() -> None:
    os.nice(NICE)
    # Hardly anything here is in a cycle, and all of it goes with the process: looking for cycles was an eighth of its CPU.
    gc.disable()
    made = make(sys.stdin.buffer.read())
    sys.stdout.buffer.write(encode([made.head, [[name, part] for name, part in made.parts.items()]]))


if __name__ == "__main__":
    main()
