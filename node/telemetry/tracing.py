"""Spans of the needs that are traced: made by the node around its core, from what goes into a turn and comes out.

One need is one trace: its id follows from the need's, so whoever records a part of it records it under the same id.
An envelope carries, in its signed `trace`, the span in which its author said it; who takes it makes a span under that
one, and what it says because of it goes under its own. Where a node in between records nothing, the causal parents
that the envelope names (`refs`) take the place of the span.

The spans of a turn leave with its commit; a turn that is taken back takes its spans along.
"""

import random
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from swarmd.node.ports import Verdict
from swarmd.protocol import kinds
from swarmd.protocol.effects import Effect, Judge, Publish, RunAgent, Submit
from swarmd.protocol.envelope import Envelope, trace_id_of
from swarmd.protocol.inputs import AgentDone, ChainSeen, Input, Judged
from swarmd.protocol.state import State

MAX_THREADS: Final = 16_384
MAX_CONTEXTS: Final = 65_536
MAX_OPEN: Final = 8_192
# A stranger decides by a flag whether we record its needs; not how many.
MAX_FOREIGN_TRACES_PER_S: Final = 50

Kind = Literal["internal", "producer", "consumer"]
_S_NS: Final = 1_000_000_000
_traceparent = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})").fullmatch


@dataclass(slots=True)
class Span:
    """One finished or open span. Ids are integers as OpenTelemetry has them, times ns since 1970; `parent_id` 0: none.
    `error` is a stable code; `end_ns` 0: it ends with the turn's commit."""

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: dict[str, str | int | bool]
    error: str = ""


@dataclass(slots=True)
class _Thread:
    """A need that is traced. `last`: our newest span about it; `money`: its escrow as we last saw it."""

    trace_id: int
    last: int = 0
    money: tuple[str, int] = ("", 0)
    touched: bool = False


@dataclass(slots=True)
class _Open:
    """Work that outlives its turn: an agent's run, a judgement, an anchor."""

    thread: _Thread
    span: Span


class Sink(Protocol):
    def put(self, spans: list[Span], /) -> None:
        """Take spans, at once and never raising."""


@dataclass(frozen=True, slots=True)
class Remote:
    """What a traceparent says."""

    span_id: int
    sampled: bool


def read_traceparent(text: str, trace_id: int) -> Remote | None:
    """The span that `text` names, if it is a W3C traceparent of that trace; a foreign or empty one is none."""
    found = _traceparent(text)
    if found is None or int(found[1], 16) != trace_id or not int(found[2], 16):
        return None
    return Remote(int(found[2], 16), bool(int(found[3], 16) & 1))


def write_traceparent(trace_id: int, span_id: int, *, sampled: bool) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{int(sampled):02x}"


@dataclass(slots=True)
class Saying:
    """A draft of ours on its way to be an envelope."""

    traceparent: str
    thread: _Thread
    span: Span


