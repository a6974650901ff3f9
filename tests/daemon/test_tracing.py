"""One trace of a need over three daemons of three owners, as a collector gets it."""

import http.server
import socket
import sys
import threading
from collections import Counter, defaultdict

import pytest
import trio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from swarmd.node.agents.sdk import Agent
from swarmd.node.telemetry.service import TelemetrySettings
from swarmd.protocol.envelope import trace_id_of

SECRET = "a-title-that-nobody-else-should-read"


class Collector:
    """An OTLP receiver: protobuf over HTTP."""

    def __init__(self):
        self.spans = []  # (resource attributes, span)
        self.metrics = {}  # service.instance.id -> {name: metric}
        self.bodies = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, self.headers["Content-Type"], body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def take(self, path, content_type, body):
        assert content_type == "application/x-protobuf"
        self.bodies.append(body)
        if path == "/v1/traces":
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = plain(each.resource.attributes)
                self.spans += [(resource, span) for scope in each.scope_spans for span in scope.spans]
        else:
            assert path == "/v1/metrics"
            for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                who = plain(each.resource.attributes)["service.instance.id"]
                found = {metric.name: metric for scope in each.scope_metrics for metric in scope.metrics}
                self.metrics[who] = found

    def of_need(self, need):
        trace = bytes.fromhex(trace_id_of(need))
        return [(resource, span) for resource, span in self.spans if span.trace_id == trace]

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def plain(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


def ancestors(span, by_id):
    while span.parent_span_id:
        span = by_id[span.parent_span_id]
        yield span


async def test_one_trace_spans_daemons_from_need_to_chain(mesh, task, echo, collector, wait_until):
    three = await mesh(3, telemetry=TelemetrySettings(collector.url, metrics_interval_s=1.0))
    agent, told = Agent("echo"), []

    @agent.task("echo", price="0.01", inline=True)
    def repeat(job):
        told.append((job.purpose, job.traceparent))
        return {"text": job.input["text"]}

    await three[2].attach(agent)
    await three.until_met()
    need = await three[0].post(task(), title=SECRET)
    assert (await three[0].finish(need))["state"] == "FINALIZED"
    await wait_until(lambda: three[0].state.anchor_of.get(need), "it is anchored")
    await wait_until(
        lambda: {span.name for _, span in collector.of_need(need)} >= {"chain anchor", "agent run"},
        "the collector has it",
    )
    for node in three:
        await node.stop()  # sends what is left

    found = collector.of_need(need)
    by_id = {span.span_id: span for _, span in found}
    assert len(by_id) == len(found), "span ids are unique"
    assert {resource["service.instance.id"] for resource, _ in found} == {node.did for node in three}
    assert {resource["service.name"] for resource, _ in found} == {"swarmd"}

    # One tree: a single root, the NEED, and everybody's parent is there.
    roots = [span for span in by_id.values() if not span.parent_span_id]
    assert [span.name for span in roots] == ["NEED publish"]
    assert not [
        span.name for span in by_id.values() if span.parent_span_id and span.parent_span_id not in by_id
    ]
    assert all(roots[0] in ancestors(span, by_id) for span in by_id.values() if span is not roots[0])
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in by_id.values())

    # Gossip, gate, agent, ledger, chain.
    names = Counter(span.name for span in by_id.values())
    assert names["NEED process"] == 2 and names["FINALIZE publish"] >= 1
    assert names["gate ingress"] == sum(number for name, number in names.items() if name.endswith(" process"))
    assert names["agent run"] >= 1 and names["judge"] >= 1 and names["chain anchor"] == 1
    assert names["ledger funded"] == 3 and names["ledger released"] == 3

    # Who takes an envelope is under the very span that its author said it in, across daemons.
    owner_of = {span.span_id: resource["service.instance.id"] for resource, span in found}
    for _, span in found:
        if span.name.endswith(" process"):
            parent = by_id[span.parent_span_id]
            assert parent.name == span.name.replace("process", "publish")
            assert owner_of[parent.span_id] == plain(span.attributes)["swarmd.sender"]
            assert owner_of[parent.span_id] != owner_of[span.span_id]
    # The result is said because the agent ran, at the worker; which claimed because it was decided.
    (commit,) = [span for span in by_id.values() if span.name == "COMMIT publish"]
    line = [span.name for span in ancestors(commit, by_id)]
    assert line[:2] == ["agent run", "CLAIM publish"] and "PROPOSE publish" in line
    assert owner_of[commit.span_id] == three[2].did
    (run,) = [span for span in by_id.values() if span.name == "agent run"]
    assert dict(told)["work"] == f"00-{trace_id_of(need)}-{run.span_id.hex()}-01", (
        "the agent can go on with it"
    )
    (anchor,) = [span for span in by_id.values() if span.name == "chain anchor"]
    assert any(span.name.startswith(("FINALIZE", "ledger")) for span in ancestors(anchor, by_id))
    assert plain(anchor.attributes)["swarmd.block"] >= 1

    # Nothing of what the need says leaves in them.
    assert not [body for body in collector.bodies if SECRET.encode() in body or b"hello" in body]


