"""What happens in the mesh, for streams of Server-Sent Events: one ring for all of them, so that a reader that is
slow, or many readers, cost no memory. A reader that falls out of the ring is told so and begins anew."""

import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import trio
from swarmd.node import why
from swarmd.node.topics import TopicFilter, topic_of
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault

RING = 4_096
MAX_STREAMS = 32
MAX_STREAMS_PER_CALLER = 8
HEARTBEAT_S = 15.0
# While nobody listens events are gathered this long after the last reader left, for it to come back.
RESUME_S = 120.0
MAX_TEXT_CHARS = 2_000
_BATCH = 256


@dataclass(slots=True)
class _Event:
    number: int
    thread: str
    kind: str
    data: bytes


class EventLog:
    """`watch` gets each envelope; `read` gives a reader its stream, as bytes of text/event-stream."""

    def __init__(self, state_of: Callable[[str], str], clock_s: Callable[[], float] = time.monotonic) -> None:
        """`state_of`: the state of a need by its id, "" if it is not here."""
        self._state_of = state_of
        self._clock_s = clock_s
        self._ring: deque[_Event] = deque(maxlen=RING)
        self._next = 1
        self._life = secrets.token_hex(4)
        self._readers: dict[str, int] = {}
        self._wanted_until_s = -1.0
        self._came = trio.Event()

    def __len__(self) -> int:
        return sum(self._readers.values())

    def watch(self, envelope: Envelope) -> None:
        if not self._readers:
            if not self._ring and self._wanted_until_s < 0:
                return
            if self._clock_s() > self._wanted_until_s:
                # Numbers of this life would now have a hole that nobody can see.
                self._ring.clear()
                self._life = secrets.token_hex(4)
                self._wanted_until_s = -1.0
                return
        found = {
            "id": cid_text(envelope.id),
            "topic": topic_of(envelope),
            "need": envelope.thread,
            "kind": envelope.kind,
            "task": envelope.payload.get("task", ""),
            "sender": envelope.sender,
            "at_ns": envelope.ts_ns,
            "text": why.describe(envelope)[:MAX_TEXT_CHARS],
            "state": self._state_of(envelope.thread),
        }
        data = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        self._ring.append(_Event(self._next, envelope.thread, envelope.kind, data.encode("utf-8", "replace")))
        self._next += 1
        self._came.set()

    def join(self, caller: str) -> None:
        """Count a reader in, before its answer begins. LocalFault `too-many-streams`."""
        if len(self) >= MAX_STREAMS or self._readers.get(caller, 0) >= MAX_STREAMS_PER_CALLER:
            raise LocalFault(
                "too-many-streams",
                f"at most {MAX_STREAMS_PER_CALLER} streams of one token, {MAX_STREAMS} of all",
                fix="close another one first",
            )
        self._readers[caller] = self._readers.get(caller, 0) + 1

    def leave(self, caller: str) -> None:
        self._readers[caller] -= 1
        if not self._readers[caller]:
            del self._readers[caller]
        self._wanted_until_s = self._clock_s() + RESUME_S

    def read(self, topic: TopicFilter | None, last_id: str, still: Callable[[], bool]) -> "Reader":
        """From the event after `last_id` on, or from now, until `still` says no."""
        place, lost = self._resume(last_id)
        return Reader(self, topic, place, lost, still)

    def _resume(self, last_id: str) -> tuple[int, bool]:
        """The next number for a reader, and whether it has missed some."""
        if not last_id:
            return self._next, False
        life, _, text = last_id.partition("-")
        if life == self._life and text.isascii() and text.isdigit() and len(text) < 18:
            place = int(text) + 1
            if self.oldest() <= place <= self._next:
                return place, False
        return self._next, True

    def oldest(self) -> int:
        return self._ring[0].number if self._ring else self._next

    def after(self, place: int, topic: TopicFilter | None) -> tuple[int, bytes]:
        """Up to _BATCH events from `place`, and where the next are."""
        first = place - self.oldest()
        parts = []
        until = min(self._next, place + _BATCH)
        for index in range(first, first + until - place):
            event = self._ring[index]
            if topic is None or (topic.thread in (None, event.thread) and topic.kind in (None, event.kind)):
                parts.append(
                    b"id: " + self.id_of(event.number) + b"\nevent: envelope\ndata: " + event.data + b"\n\n"
                )
        return until, b"".join(parts)

    async def came_after(self, place: int) -> None:
        """Wait for the event with this number."""
        while self._next <= place:
            if self._came.is_set():
                self._came = trio.Event()
            await self._came.wait()

    def id_of(self, number: int) -> bytes:
        return f"{self._life}-{number}".encode()


class Reader:
    """One stream. It holds a place in the ring and nothing else."""

    def __init__(
        self, log: EventLog, topic: TopicFilter | None, place: int, lost: bool, still: Callable[[], bool]
    ) -> None:
        self._log = log
        self._topic = topic
        self._place = place
        self._still = still
        # `reset`: some events are lost, so whoever shows something looks at all of it again.
        first = b"event: reset\ndata: {}\n\n" if lost else b": welcome\n\n"
        self._greeting = b"retry: 2000\nid: " + log.id_of(place - 1) + b"\n" + first

    async def take(self) -> bytes | None:
        """What comes next; None where the stream ends: the token did, or the reader is too slow for the ring. It then
        comes back with its last id and hears of the reset."""
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return greeting
        while self._still() and self._place >= self._log.oldest():
            self._place, found = self._log.after(self._place, self._topic)
            if found:
                return found
            with trio.move_on_after(HEARTBEAT_S) as patience:
                await self._log.came_after(self._place)
            if patience.cancelled_caught:
                return b": still here\n\n"
        return None
