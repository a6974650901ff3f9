"""The benchmark's rules by hand are the policy's: two implementations that know nothing of each other."""

from collections.abc import Mapping
from typing import Any

import pytest
from swarmd import policies
from swarmd.node.bench import policy as bench
from swarmd.node.bench.by_hand import reasons
from swarmd.node.policy.capsule import sample_inputs
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.probes import probes


def inputs() -> dict[str, dict[str, Any]]:
    found = probes()
    for name in policies.names():
        folder = policies.folder(name)
        assert folder is not None
        found |= {f"{name}, {key}": facts for key, facts in sample_inputs(folder / "samples").items()}
    return found


STANDARD = policies.load("standard").data
DATA = {
    "as it ships": STANDARD,
    "as measured": bench.data_of(STANDARD),
    "families": {**STANDARD, "capabilities": {"allowed": ["text.*"], "denied": ["text.split"]}},
    "verifiers only": {**STANDARD, "roles": {"kinds": {"NEED": ["verifier"]}, "denied": {}}},
}


@pytest.mark.parametrize(
    ("policy", "data"),
    [
        *(("standard", data) for data in DATA.values()),
        *((n, policies.load(n).data) for n in policies.names()),
    ],
)
def test_python_and_the_policy_say_the_same(policy: str, data: Mapping[str, Any]) -> None:
    gate = WasmGate(policies.load(policy).wasm, data)
    for name, facts in inputs().items():
        said = gate.evaluate(facts["gate"], facts)
        assert list(said.reasons) == reasons(facts, data), name
        assert said.allow == (not said.reasons)


def test_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench.run(300)
    assert 0 < found["p50_us"] <= found["p95_us"] <= found["p99_us"] and found["evals_per_s"] > 0
    assert found["input_bytes"] == 450 and 3_072 <= found["data_bytes"] < 3_200
    assert (
        found["deny_rules"] == 14 < found["standard"]["deny_rules"]
        and 0 < found["gas"] < 1_000_000
        and found["load_ms"] > 0
    )
    assert 0 < found["python"]["p50_us"] < found["p50_us"]
    monkeypatch.setenv("PATH", "")
    assert bench.run(100)["node"] is None