@dataclass(slots=True)
class Tracer:
    """`ratio`: the share of needs that are traced of those whose owner leaves it open, our own first of all."""

    me: str
    ratio: float
    sink: Sink
    clock_ns: Callable[[], int]
    max_foreign_per_s: int = MAX_FOREIGN_TRACES_PER_S
    threads: "OrderedDict[str, _Thread | None]" = field(default_factory=OrderedDict)
    over_limit: int = 0  # traces of others not followed since there were too many
    _contexts: "OrderedDict[bytes, int]" = field(default_factory=OrderedDict)  # envelope -> our span about it
    _open: "OrderedDict[str, list[_Open]]" = field(default_factory=OrderedDict)
    _turn: list[Span] = field(default_factory=list)
    _touched: list[tuple[str, _Thread]] = field(default_factory=list)
    _done: dict[str, _Thread] = field(default_factory=dict)  # has results, and no anchor yet
    _cause: tuple[_Thread, int] | None = None
    _second: int = 0
    _foreign: int = 0

    # What comes in -------------------------------------------------------------------------------------

    def received(self, envelope: Envelope, verdict: Verdict, began_ns: int) -> None:
        """An envelope of another and what our gate said of it, asked at `began_ns`."""
        thread = self._thread_of(envelope)
        if thread is None:
            return
        remote = read_traceparent(envelope.trace, thread.trace_id)
        parent = remote.span_id if remote is not None else self._parent_of(envelope.refs, thread)
        span = self._begin(f"{envelope.kind} process", "consumer", thread, parent, began_ns)
        span.attributes = {
            "swarmd.need": envelope.thread,
            "swarmd.kind": envelope.kind,
            "swarmd.sender": envelope.sender,
            "messaging.system": "swarmd",
            "messaging.operation.type": "process",
            # From the author's signed time to ours: their clocks' skew is in it.
            "swarmd.transit_ms": (began_ns - envelope.ts_ns) // 1_000_000,
        }
        if not verdict.allow:
            span.error = "denied-by-policy"
        self._gate("ingress", thread, span.span_id, verdict, began_ns)
        self._know(envelope, thread, span)

    def given(self, given: Input) -> None:
        """What the engine is told next, batches apart: all that it makes the node say is caused by that."""
        if isinstance(given, AgentDone):
            self._end(given.job_id, given.error.partition(":")[0], dict(_measured(given)))
        elif isinstance(given, Judged):
            verdict: dict[str, str | int | bool] = {
                "swarmd.verdict": given.verdict,
                "swarmd.score": given.score,
            }
            self._end(given.job_id, "", verdict)
        elif isinstance(given, ChainSeen):
            block = {"swarmd.chain_id": given.chain_id, "swarmd.block": given.block_number}
            self._end("anchor-" + given.anchor_id.hex(), "", block)

    def answered(self) -> None:
        """What was `given` has had all its effects."""
        self._cause = None

    # What goes out -------------------------------------------------------------------------------------

    def saying(self, draft: Publish) -> Saying | None:
        """The span of something we are about to say; None if its need is not traced."""
        thread = self._ours(draft)
        if thread is None:
            return None
        if self._cause is not None and self._cause[0] is thread:
            parent = self._cause[1]
        else:
            parent = self._parent_of(draft.refs, thread)
        span = self._begin(f"{draft.kind} publish", "producer", thread, parent, self.clock_ns())
        return Saying(write_traceparent(thread.trace_id, span.span_id, sampled=True), thread, span)

    def opting_out(self, draft: Publish) -> str:
        """The `trace` of what we say of a need that is not traced: its NEED asks the others not to, either."""
        if draft.kind != kinds.NEED:
            return ""
        trace_id = int(trace_id_of(draft.thread), 16)
        return write_traceparent(trace_id, random.getrandbits(64) or 1, sampled=False)

    def said(self, saying: Saying, envelope: Envelope | None, draft: Publish, verdict: Verdict) -> None:
        """It passed our own gates and is `envelope`; None if they deny it."""
        span = saying.span
        span.attributes = {
            "swarmd.need": draft.thread,
            "swarmd.kind": draft.kind,
            "swarmd.sender": self.me,
            "messaging.system": "swarmd",
            "messaging.operation.type": "send",
        }
        self._gate("preflight", saying.thread, span.span_id, verdict, span.start_ns)
        if envelope is None:
            span.error = "denied-by-policy"
        else:
            self._know(envelope, saying.thread, span)

    def began(self, effect: Effect, state: State) -> None:
        """Work that an effect asks for begins with the commit of this turn."""
        if isinstance(effect, Submit):
            self._anchoring(effect, state)
        elif isinstance(effect, RunAgent | Judge):
            thread = self.threads.get(effect.need)
            if thread is None:
                return
            work = isinstance(effect, RunAgent)
            span = self._make("agent run" if work else "judge", "internal", thread, self._latest(thread))
            span.attributes = {
                "swarmd.need": effect.need,
                "swarmd.task": effect.task,
                "swarmd.capability": effect.capability,
            }
            self._hold(effect.job_id, [_Open(thread, span)])

    def _anchoring(self, effect: Submit, state: State) -> None:
        """An anchor is of many needs: each that is traced has its span of it."""
        held = []
        name = "anchor-" + effect.anchor_id.hex()
        for need in [each for each in self._done if state.anchor_of.get(each) == effect.anchor_id]:
            thread = self._done.pop(need)
            span = self._make("chain anchor", "internal", thread, thread.last)
            span.attributes = {"swarmd.need": need, "swarmd.receipts": len(effect.leaves)}
            held.append(_Open(thread, span))
        if held:
            self._hold(name, held)

    def traceparent_of(self, job_id: str) -> str:
        """Of a job that `began` and goes on; "" of one that is not traced."""
        for each in self._open.get(job_id, ()):
            return write_traceparent(each.span.trace_id, each.span.span_id, sampled=True)
        return ""

    # The turn ------------------------------------------------------------------------------------------

    def commit(self, state: State) -> None:
        """The turn is on disk: its spans end and leave."""
        if not (self._turn or self._touched):
            return
        now_ns = self.clock_ns()
        for name, thread in self._touched:
            self._settle(name, thread, state)
            thread.touched = False
        self._touched.clear()
        for span in self._turn:
            span.end_ns = max(span.end_ns or now_ns, span.start_ns)
        self.sink.put(self._turn)
        self._turn = []

    def rollback(self) -> None:
        """Nothing of the turn has happened."""
        self._turn.clear()
        for _, thread in self._touched:
            thread.touched = False
        self._touched.clear()
        self._cause = None

    def _settle(self, name: str, thread: _Thread, state: State) -> None:
        """A span where the need's money has moved."""
        escrow = state.ledger.escrows.get(name)
        money = (escrow.state, len(escrow.paid)) if escrow is not None else ("", 0)
        need = state.needs.get(name)
        if need is not None and need.finals and name not in state.anchor_of and need.owner == self.me:
            if len(self._done) < MAX_OPEN:
                self._done[name] = thread
        if money == thread.money:
            return
        thread.money = money
        span = self._begin(f"ledger {money[0]}", "internal", thread, thread.last, self.clock_ns())
        span.attributes = {"swarmd.need": name, "swarmd.escrow": money[0], "swarmd.payments": money[1]}

    # Which needs ---------------------------------------------------------------------------------------

    def _thread_of(self, envelope: Envelope) -> _Thread | None:
        name = envelope.thread
        known = self.threads.get(name, _UNKNOWN)
        if known is _UNKNOWN:
            return self._decide(name, envelope.trace, foreign=True)
        return known

    def _ours(self, draft: Publish) -> _Thread | None:
        known = self.threads.get(draft.thread, _UNKNOWN)
        return self._decide(draft.thread, "", foreign=False) if known is _UNKNOWN else known

    def _decide(self, name: str, trace: str, *, foreign: bool) -> _Thread | None:
        """Sampling, once a need: as its owner's flag says; where there is none, by the ratio, over the trace id."""
        thread = None
        if name.startswith("need-"):
            trace_id = int(trace_id_of(name), 16)
            remote = read_traceparent(trace, trace_id)
            if remote is not None:
                sampled = remote.sampled and not (foreign and self._too_many())
            else:
                # As OpenTelemetry's TraceIdRatioBased: all who have the same ratio pick the same traces.
                sampled = (trace_id & (1 << 64) - 1) < self.ratio * (1 << 64)
            thread = _Thread(trace_id) if sampled else None
        self.threads[name] = thread
        if len(self.threads) > MAX_THREADS:
            gone, _ = self.threads.popitem(last=False)
            self._done.pop(gone, None)
        return thread

    def _too_many(self) -> bool:
        second = self.clock_ns() // _S_NS
        if second != self._second:
            self._second, self._foreign = second, 0
        self._foreign += 1
        if self._foreign <= self.max_foreign_per_s:
            return False
        self.over_limit += 1
        return True

    # Spans ---------------------------------------------------------------------------------------------

    def _make(self, name: str, kind: Kind, thread: _Thread, parent: int, start_ns: int | None = None) -> Span:
        start_ns = self.clock_ns() if start_ns is None else start_ns
        return Span(name, kind, thread.trace_id, random.getrandbits(64) or 1, parent, start_ns, 0, {})

    def _begin(self, name: str, kind: Kind, thread: _Thread, parent: int, start_ns: int) -> Span:
        """A span of this turn."""
        span = self._make(name, kind, thread, parent, start_ns)
        self._turn.append(span)
        return span

    def _gate(self, gate: str, thread: _Thread, parent: int, verdict: Verdict, began_ns: int) -> None:
        span = self._begin(f"gate {gate}", "internal", thread, parent, began_ns)
        span.end_ns = self.clock_ns()
        span.attributes = {"swarmd.allow": verdict.allow, "swarmd.gas": verdict.gas}
        if not verdict.allow:
            span.attributes["swarmd.rules"] = ", ".join(verdict.reasons)[:200]

    def _know(self, envelope: Envelope, thread: _Thread, span: Span) -> None:
        thread.last = span.span_id
        if not thread.touched:
            thread.touched = True
            self._touched.append((envelope.thread, thread))
        self._contexts[envelope.id] = span.span_id
        if len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)

    def _parent_of(self, refs: Iterable[bytes], thread: _Thread) -> int:
        """Our span about the last of the envelopes that are referred to; what we did last, if we know none."""
        known = [span for ref in refs if (span := self._contexts.get(bytes(ref)))]
        return known[-1] if known else thread.last

    def _latest(self, thread: _Thread) -> int:
        return self._cause[1] if self._cause is not None and self._cause[0] is thread else thread.last

    def _hold(self, key: str, opened: list[_Open]) -> None:
        self._open[key] = opened
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)

    def _end(self, key: str, error: str, attributes: dict[str, Any]) -> None:
        for each in self._open.pop(key, ()):
            span = each.span
            span.end_ns, span.error = self.clock_ns(), error
            span.attributes.update(attributes)
            self._turn.append(span)
            self._cause = (each.thread, span.span_id)


_UNKNOWN: Final = _Thread(0)


def _measured(done: AgentDone) -> Iterable[tuple[str, int]]:
    for name in ("wall_ms", "cpu_ms", "max_rss_kb", "output_bytes"):
        if name in done.telemetry:
            yield f"swarmd.{name}", done.telemetry[name]
