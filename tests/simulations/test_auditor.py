"""The auditor must see what is wrong: bugs planted in a running mesh, and the smaller run that still shows them."""

import json

import pytest
from swarmd import cli
from swarmd.protocol.faults import CorruptState
from swarmd.protocol.ledger.accounts import Ledger
from swarmd.protocol.work import committees, deciding, rules
from swarmd.protocol.work.void import Void
from swarmd.simulations.nemesis import Fault
from swarmd.simulations.node import SimNode
from swarmd.simulations.rulings import tree
from swarmd.simulations.run import Config, Simulation, run
from swarmd.simulations.shrink import _ddmin, shrink


def broken(report):
    return {violation["property"] for violation in report.violations}


def test_a_slip_of_one_minor_unit_is_seen(monkeypatch):
    """P9: the worker gets one unit more than the escrow pays."""
    move = Ledger._move

    def generous(ledger, need):
        credited = move(ledger, need)
        for worker in credited[:1]:
            ledger.account(worker).available += 1
        return credited

    monkeypatch.setattr(Ledger, "_move", generous)
    assert "P9" in broken(run(1, nodes=5, tasks=4, active_s=6, nemeses=()))


def test_a_decision_without_a_quorum_is_seen(monkeypatch):
    """P6: with the core's check gone, a liar's decision without votes stands."""
    original = rules.RULES["DECIDE"]

    def credulous(genesis, need, envelope):
        full = committees.plan_committee

        class Easy:
            def __init__(self, drawn):
                self.members, self.quorum = drawn.members, 0

        monkeypatch.setattr(deciding, "plan_committee", lambda g, n, e: Easy(full(g, n, e)))
        try:
            return original(genesis, need, envelope)
        finally:
            monkeypatch.setattr(deciding, "plan_committee", full)

    monkeypatch.setitem(rules.RULES, "DECIDE", credulous)
    monkeypatch.setattr("swarmd.simulations.run.behaviours_of", lambda fault, in_committee: ("forge",))
    report = run(1, nodes=11, tasks=12, active_s=10, nemeses=("liar",), liar_permille=400)
    assert "P6" in broken(report)


def test_an_exception_for_a_peers_input_is_a_violation_and_the_node_lives(monkeypatch):
    """P10."""
    original = rules.RULES["PROPOSE"]

    def fragile(genesis, need, envelope):
        if envelope.sender != need.owner and len(need.tasks) == 3:
            raise KeyError("what no rule foresaw")
        return original(genesis, need, envelope)

    monkeypatch.setitem(rules.RULES, "PROPOSE", fragile)
    simulation = Simulation(Config(1, 5, 20, (), active_s=10))
    report = simulation.run()
    assert "P10" in broken(report)
    assert all(node.up for node in simulation.nodes)
    assert report.needs["FINALIZED"] > 0


def test_a_state_that_contradicts_itself_is_a_violation(monkeypatch):
    calls = 0

    def check(ledger, dids):
        nonlocal calls
        calls += 1
        if calls == 60:
            raise CorruptState("negative-account", "planted")

    monkeypatch.setattr(Ledger, "check", check)
    assert "P9" in broken(run(1, nodes=5, tasks=4, active_s=6, nemeses=()))


def test_what_is_acknowledged_and_lost_is_seen(monkeypatch):
    """P9: a disk that forgets a commit it had returned from."""
    original = SimNode.crash

    def crash(node):
        node.disk.forgets = 1_000
        original(node)
        node.disk.forgets = 0

    monkeypatch.setattr(SimNode, "crash", crash)
    seen = set()
    for seed in range(1, 6):
        seen |= broken(run(seed, nodes=5, tasks=20, active_s=10, nemeses=("kill",)))
    assert "P9" in seen


def test_a_replay_that_differs_is_seen(monkeypatch):
    """P2: something in the state that no input accounts for."""
    simulation = Simulation(Config(1, 4, 4, (), active_s=6))
    judge = simulation.auditor.judge_end

    def meddle(nodes, *, replay):
        nodes[2].state.lamport += 1
        judge(nodes, replay=replay)

    monkeypatch.setattr(simulation.auditor, "judge_end", meddle)
    assert broken(simulation.run()) == {"P2"}


def test_nodes_that_stay_apart_and_needs_that_hang_are_seen():
    """Convergence and liveness: a node that nobody reaches, and that reaches nobody, until the end."""
    simulation = Simulation(Config(1, 5, 8, (), active_s=8))
    links = [(0, other) for other in range(1, 5)]
    simulation.network.block(links + [(other, one) for one, other in links])
    assert "convergence" in broken(simulation.run())


def test_a_failing_seed_prints_its_command_and_a_smaller_schedule(monkeypatch, capsys):
    original = rules.RULES["COMMIT"]

    def lax(genesis, need, envelope):
        if envelope.payload["telemetry"]["wall_ms"] % 7 == 3:
            raise Void("planted")
        return original(genesis, need, envelope)

    monkeypatch.setitem(rules.RULES, "COMMIT", lax)
    words = "--seed 1 --nodes 5 --tasks 20 --active-s 8 --nemesis partition,duplicate --json"
    assert cli.main(["sim", "run", *words.split()]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["reproduce"].startswith("swarmd sim run --seed 1 --nodes 5 --tasks 20")
    small = body["shrunk"]
    assert small["schedule"] == [] and small["needs"] <= 3
    # The smaller command fails in the same way.
    again = small["command"].removeprefix("swarmd sim run ")
    assert cli.main(["sim", "run", *again.split(), "--no-shrink"]) == 1
    assert json.loads(capsys.readouterr().out)["violations"][:3] == small["violations"]


def test_ddmin_finds_the_two_that_matter():
    tried = []

    def fails(kept):
        tried.append(kept)
        return {3, 11} <= set(kept)

    found = tuple(range(16))

    def keeping(kept):
        nonlocal found
        if fails(kept):
            found = kept
            return True
        return False

    _ddmin(found, keeping)
    assert found == (3, 11)
    assert len(tried) < 60


def test_shrinking_stops_when_its_runs_are_used_up(monkeypatch):
    monkeypatch.setattr(Ledger, "check_all", lambda ledger: None)
    monkeypatch.setattr(
        "swarmd.simulations.auditor.Auditor._money", lambda self, node: self._violate("P9", 0, "x")
    )
    report = run(1, nodes=3, tasks=3, active_s=4, nemeses=("duplicate",))
    assert shrink(report, max_runs=3).runs <= 3


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_auditors_tree_is_that_of_the_chain(count):
    from swarmd.protocol import merkle

    leaves = [bytes([number]) * 5 for number in range(count)]
    assert tree(leaves) == merkle.root_of(leaves)


def test_faults_print_without_their_dice():
    assert Fault(1, "kill", 5, 6, 7).to_map() == {"number": 1, "name": "kill", "at_ms": 5, "for_ms": 6}
