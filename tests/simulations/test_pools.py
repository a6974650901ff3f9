"""Verifiers that join and leave under faults, while epochs end: stakes and seats against the second model (pools.py)."""

import pytest
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.run import Config, Simulation

pytestmark = pytest.mark.property_id("P7")


@pytest.mark.parametrize(
    ("seed", "nodes", "joins", "epoch_s", "nemeses"),
    [
        (1, 12, 4, 3, ()),
        (2, 14, 6, 3, ("liar", "kill", "partition", "loss")),
        (3, 14, 5, 4, ("split", "skew", "disk", "reorder", "corrupt", "liar", "kill", "duplicate", "slow")),
    ],
)
def test_who_joins_and_leaves_is_seated_and_paid_as_the_model_has_it(seed, nodes, joins, epoch_s, nemeses):
    run = Simulation(
        Config(seed, nodes, 12, nemeses, active_s=20, liar_permille=200, epoch_s=epoch_s, joins=joins)
    )
    report = run.run()
    assert report.violations == []
    counters = report.counters
    assert counters["verifiers joined"] >= 4 and counters["verifiers left"] >= 2
    ruling = run.auditor.rulings.latest
    founders, late = set(run.genesis.roster), {node.did for node in run.nodes[nodes - joins :]}
    assert len(founders) == nodes - joins and not founders & late
    assert ruling.seated & late and ruling.left.keys() <= late
    rosters = [set(members) for members, _ in run.auditor.oracle.rosters.values()]
    assert any(members & late for members in rosters)
    assert not rosters[-1] & ruling.left.keys()
    if ruling.epoch >= min(ruling.left.values()) + 4:
        assert {ruling.purses[name].closing for name in ruling.purses if name.startswith("stake-")} == {
            "returned"
        }


@pytest.mark.parametrize(
    "words", [{"joins": 5}, {"joins": 2, "epoch_s": 0}, {"joins": 2, "challenge_window_s": 6}]
)
def test_joins_that_make_no_run(words):
    with pytest.raises(LocalFault, match="some nodes join"):
        Config(1, 5, **words)
