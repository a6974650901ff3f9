"""Server-Sent Events: what happens, from where one left off, and readers that are slow."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import trio
from swarmd.node.api import events as events_module
from swarmd.node.api.events import EventLog
from swarmd.node.topics import TopicFilter
from swarmd.protocol.faults import LocalFault

Problem = Callable[[httpx.Response], tuple[int, str]]
SPEC = {"budget": "0.05", "tasks": [{"capability": "text.wordcount", "input": {"text": {"text": "a b"}}}]}


def read(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """The events of a stream: their fields."""
    found: dict[str, str] = {}
    for line in lines:
        if not line:
            if found:
                yield found
            found = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value


def test_what_happens_is_told(served: Any) -> None:
    with served.client() as client:
        with client.stream("GET", "/api/v1/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            need = served.ask("need.post", spec=SPEC)["need"]
            got = [json.loads(e["data"]) for e in until_rest(lines)]
        mine = [event for event in got if event["need"] == need]
        assert [event["kind"] for event in mine][0] == "NEED" and mine[-1]["state"] == "FINALIZED"
        assert {"id", "topic", "task", "sender", "at_ns", "text", "state"} <= mine[0].keys()


def until_rest(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    for event in read(lines):
        if event.get("event") == "envelope":
            yield event
            if json.loads(event["data"])["kind"] == "FINALIZE":
                return


def test_a_reader_goes_on_after_its_last_event(served: Any) -> None:
    with served.client() as client:
        with client.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            served.ask("need.wait", need=served.ask("need.post", spec=SPEC)["need"])
            first = next(event for event in read(lines) if event.get("event") == "envelope")
        # While nobody listens, more happens.
        later = served.ask("need.post", spec=SPEC)["need"]
        served.ask("need.wait", need=later)
        with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": first["id"]}) as stream:
            kinds = []
            for event in until_rest(stream.iter_lines()):
                kinds.append(json.loads(event["data"])["kind"])
        assert "NEED" not in kinds[:1] and "FINALIZE" in kinds
        with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": "elsewhere-5"}) as stream:
            assert next(read(stream.iter_lines()))["event"] == "reset"


def test_a_topic_narrows_it(served: Any, problem: Problem) -> None:
    with served.client() as client:
        with client.stream("GET", "/api/v1/events", params={"topic": "/swarm/thread/+/finalize"}) as stream:
            lines = stream.iter_lines()
            next(lines)
            served.ask("need.post", spec=SPEC)
            event = next(event for event in read(lines) if event.get("event") == "envelope")
        assert json.loads(event["data"])["kind"] == "FINALIZE"
        assert problem(client.get("/api/v1/events", params={"topic": "x"})) == (422, "bad-topic")


def test_streams_are_counted_and_end_with_their_token(served: Any, problem: Problem) -> None:
    token = served.ask("token.create", name="streams", scopes=["read"])["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with served.client(None) as client:
        streams = []
        for _ in range(events_module.MAX_STREAMS_PER_CALLER):
            request = client.build_request("GET", "/api/v1/events", headers=headers)
            streams.append(client.send(request, stream=True))
        assert problem(client.get("/api/v1/events", headers=headers)) == (429, "too-many-streams")
        served.ask("token.revoke", token="streams")
        served.ask("need.wait", need=served.ask("need.post", spec=SPEC)["need"])
        for stream in streams:
            assert "envelope" not in list(stream.iter_lines())[-1]  # it ended
            stream.close()
    assert served.ask("api.status")["streams"] == 0


def test_a_reader_that_leaves_is_counted_out(served: Any) -> None:
    with served.client() as client, client.stream("GET", "/api/v1/events") as stream:
        lines = stream.iter_lines()  # kept: one that is let go closes the stream
        next(lines)
        assert served.ask("api.status")["streams"] == 1
    for _ in range(200):
        if served.ask("api.status")["streams"] == 0:
            return
        time.sleep(0.05)
    pytest.fail("the stream is still counted")


# The ring, alone ---------------------------------------------------------------------------------------------


class Envelope:
    """As much of one as the log looks at."""

    kind, sender, ts_ns = "CLAIM", "did:key:z", 1
    id = b"\x01\x71\x12\x20" + bytes(32)

    def __init__(self, number: int) -> None:
        self.thread, self.payload = f"need-{number % 2}", {"task": str(number)}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> EventLog:
    monkeypatch.setattr(events_module.why, "describe", lambda envelope: "x" * 5_000)
    return EventLog(lambda need: "OPEN")


def tell(log: EventLog, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        log.watch(Envelope(number))  # type: ignore[arg-type]


async def test_a_slow_reader_is_dropped_and_costs_no_memory(log: EventLog) -> None:
    log.join("a")
    reader = log.read(None, "", lambda: True)
    with trio.fail_after(5):
        assert b"welcome" in (await reader.take() or b"")
        tell(log, 3 * events_module.RING)
        assert len(log._ring) == events_module.RING
        assert await reader.take() is None


async def test_a_quick_reader_misses_nothing(log: EventLog) -> None:
    log.join("a")
    reader, seen = log.read(TopicFilter("need-1", None), "", lambda: True), b""
    with trio.fail_after(20):
        await reader.take()
        for first in range(0, 4 * events_module.RING, 1_000):
            tell(log, 1_000, first)
            while reader._place < log._next:
                seen += await reader.take() or b""
    assert seen.count(b"event: envelope") == len(range(0, 4 * events_module.RING, 1_000)) * 500
    assert b"need-0" not in seen


async def test_nothing_is_gathered_for_nobody(log: EventLog) -> None:
    tell(log, 10)
    assert not log._ring
    log.join("a")
    tell(log, 1)
    log.leave("a")
    log._wanted_until_s = 0.0  # long ago
    before = log.id_of(1)
    tell(log, 1)
    assert not log._ring
    assert log.read(None, before.decode(), lambda: True)._greeting.count(b"reset") == 1


def test_there_is_an_end_to_streams(log: EventLog) -> None:
    for number in range(events_module.MAX_STREAMS):
        log.join(str(number))
    with pytest.raises(LocalFault, match="too-many-streams"):
        log.join("another")


def test_a_client_that_stops_reading_holds_up_nobody(served: Any) -> None:
    """It asks again and again and never reads: Hypercorn's shielded send must not keep it, or the daemon, for ever."""
    host = ":".join(map(str, served.address))
    request = f"GET /openapi.json HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with socket.create_connection(served.address, timeout=5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        sent = 0
        until = time.monotonic() + 3
        while time.monotonic() < until and sent < 2_000:
            try:
                sock.send(request)
                sent += 1
            except BlockingIOError:
                time.sleep(0.01)
        with served.client() as client:
            begun = time.monotonic()
            assert client.get("/api/v1/session").status_code == 200
            assert time.monotonic() - begun < 5
        for _ in range(400):
            if served.ask("api.status")["connections"] == 0:
                return
            time.sleep(0.05)
    pytest.fail("it is still connected")
