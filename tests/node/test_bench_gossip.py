"""`swarmd bench gossip` on a small scale: that its figures mean what they say. The figures are for a quiet machine."""

import pytest
import trio
from swarmd.node.bench import gossip, gossip_main
from swarmd.node.bench.envelopes import EnvelopeMaker, arrivals
from swarmd.node.bench.local_socket import local_socket
from swarmd.node.bench.percentiles import percentiles
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import parse
from swarmd.protocol.faults import LocalFault


def test_envelopes_are_real_and_of_the_size_asked_for():
    maker = EnvelopeMaker(did_of(bytes(32)), 500)
    made = [maker.make(7), maker.make(1_700_000_000 * 10**9)]
    assert len(made[1].raw) == 500 and made[0].id != made[1].id
    assert parse(made[1].raw).thread != made[0].thread
    with pytest.raises(LocalFault, match="bytes"):
        EnvelopeMaker(did_of(bytes(32)), 2_000)


def test_arrivals_keep_their_rate_and_repeat_by_their_seed():
    times = list(arrivals(1_000, 0, 10**10, 3))
    assert 9_500 < len(times) < 10_500 and times == sorted(times) and times[-1] < 10**10
    assert times == list(arrivals(1_000, 0, 10**10, 3)) != list(arrivals(1_000, 0, 10**10, 4))
    assert list(arrivals(0, 0, 10**10, 3)) == []


def test_percentiles_by_rank():
    assert percentiles(range(100)) == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    assert percentiles([]) == {"p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_what_is_lost_shows():
    report = {"sent": 10, "flushes": 5, "peers": 1, "frames": 5, "latencies_ms": [1.0] * 9, "cpu_s": 0.0009,
              "drops": 0}  # fmt: skip
    figures = gossip.summary([report, {**report, "latencies_ms": [1.0] * 10}], nodes=2, seconds=1)
    assert figures["delivered_ratio"] == 0.95 and figures["envelopes_per_flush"] == 2
    assert figures["env_per_s"] == 19 and figures["cpu_us_per_delivery"] == pytest.approx(94.7)


@pytest.mark.parametrize("module", [gossip.OURS, gossip.STOCK])
async def test_a_run_delivers_everything(module):
    with trio.fail_after(90):
        figures = await gossip.gossip(
            module, nodes=2, rate=40, size_bytes=500, seconds=1, publishers=2, settle_s=2.5
        )
    assert figures["delivered_ratio"] == 1.0 and 10 < figures["env_per_s"] < 100
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] and figures["cpu_us_per_delivery"] > 0


async def test_local_clients_get_what_they_watch():
    with trio.fail_after(60):
        figures = await local_socket(clients=3, rate=300, size_bytes=500, seconds=1)
    assert figures["delivered_ratio"] == 1.0 and 200 < figures["env_per_s"] < 400


async def test_ours_stands_without_what_stock_does_not_manage(monkeypatch):
    async def stuck(module, **_given):
        raise LocalFault("bench-stuck", "a process did not report")

    monkeypatch.setattr(gossip, "gossip", stuck)
    found = await gossip_main.stock_figures(40.0, nodes=10)
    assert found == {"rate": 40.0, "cpu_us_per_delivery": None, "failed": "a process did not report"}
    assert gossip_main.ratio({"cpu_us_per_delivery": 110.0, "stock": found}) is None