async def test_a_node_that_traces_nothing_does_not_break_the_tree(mesh, task, echo, collector, wait_until):
    """The worker has it off: its envelopes carry no trace, and hang under what they refer to."""
    two = await mesh(2, start=False)
    await two[0].start(telemetry=TelemetrySettings(collector.url))
    await two[1].start(peers=[two[0].addr])
    await two[1].attach(echo())
    await two.until_met()
    need = await two[0].post(task())
    assert (await two[0].finish(need))["state"] == "FINALIZED"
    said = {envelope.kind: envelope.trace for envelope in two[0].runner.thread(need)}
    assert said["NEED"].startswith(f"00-{trace_id_of(need)}-") and said["NEED"].endswith("-01")
    assert said["CLAIM"] == said["COMMIT"] == ""
    await two[0].stop()
    by_id = {span.span_id: span for _, span in collector.of_need(need)}
    children = defaultdict(set)
    for span in by_id.values():
        if span.parent_span_id:
            children[by_id[span.parent_span_id].name].add(span.name)
    assert children["DECIDE publish"] | children["DECIDE process"] >= {"CLAIM process"}
    assert "COMMIT process" in children["CLAIM process"]
    assert sum(not span.parent_span_id for span in by_id.values()) == 1


async def test_the_owner_decides_what_is_traced(mesh, task, echo, collector, wait_until):
    """Its ratio is 0: nobody records its need, whatever their own; theirs are recorded."""
    two = await mesh(2, start=False)
    await two[0].start(telemetry=TelemetrySettings(collector.url, sample_ratio=0.0))
    await two[1].start(telemetry=TelemetrySettings(collector.url, sample_ratio=1.0), peers=[two[0].addr])
    await two[1].attach(echo())
    await two.until_met()
    quiet, loud = await two[0].post(task()), await two[1].post(task())
    for need in (quiet, loud):
        assert (await two[0].finish(need))["state"] == "FINALIZED"
    for node in two:
        await node.stop()
    assert not collector.of_need(quiet)
    spans = collector.of_need(loud)
    assert {resource["service.instance.id"] for resource, _ in spans} == {node.did for node in two}


@pytest.mark.parametrize("answers", [False, True], ids=["nobody listens", "it never answers"])
async def test_a_dead_collector_harms_nothing(mesh, task, echo, answers):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not answers:
            silent.close()
        two = await mesh(2, telemetry=TelemetrySettings(url, metrics_interval_s=1.0))
        await two[0].attach(echo())
        await two.until_met()
        needs = [await two[0].post(task()) for _ in range(3)]
        for need in needs:
            assert (await two[0].finish(need))["state"] == "FINALIZED"
        exporter = two[0].daemon.telemetry.exporter
        exporter.put([None] * 100_000)  # more than it keeps: dropped and counted, and it does not wait
        assert exporter.counts["spans_dropped"] > 80_000
        exporter._queue.clear()
        with trio.fail_after(10):
            for node in two:
                await node.stop()
        assert not exporter.counts["spans_exported"]


async def test_a_command_gets_the_trace_of_its_job_in_its_environment(mesh, task, collector, wait_until):
    one = await mesh(1, telemetry=TelemetrySettings(collector.url))
    tells = "import json, os; print(json.dumps(os.environ.get('TRACEPARENT', '-').split('-')[1]))"
    await one[0].add_command("env", "echo", sys.executable, "-c", tells)
    need = await one[0].post(task())
    assert (await one[0].finish(need))["values"]["t"] == trace_id_of(need)
