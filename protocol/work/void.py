"""Why an envelope moves nothing, and looks at what it refers to that end so."""

from typing import Any

from swarmd.protocol.consensus.committee import Committee

# How the reason begins why a decision of an earlier epoch moves nothing.
ORPHANED = "orphaned_by_epoch"


class Void(Exception):
    """This envelope moves nothing; the text says why."""


def first(refs: tuple[bytes, ...], known: dict[bytes, Any], what: str) -> Any:
    for ref in refs:
        found = known.get(ref)
        if found is not None:
            return found
    raise Void(f"it refers to no valid {what}")


def member(committee: Committee, did: str) -> None:
    if did not in committee.members:
        raise Void("its sender is not in the committee")
