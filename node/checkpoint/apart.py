"""Large snapshots are made in a process of their own: it reads the journal, takes the epoch's batches once more, and its
memory goes with it. The daemon's thread and heap are left to what is said meanwhile. docs/adr/0046-snapshots-are-made-apart.md.
"""

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from swarmd.node.own_python import own_python
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.checkpoint.packing import cut_rows
from swarmd.protocol.checkpoint.snapshot import Cut, Packed
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis

log = logging.getLogger("swarmd.checkpoint")

# To start a process costs what some thousand envelopes do.
MIN_BATCHES: Final = 2_000
_WORKER: Final = "swarmd.node.checkpoint.apart_worker"
_LOOK_S: Final = 0.2
_SAID_BYTES: Final = 2_000  # of why it failed, at most


def beyond(cut: Cut, known: Cut) -> int:
    """How many batches of `cut` are not in `known`."""
    return sum(max(0, head.seq - (known[chain].seq if chain in known else -1)) for chain, head in cut.items())


async def make_apart(
    journal: Path, genesis: Genesis, base_state: bytes, cut: Cut, wanted: Callable[[], bool]
) -> Packed | None:
    """The snapshot of `cut` on the one of `base_state`, both on record in `journal`. None if the process failed, which the log
    has, or if it was not `wanted` any more before it was done."""
    task = {
        "journal": str(journal),
        "genesis": genesis.to_map(),
        "base": base_state,
        "cut": encode(cut_rows(cut)),
    }
    done: subprocess.CompletedProcess[bytes] | None = None

    async def look() -> None:
        while wanted():  # noqa: ASYNC110  no event tells of it
            await trio.sleep(_LOOK_S)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        try:
            done = await trio.run_process(
                own_python(_WORKER),
                stdin=encode(task),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                start_new_session=True,  # Ctrl-C is the daemon's to handle
            )
        except OSError as error:
            log.warning("no process to make a snapshot in: %s", error)
        nursery.cancel_scope.cancel()
    if done is None:
        return None
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()[-_SAID_BYTES:]
        log.warning("a snapshot was not made in a process of its own (%d): %s", done.returncode, why)
        return None
    try:
        head, parts = decode(done.stdout)
        return Packed(head, dict(parts))
    except (RemoteFault, TypeError, ValueError) as error:
        log.warning("what was made in a process of its own is no snapshot: %s", error)
        return None
