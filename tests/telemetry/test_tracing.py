"""Spans without a daemon: what a traceparent says, who is sampled, what a turn that is taken back leaves."""

import dataclasses

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.ports import Verdict
from swarmd.node.telemetry.tracing import (
    MAX_FOREIGN_TRACES_PER_S,
    Tracer,
    read_traceparent,
    write_traceparent,
)
from swarmd.protocol.didkey import did_of
from swarmd.protocol.effects import Publish
from swarmd.protocol.envelope import build, need_id, trace_id_of

DID = did_of(bytes(nacl.signing.SigningKey(bytes(32)).verify_key))
ALLOW = Verdict(True, (), 7, bytes(32))
TRACE = int(trace_id_of("need-x"), 16)


class Sunk(list):
    def put(self, spans):
        self.extend(spans)


class NoState:
    """A state that has no needs and no money."""

    needs: dict = {}
    anchor_of: dict = {}
    ledger = type("Ledger", (), {"escrows": {}})


def envelope(trace="", seq=0, kind="YIELD", refs=()):
    payload = {"task": "t", "attempt": 0, "reason": "gone"}
    return build(
        kind=kind, thread=need_id(DID, seq), sender=DID, lamport=1, ts_ns=0, epoch=0, payload=payload,
        refs=refs, policy=bytes(32), eval_digest=bytes(32), trace=trace,
    )  # fmt: skip


def draft(seq=0, refs=()):
    return Publish("YIELD", need_id(DID, seq), 1, 0, 0, {}, refs, "")


@pytest.fixture
def sunk():
    return Sunk()


@pytest.fixture
def tracer(sunk):
    return Tracer(DID, 1.0, sunk, lambda: 5_000_000_000)


@given(span_id=st.integers(1, (1 << 64) - 1), sampled=st.booleans())
def test_a_traceparent_of_the_trace_is_read(span_id, sampled):
    text = write_traceparent(TRACE, span_id, sampled=sampled)
    remote = read_traceparent(text, TRACE)
    assert remote is not None and (remote.span_id, remote.sampled) == (span_id, sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        write_traceparent(TRACE + 1, 1, sampled=True),  # of another trace: a stranger's
        write_traceparent(TRACE, 0, sampled=True),  # the all-zero span id that W3C forbids
        write_traceparent(0, 1, sampled=True),
        "01" + write_traceparent(TRACE, 1, sampled=True)[2:],
        write_traceparent(TRACE, 1, sampled=True) + "-more",
        write_traceparent(TRACE, 0xABC, sampled=True).upper(),
        " " + write_traceparent(TRACE, 1, sampled=True),
    ],
)
def test_any_other_is_as_if_there_was_none(text):
    assert read_traceparent(text, TRACE) is None


@given(st.text())
def test_no_text_breaks_reading(text):
    assert read_traceparent(text, TRACE) is None


def test_who_takes_an_envelope_is_under_the_span_that_it_carries(tracer, sunk):
    thread = need_id(DID, 0)
    sent = envelope(write_traceparent(int(trace_id_of(thread), 16), 77, sampled=True))
    tracer.received(sent, ALLOW, 1)
    saying = tracer.saying(draft(refs=(sent.id,)))
    tracer.said(saying, envelope(saying.traceparent), draft(), ALLOW)
    tracer.commit(NoState)
    process, gate, publish, preflight = sunk
    assert (process.parent_id, gate.parent_id) == (77, process.span_id)
    assert (publish.parent_id, preflight.parent_id) == (process.span_id, publish.span_id)
    assert saying.traceparent == write_traceparent(process.trace_id, publish.span_id, sampled=True)
    assert {span.trace_id for span in sunk} == {int(trace_id_of(thread), 16)}


def test_a_turn_that_is_taken_back_leaves_no_span(tracer, sunk):
    tracer.received(envelope(), ALLOW, 1)
    tracer.rollback()
    tracer.commit(NoState)
    assert not sunk
    tracer.received(envelope(), ALLOW, 2)  # the turn again
    tracer.commit(NoState)
    assert [span.name for span in sunk] == ["YIELD process", "gate ingress"]


def test_a_denied_envelope_says_so(tracer, sunk):
    tracer.received(envelope(), Verdict(False, ("too-rich",), 9, bytes(32)), 1)
    tracer.commit(NoState)
    assert [span.error for span in sunk] == ["denied-by-policy", ""]
    assert sunk[1].attributes == {"swarmd.allow": False, "swarmd.gas": 9, "swarmd.rules": "too-rich"}


def test_strangers_cannot_have_all_their_needs_recorded(tracer, sunk):
    count = 3 * MAX_FOREIGN_TRACES_PER_S
    for seq in range(count):
        trace_id = int(trace_id_of(need_id(DID, seq)), 16)
        tracer.received(envelope(write_traceparent(trace_id, 1, sampled=True), seq), ALLOW, 1)
    assert sum(thread is not None for thread in tracer.threads.values()) == MAX_FOREIGN_TRACES_PER_S
    assert tracer.over_limit == count - MAX_FOREIGN_TRACES_PER_S


def test_nodes_of_one_ratio_pick_the_same_needs(tracer, sunk):
    tracers = [dataclasses.replace(tracer, ratio=0.25, threads=type(tracer.threads)()) for _ in range(2)]
    for seq in range(400):
        for each in tracers:
            each.received(envelope(seq=seq), ALLOW, 1)
    picked = [{name for name, thread in each.threads.items() if thread is not None} for each in tracers]
    assert picked[0] == picked[1] and 60 < len(picked[0]) < 140
