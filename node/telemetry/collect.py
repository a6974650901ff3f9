"""Reads every metric of a daemon, when somebody asks: nothing is counted for it that is not counted anyway."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from swarmd.node.agents.host import Agents
from swarmd.node.analytics.service import Analytics
from swarmd.node.ports import Chain, Transport
from swarmd.node.runner import Runner
from swarmd.node.state.sync import Sync
from swarmd.node.telemetry.metrics import FAMILIES, HistogramValue, Sample, bounded
from swarmd.node.telemetry.service import Telemetry
from swarmd.node.version import version
from swarmd.protocol.work.need_states import ENDS, STAGES
from swarmd.protocol.work.plan import STATES as TASK_STATES

_CALM: Final = frozenset(("ready", "anchoring", "starting"))
_USDC: Final = 1_000_000
_VERDICTS: Final = ("allow", "deny")
_GATES: Final = ("preflight", "ingress", "commit")


class Collector:
    """`read` gives the samples of now; on the loop, in well under a millisecond for each thousand of them."""

    def __init__(
        self,
        runner: Runner,
        transport: Transport,
        agents: Agents,
        chain: Chain,
        sync: Sync,
        analytics: Analytics,
        telemetry: Telemetry,
    ) -> None:
        self._runner = runner
        self._transport = transport
        self._agents = agents
        self._chain = chain
        self._sync = sync
        self._analytics = analytics
        self._telemetry = telemetry
        # Of connections that ended: a total that went back with each of them would be no total.
        self._left: dict[str, int] = dict.fromkeys(_FLOWS, 0)
        self._known: dict[tuple[str, int], dict[str, int]] = {}

    def read(self) -> list[Sample]:
        return [
            _sample(name, labels, value)
            for part in (self._node(), self._mesh(), self._turns(), self._work(), self._rest())
            for name, labels, value in part
        ]

    def _node(self) -> Iterator["Reading"]:
        runner, chain = self._runner, self._chain.status()
        yield "build_info", (version(),), 1
        yield "uptime_seconds", (), (runner.now_ns() - self._telemetry.started_ns) / 1e9
        yield "epoch", (), runner.state.epoch
        yield "trouble", ("disk",), bool(runner.trouble)
        yield "trouble", ("chain",), chain.get("state") not in _CALM
        yield "silent", (), runner.silent
        yield "chain_head", (), chain.get("head") or 0
        yield "chain_pending", (), chain.get("pending") or 0
        for state, number in dict(chain.get("requests") or {}).items():
            yield "chain_requests", (state,), number

    def _mesh(self) -> Iterator["Reading"]:
        runner, peers = self._runner, self._transport.peers()
        directions = [peer.direction for peer in peers]
        for direction in ("inbound", "outbound"):
            yield "peers", (direction,), directions.count(direction)
        yield "peer_score_min", (), min((peer.score for peer in peers), default=1.0)
        self._follow(peers)
        for flow, (name, direction) in _FLOWS.items():
            yield name, (direction,), self._left[flow] + sum(each[flow] for each in self._known.values())
        counters = runner.counters
        yield "envelopes_admitted_total", (), counters["admitted"]
        yield "envelopes_authored_total", (), counters["authored"]
        yield "flushes_total", (), counters["flushes"]
        yield "flush_bytes_total", (), counters["bytes_out"]
        for code, number in bounded(runner.ingress.faults.items()):
            yield "ingress_faults_total", (code,), number
        yield "ingress_duplicates_total", (), runner.ingress.duplicates
        yield "ingress_dropped_frames_total", (), runner.frames_dropped
        yield "envelopes_parked", (), len(runner.state.parked_ids)
        yield "gossip_latency_seconds", (), runner.gossip_s.value()
        yield "sync_rounds_total", (), self._sync.rounds
        yield "sync_repaired_batches_total", (), self._sync.repaired

    def _follow(self, peers: Sequence[Any]) -> None:
        """Keep what connections that are gone have moved."""
        now = {
            (peer.peer_id, peer.connected_at_ns): {flow: getattr(peer, flow) for flow in _FLOWS}
            for peer in peers
        }
        for key, flows in self._known.items():
            if key not in now:
                for flow, number in flows.items():
                    self._left[flow] += number
        self._known = now

    def _turns(self) -> Iterator["Reading"]:
        runner = self._runner
        yield "turns_total", (), runner.counters["turns"]
        yield "turn_duration_seconds", (), runner.turn_s.value()
        inputs, size = runner.journal.size()
        yield "journal_bytes", (), size
        yield "journal_inputs", (), inputs
        (proofs,) = runner.journal.db.execute("select count(*) from proofs").fetchone()
        yield "proofs", (), proofs
        counters = runner.gates.counters
        for gate in _GATES:
            for verdict in _VERDICTS:
                yield "gate_verdicts_total", (gate, verdict), counters[f"{gate}-{verdict}"]
        for outcome in ("checked", "false", "unknown-policy", "unknown-roster"):
            yield "gate_digests_total", (outcome,), counters[f"digests-{outcome}"]

    def _work(self) -> Iterator["Reading"]:
        state, since = self._runner.state, self._analytics.since
        needs, tasks = state.views.need_counts(), state.views.task_counts()
        for name in (*STAGES, *ENDS):
            yield "needs", (name.lower(),), needs.get(name, 0)
        for name in TASK_STATES:
            yield "tasks", (name.lower(),), tasks.get(name, 0)
        yield "needs_opened_total", (), since.opened
        for outcome in map(str.lower, ENDS):
            yield "needs_ended_total", (outcome,), since.ended[outcome]
        yield "need_decide_seconds", (), since.decide_s.value()
        yield "need_finalize_seconds", (), since.finalize_s.value()
        for flow in ("promised", "paid", "returned"):
            yield "escrow_usdc_total", (flow,), since.flows[flow] / _USDC
        for (capability, outcome), number in since.tasks.items():
            yield "capability_tasks_total", (capability, outcome), number
        me = state.ledger.accounts.get(self._runner.me)
        available = me.available if me is not None else state.genesis.balances.get(self._runner.me, 0)
        yield "balance_usdc", ("available",), available / _USDC
        yield "balance_usdc", ("locked",), (me.locked if me is not None else 0) / _USDC
        yield "reputation_score", (), state.rates(self._runner.me)

    def _rest(self) -> Iterator["Reading"]:
        yield "agents", (), len(self._agents.describe())
        yield "analytics_lag_seconds", (), self._analytics.behind_s()
        for outcome, number in self._telemetry.span_counts().items():
            yield "telemetry_spans_total", (outcome,), number
        exporter = self._telemetry.exporter
        yield "telemetry_spans_queued", (), exporter.queued if exporter is not None else 0


Reading = tuple[str, tuple[str, ...], float | HistogramValue]
_FLOWS: Final = {
    "frames_in": ("peer_frames_total", "in"),
    "frames_out": ("peer_frames_total", "out"),
    "bytes_in": ("peer_bytes_total", "in"),
    "bytes_out": ("peer_bytes_total", "out"),
}


def _sample(name: str, labels: tuple[str, ...], value: float | HistogramValue) -> Sample:
    family = FAMILIES["swarmd_" + name]
    return Sample(family, labels, value if isinstance(value, HistogramValue) else float(value))


def metrics_ops(collector: Callable[[], Collector]) -> dict[str, Any]:
    async def answer(call: Any) -> Any:
        """The metrics as Prometheus has them: {content_type, text}."""
        from swarmd.node.telemetry.prometheus import CONTENT_TYPE, exposition

        return {"content_type": CONTENT_TYPE, "text": exposition(collector().read()).decode()}

    return {"metrics": answer}
