"""The state as Automerge documents for others to open: made from the journal alone."""

from pathlib import Path
from typing import Any

from swarmd.node.setup import GENESIS_FILE, load_genesis
from swarmd.node.state.folder import new_folder
from swarmd.node.state.replica import GROUP_BUCKETS, Batches, new_copy
from swarmd.protocol.faults import LocalFault


def export_automerge(home: Path, folder: Path) -> dict[str, Any]:
    """Write the documents of all batches in the home's journal, whose daemon may be up, into the new `folder`.

    Returns what its index says. One document is in memory at a time. LocalFault `no-home`, `folder-exists`, `disk`.
    """
    genesis = load_genesis(home / GENESIS_FILE)
    journal = home / "journal.db"
    if not journal.exists():
        raise LocalFault("no-journal", f"{journal} is missing", fix="run the node once")
    batches = Batches(journal)
    try:
        with new_folder(folder, "folder-exists") as writer:
            newest = batches.newest()
            writer.about = {
                "kind": "replica",
                "mesh": genesis.mesh_name,
                "key": "CIDv1 of the envelope",
                "value": "the envelope: canonical CBOR, valid dag-cbor",
            }
            for place in batches.places(newest):
                copy = new_copy(place)
                for row, batch in batches.of(place, 0, newest):
                    copy.add(row, batch)
                copy.flush()
                first = place[1] * GROUP_BUCKETS
                writer.add(
                    copy.document,
                    epoch=place[0],
                    buckets=[first, first + GROUP_BUCKETS - 1],
                    batches=copy.batches,
                    envelopes=copy.document.size(),
                )
            return dict(writer.index())
    finally:
        batches.close()
