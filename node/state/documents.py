"""One Automerge document of changes that we made ourselves, checked after each apply.

Automerge drops a change that it does not like without an error, and a panic in it is no `Exception`; so the heads are
compared each time, and whoever uses this lives in a process of its own (docs/state.md).
"""

from collections.abc import Iterator
from typing import Any

import automerge.core as automerge
from swarmd.node.state.changes import Change, sync_message
from swarmd.protocol.faults import CorruptState


class Document:
    """`heads` are the hashes of the last change of each actor: what the library's must be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heads: set[bytes] = set()
        self.changes = 0
        self._document = automerge.Document()

    @classmethod
    def load(cls, name: str, saved: bytes, heads: set[bytes], changes: int) -> "Document":
        """One that `save` gave. CorruptState `replica-diverged` if it is not as it was."""
        found = cls(name)
        try:
            found._document = automerge.Document.load(saved)
        except Exception as error:  # the library has no narrower one
            raise CorruptState("replica-diverged", f"{name} does not load: {error}") from None
        found.heads, found.changes = set(heads), changes
        found._check()
        return found

    def apply(self, changes: list[Change], prevs: list[bytes | None]) -> None:
        """Take changes in order; `prevs` are the changes that they follow. CorruptState if they do not all get in."""
        if not changes:
            return
        message = automerge.Message.decode(sync_message(change.raw for change in changes))
        self._document.receive_sync_message(automerge.SyncState(), message)
        for change, prev in zip(changes, prevs, strict=True):
            if prev is not None:
                self.heads.discard(prev)
            self.heads.add(change.hash)
        self.changes += len(changes)
        self._check()

    def _check(self) -> None:
        if set(self._document.get_heads()) != self.heads:
            raise CorruptState("replica-diverged", f"{self.name} has other heads than its batches give")

    def keys(self) -> list[str]:
        return list(self._document.keys(automerge.ROOT))

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Every key with its value."""
        for key in self.keys():
            found: Any = self._document.get(automerge.ROOT, key)
            yield key, bytes(found[0][1])

    def size(self) -> int:
        """How many keys it has."""
        return int(self._document.length(automerge.ROOT))

    def has(self, key: str) -> bool:
        return self._document.get(automerge.ROOT, key) is not None

    def save(self) -> bytes:
        return bytes(self._document.save())
