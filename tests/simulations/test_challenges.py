"""P3 under faults: committees that look at the form alone, agents that are faulty, liars, honest challengers.

Each run is held against the second model of challenges, bonds and held money (simulations/challenges.py, books.py), and
each ruling against what is true of the result.
"""

import pytest
from swarmd.protocol.faults import LocalFault
from swarmd.simulations.run import Config, Simulation

pytestmark = pytest.mark.property_id("P3")


@pytest.mark.parametrize(
    ("seed", "nemeses"),
    [
        (1, ()),
        (2, ("liar",)),
        (3, ("liar", "kill", "partition", "reorder")),
        (4, ("loss", "duplicate", "skew")),
    ],
)
def test_wrong_results_are_reversed_and_right_ones_stand(seed, nemeses):
    run = Simulation(
        Config(seed, 16, 14, nemeses, active_s=12, liar_permille=200, epoch_s=0, challenge_window_s=600)
    )
    report = run.run()
    assert report.violations == []
    assert report.properties["P3"]["checks"] > 100
    needs = run.honest[0].state.needs.values()
    rulings = [ruling.upheld for need in needs for ruling in need.rulings.values()]
    assert True in rulings and False in rulings
    # Nothing is paid in the window, and every unit is where the second model has it.
    ledger = run.honest[0].state.ledger
    assert all(escrow.paid == {} for name, escrow in ledger.escrows.items() if name.startswith("need-"))
    assert any(escrow.state == "forfeited" for escrow in ledger.escrows.values())
    assert any(escrow.state == "returned" for escrow in ledger.escrows.values())


ALL_BUT_THOSE_BEYOND = (
    *(
        "loss",
        "duplicate",
        "skew",
        "split",
        "disk",
        "corrupt",
        "slow",
        "partition",
        "liar",
        "kill",
        "reorder",
    ),
)


@pytest.mark.parametrize(
    ("seed", "nodes", "nemeses"),
    [
        (1, 16, ()),
        (3, 16, ("liar", "kill", "partition", "reorder")),
        # Two liars that are quick bound round after round to a snapshot that nobody could make.
        (4, 14, ALL_BUT_THOSE_BEYOND),
    ],
)
def test_checkpoints_end_windows(seed, nodes, nemeses):
    """The needs that they close, what those pay and reward, the bonds that go home, are those of the second model."""
    run = Simulation(
        Config(seed, nodes, 14, nemeses, active_s=15, liar_permille=200, epoch_s=4, challenge_window_s=6)
    )
    report = run.run()
    assert report.violations == []
    ruling = run.auditor.rulings.latest
    assert ruling.epoch >= 3 and report.properties["P7"]["checks"] > 20
    ends = {need.escrow[0] for need in ruling.closed.values()}
    assert "released" in ends
    assert "returned" in {outcome.closing for outcome in ruling.bonds.values()} <= {"returned", "forfeited"}
    paid = [payment for need in ruling.closed.values() for payment in need.escrow[2]]
    assert any(payment.startswith("reward/") for payment in paid)
    # Who made what was reversed is in jail for it: later rosters are smaller.
    assert min(len(members) for members, _ in run.auditor.oracle.rosters.values()) < nodes


def test_a_window_is_no_negative_time():
    with pytest.raises(LocalFault, match="a challenge window lasts"):
        Config(1, challenge_window_s=-1)
