"""Topics, `/swarm/thread/THREAD/VERB` (seed 004, command 50): which envelopes a reader on this host wants.

A topic is a name for readers and gateways, not a gossip topic: all frames of a mesh travel on one, with thread,
bucket and verb inside (docs/topics.md, docs/adr/0010-one-gossip-topic.md).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import trio
from swarmd.protocol import kinds
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import LocalFault

PREFIX = "/swarm/thread/"
ANY = "+"
REST = "#"
_VERBS = {kind.lower(): kind for kind in kinds.SCHEMAS}


def topic_of(envelope: Envelope) -> str:
    """Its topic: `/swarm/thread/need-.../claim`."""
    return f"{PREFIX}{envelope.thread}/{envelope.kind.lower()}"


@dataclass(frozen=True, slots=True)
class TopicFilter:
    """`thread` and `kind` to match; None matches any."""

    thread: str | None
    kind: str | None

    @classmethod
    def parse(cls, text: str) -> "TopicFilter":
        """`/swarm/thread/THREAD/VERB`; `+` in the place of a part stands for any, a last `#` for all that follow.
        LocalFault `bad-topic`."""
        parts = text.removeprefix(PREFIX).split("/") if text.startswith(PREFIX) else []
        if parts == [REST]:
            return cls(None, None)
        if len(parts) == 2 and parts[1] == REST:
            parts[1] = ANY
        if len(parts) != 2 or not all(parts):
            raise LocalFault("bad-topic", f"no topic: {text!r}", fix=f"write {PREFIX}THREAD/VERB, + for any")
        thread, verb = parts
        if verb != ANY and verb.lower() not in _VERBS:
            raise LocalFault("bad-topic", f"no verb {verb!r}", fix=f"there are {', '.join(sorted(_VERBS))}")
        if thread != ANY and not kinds.is_need_id(thread):
            raise LocalFault("bad-topic", f"no thread {thread!r}", fix="a thread is a need's whole id")
        return cls(None if thread == ANY else thread, None if verb == ANY else _VERBS[verb.lower()])

    @property
    def bucket(self) -> int | None:
        """The bucket (0..255) of its thread: the part of the log in which all it matches is. None: in any."""
        return None if self.thread is None else bucket_of(self.thread)

    def matches(self, envelope: Envelope) -> bool:
        return (self.thread is None or self.thread == envelope.thread) and (
            self.kind is None or self.kind == envelope.kind
        )


class Subscription:
    """What matched and is not read yet, at most `capacity`: a reader that is slower than the mesh loses the
    oldest, and `lost` says how many."""

    def __init__(self, topic: TopicFilter, capacity: int) -> None:
        self.topic = topic
        self.lost = 0
        self._waiting: deque[Envelope] = deque()
        self._capacity = capacity
        self._filled = trio.Event()

    def put(self, envelope: Envelope) -> None:
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(envelope)
        self._filled.set()

    async def take(self) -> list[Envelope]:
        """All that waits; waits for the first."""
        await self._filled.wait()
        self._filled = trio.Event()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


class TopicHub:
    """Hands each envelope to the subscriptions it matches. Those of one thread cost the others nothing."""

    def __init__(self, capacity: int = 4_096) -> None:
        self._capacity = capacity
        self._by_thread: dict[str | None, list[Subscription]] = {}

    def publish(self, envelope: Envelope) -> None:
        for thread in (envelope.thread, None):
            for subscription in self._by_thread.get(thread, ()):
                if subscription.topic.matches(envelope):
                    subscription.put(envelope)

    def subscribe(self, topic: TopicFilter) -> Subscription:
        subscription = Subscription(topic, self._capacity)
        self._by_thread.setdefault(topic.thread, []).append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        members = self._by_thread[subscription.topic.thread]
        members.remove(subscription)
        if not members:
            del self._by_thread[subscription.topic.thread]

    def __iter__(self) -> Iterator[Subscription]:
        return (subscription for members in self._by_thread.values() for subscription in members)
