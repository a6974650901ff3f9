"""The planted bugs: each fits the core as it is, and hunting finds them in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import swarmd.protocol
from swarmd.simulations.mutants import MUTANTS
from swarmd.simulations.mutants.hunting import ATTEMPTS
from swarmd.simulations.mutants.planting import Mutant, planted
from swarmd.simulations.run import run

CORE = Path(next(iter(swarmd.protocol.__path__)))


def test_there_are_enough():
    assert len(MUTANTS) >= 25


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_it_fits_the_core_once_and_compiles(name):
    mutant = MUTANTS[name]
    source = (CORE / (mutant.module.replace(".", "/") + ".py")).read_text()
    changed = planted(mutant, source)
    assert changed != source
    compile(changed, name, "exec")


def test_one_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="found 0 times"):
        planted(Mutant("nothing", "engine", "no such text", ""), "x = 1")
    with pytest.raises(ValueError, match="found 2 times"):
        planted(Mutant("both", "engine", "x", "y"), "x = x")


@pytest.mark.parametrize("name", ["conservation-slip", "decide-quorum-off-by-one", "forgets-the-parked"])
def test_hunting_finds_it(name):
    done = subprocess.run(
        [sys.executable, "-m", "swarmd.simulations.mutants", name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed" in done.stdout


def test_the_true_core_is_not_taken_for_a_mutant():
    for seed, nodes, tasks, faults in ATTEMPTS[:4]:
        names = tuple(fault for fault in faults.split(",") if fault)
        report = run(seed, nodes=nodes, tasks=tasks, nemeses=names, active_s=12, liar_permille=300, epoch_s=5)
        assert report.violations == []
