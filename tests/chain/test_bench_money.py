"""`swarmd bench money` on a small scale: that it measures what it says. The figures are for a quiet machine."""

import json

from swarmd.cli import main


def test_both_ways_leave_everybody_with_the_same_money(capsys):
    assert main("bench money --payments 60 --parties 5 --vouchers 40 --transfers 60 --json".split()) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["payments"], figures["parties"]) == (60, 5)
    assert [entry["payments"] for entry in figures["curve"]] == [10, 25, 50, 60]
    last = figures["curve"][-1]
    assert (
        figures["gas_saved_ratio"]
        == last["saved"]
        == round(1 - last["settled_gas"] / last["transfers_gas"], 6)
    )
    assert 60 * 30_000 < last["transfers_gas"] < 60 * 60_000
    assert 0.8 < figures["gas_saved_ratio"] < 1
    assert figures["vouchers_per_s"] > 0
    assert figures["local_transfers_per_s"] > 0
    assert figures["mesh_final_per_s"] > 0 and figures["mesh_final_p99_ms"] > 0
