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


def test_challenges_are_modelled_within_an_epoch():
    with pytest.raises(LocalFault, match="within one epoch"):
        Config(1, epoch_s=9, challenge_window_s=600)
