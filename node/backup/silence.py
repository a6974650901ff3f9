"""A node made of a backup, or whose journal was lost, listens before it speaks.

After the backup its old life has said more: batches with numbers that the restored journal thinks free, votes, spent
entries of its account. Saying something else under those numbers is equivocation, for which the others cut it off, so
the node first fetches its own words back: until it has everything that more than half of the other verifiers have (of the
epoch that it has come to; where it is the only one, that anybody has), it seals nothing, and takes only what peers say
and checkpoints. docs/backup.md.
"""

import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmd.node.journal import RESTORED_KEY, Journal
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.faults import LocalFault

log = logging.getLogger("swarmd.backup")


class Silence:
    """Keeps `runner` silent, if its journal is a restored one, until `level` was called for enough verifiers."""

    def __init__(self, runner: Runner, journal: Journal) -> None:
        self._runner = runner
        self._journal = journal
        self._level: set[str] = set()
        note = journal.meta(RESTORED_KEY)
        self._note: dict[str, Any] | None = json.loads(note) if note else None
        # Its journal was lost (recover.py): of whoever is in the mesh besides those who founded it, it has not heard.
        self._knew_nothing = self._note is not None and self._note["backup_ns"] is None
        if self._note is not None:
            runner.core.silent = True
            log.warning("restored: silent until %d of the others were heard", self.needed)
            self._end_if_heard()

    @property
    def _others(self) -> frozenset[str]:
        """Of the epoch that we have come to: it may be a later one than that of the backup."""
        state = self._runner.state
        return frozenset(state.terms.roster(state.epoch)) - {self._runner.me}

    @property
    def needed(self) -> int:
        if others := self._others:
            return len(others) // 2 + 1
        # No other verifier that we know of: then anybody, if there is somebody who can have heard us.
        return 1 if self._knew_nothing or self._knows_others() else 0

    def _knows_others(self) -> bool:
        known = {*self._runner.state.manifests, *(author for author, _, _ in self._runner.chains.heads)}
        return bool(known - {self._runner.me})

    @property
    def _heard(self) -> int:
        return len(self._level & (self._others or self._level))

    def level(self, did: str) -> None:
        """We have all that `did` has."""
        if self._note is not None and did:
            self._level.add(did)
            self._end_if_heard()

    def _end_if_heard(self) -> None:
        if self._heard >= self.needed:
            try:
                self._end()
            except sqlite3.Error as error:
                log.warning("still silent, the journal takes no writes: %s", error)

    def _end(self) -> None:
        self._journal.drop_meta(RESTORED_KEY)
        self._note = None
        self._runner.speak()
        log.info("heard enough: this node speaks again")

    def status(self) -> Mapping[str, Any] | None:
        """None, or how far it is: {"heard", "needed", "backup_ns", "restored_ns"}."""
        if self._note is None:
            return None
        return {"heard": self._heard, "needed": self.needed, **self._note}

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        """`backup.speak` {}: end the silence on the operator's word."""

        async def speak(call: LocalCall) -> Any:
            if self._note is None:
                raise LocalFault("not-silent", "this node speaks already")
            was = dict(self.status() or {})
            try:
                self._end()
            except sqlite3.Error as error:
                raise LocalFault(
                    "disk-error", f"the journal takes no writes: {error}", fix="free some space"
                ) from None
            return was

        return {"backup.speak": speak}
