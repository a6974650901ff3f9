"""P9 with escrows between owners, under faults: every escrow, purse, fee and reputation against a second model of them.

The model (simulations/deals.py) shares the wire's formats with the core and no rule; checkpoints are compared with its books.
"""

import subprocess
import sys

import pytest
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.nemesis import ALL
from swarmd.simulations.run import Config, Simulation

pytestmark = pytest.mark.property_id("P9")


@pytest.mark.parametrize(
    ("seed", "nemeses"),
    [(1, ()), (2, ("liar", "kill", "partition")), (606, ALL)],
)
def test_every_unit_is_where_the_second_model_has_it(seed, nemeses):
    run = Simulation(Config(seed, 11, 8, nemeses, active_s=20, epoch_s=6, escrows=24))
    report = run.run()
    assert report.violations == []
    ended = {
        name.removeprefix("escrow "): n for name, n in report.counters.items() if name.startswith("escrow ")
    }
    assert sum(ended.values()) > 0
    node = run.honest[0]
    fees = sum(fee for *_, fee in run.auditor.rulings.of[node.state.epoch].dealt.values())
    assert node.state.ledger.account("mesh:fees").available == fees
    if not nemeses:  # where all get through, all there is to say is said
        said = {e.payload["op"] for e in run.auditor.oracle.seen.values() if e.kind == "ESCROW"}
        assert {"create", "accept", "fund", "submit", "score", "release", "refund", "dispute"} <= said
        assert {"released", "refunded", "resolved"} <= set(ended) and fees > 0


def test_a_run_without_escrows_says_no_word_of_them():
    run = Simulation(Config(5, 5, 4, (), active_s=8))
    run.run()
    assert not any(e.kind == "ESCROW" for e in run.auditor.oracle.seen.values())


def test_escrows_take_three():
    with pytest.raises(LocalFault, match="three nodes"):
        Config(1, nodes=2, escrows=1)


@pytest.mark.parametrize("name", ["strangers-release", "split-loses-a-unit", "fee-rounded-up"])
def test_planted_bugs_are_found(name):
    done = subprocess.run(
        [sys.executable, "-m", "swarmd.simulations.mutants", name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and "seed" in done.stdout, done.stdout + done.stderr
