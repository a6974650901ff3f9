"""Transfers in the simulator: liars spend theirs twice and sign blindly, and the auditor has its own books of money."""

import subprocess
import sys

import pytest
from swarmd.simulations.run import run

FAULTS = tuple("partition,slow,kill,skew,reorder,duplicate,corrupt,loss,disk,liar".split(","))
_PLANTED = """
import sys
from swarmd.simulations.mutants import plant
plant(sys.argv[1])
from swarmd.simulations.run import run
for seed in range(1, 6):
    report = run(seed, nodes=7, tasks=4, nemeses=("liar",), active_s=8, liar_permille=300, epoch_s=5, transfers=30)
    if report.violations:
        print(report.violations[0]["property"])
        raise SystemExit(0)
raise SystemExit(1)
"""


@pytest.mark.property_id("P9")
@pytest.mark.parametrize("seed", [3, 6])
def test_money_holds_under_all_faults(seed):
    report = run(
        seed, nodes=9, tasks=8, nemeses=FAULTS, active_s=12, liar_permille=300, epoch_s=5, transfers=40
    )
    assert report.violations == []
    assert report.counters["post: transfer said"] >= 20
    assert report.counters["epochs adopted"] > 0
    assert report.counters["reports: double-spend"] > 0


def test_a_run_with_transfers_repeats_itself():
    runs = [
        run(5, nodes=5, tasks=3, nemeses=("kill",), active_s=8, epoch_s=5, transfers=15) for _ in range(2)
    ]
    assert runs[0].to_map() == runs[1].to_map()


@pytest.mark.parametrize("name", ["transfers-apply-unsigned", "money-quorum-off-by-one"])
def test_the_auditor_sees_what_the_core_would_not(name):
    done = subprocess.run(
        [sys.executable, "-c", _PLANTED, name], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


_UNDOING = """
import sys
from swarmd.simulations.mutants import plant
if sys.argv[1]:
    plant(sys.argv[1])
from swarmd.simulations.run import run
# What this run has is rare, and a snapshot that names chains to close hashes, and so draws, differently.
few = dict(active_s=14, liar_permille=300, epoch_s=5, transfers=60, chain_epochs=0)
report = run(6, nodes=9, tasks=24, nemeses=("liar",), **few)
raise SystemExit(3 if report.violations else 0)
"""


@pytest.mark.property_id("P9")
@pytest.mark.parametrize(
    ("name", "broken"), [("", 0), ("first-need-undoes-what-is-final", 3), ("two-needs-lock-money", 3)]
)
def test_a_liar_that_says_another_need_before_its_transfer_undoes_nothing(name, broken):
    """In this run a checkpoint finds two NEEDs, and a final transfer after the one that is later in its cut."""
    command = [sys.executable, "-c", _UNDOING, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == broken, done.stdout + done.stderr
