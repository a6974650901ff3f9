"""P2: the same inputs give the same state in another process, whatever its hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.property_id("P2")

SCRIPT = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("mesh_harness", sys.argv[1])
harness = importlib.util.module_from_spec(spec)
sys.modules["mesh_harness"] = harness
spec.loader.exec_module(harness)

from swarmd.protocol.digest import mesh_digest, state_digest
from swarmd.protocol.engine import step
from swarmd.protocol.state import State

NAMES = ["ann", "bob", "cid", "dan", "eve", "fay", "gus"]
for seed in range(4):
    mesh = harness.Mesh(NAMES, seed=seed, alpha_permille=430, bootstrap_threshold=5 * (seed % 3))
    mesh.answer = lambda node, job: None if mesh.random.random() < 0.2 else {"n": mesh.random.randrange(2)}
    mesh.judge = lambda node, job: (mesh.random.choice(["accept", "accept", "reject", "abstain"]), 50, "says so")
    for name in NAMES[:4]:
        tasks = [harness.task("a"), harness.task("b", after=("a",)), harness.task("c", after=("a",)), harness.task("d", after=("b", "c"))]
        mesh.post(name, tasks, 150_000, deadline_s=100)
    mesh.run()
    for _ in range(120):
        mesh.tick(1)
        mesh.run()
    for name, node in mesh.nodes.items():
        again = State(mesh.genesis, node.did, check_everything=True)
        for given in node.journal:
            step(again, given)
        assert state_digest(again) == state_digest(node.state)
        said = sum(1 for _ in node.said)
        print(seed, name, said, state_digest(node.state).hex(), mesh_digest(node.state).hex())
"""


def run(hash_seed: str) -> list[str]:
    harness = Path(__file__).parent / "conftest.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(harness)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_with_other_hash_seeds_agree():
    one, other = run("1"), run("4242")
    assert len(one) == 4 * 7
    assert one == other
    assert len({line.split()[3] for line in one}) == 28  # each node's own part differs
    for seed in range(4):
        assert (
            len({line.split()[4] for line in one if line.startswith(f"{seed} ")}) == 1
        )  # what they share does not
    assert sum(int(line.split()[2]) for line in one) > 500
