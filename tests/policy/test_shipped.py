"""The shipped policies, evaluated as the daemon evaluates them: the compiled bytes in the sandbox."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from swarmd import policies
from swarmd.node.policy.host import WasmGate


def samples(policy: str, which: str) -> dict[str, Any]:
    text = files(policies).joinpath(policy, "samples", f"{which}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)[which]
    return found


COMPOSED = {
    "open-mesh": ("base", "content-types", "roles"),
    "standard": ("base", "capabilities", "content-types", "rates", "roles", "spending"),
}
ALLOWED = [(policy, name) for policy in policies.names() for name in samples(policy, "allowed")]
DENIED = [(policy, name) for policy in policies.names() for name in samples(policy, "denied")]
FOLDER = Path(__file__).parents[2] / "policies"
KINDS = (
    "NEED PROPOSE CLAIM COMMIT ATTEST DECIDE FINALIZE YIELD RELEASE "
    "UPDATE_PLAN ATTEST_PLAN CHALLENGE INVALIDATE RECONCILE CHECKPOINT POOL MONEY ESCROW"
).split()


@pytest.fixture(scope="module")
def gates() -> dict[str, WasmGate]:
    return {name: WasmGate(*_parts(name)) for name in policies.names()}


def _parts(name: str) -> tuple[bytes, Mapping[str, Any]]:
    policy = policies.load(name)
    return policy.wasm, policy.data


@pytest.mark.parametrize(("policy", "name"), ALLOWED)
def test_allowed_samples(gates: dict[str, WasmGate], policy: str, name: str) -> None:
    facts, gate = samples(policy, "allowed")[name], gates[policy]
    verdict = gate.evaluate(facts["gate"], facts)
    assert verdict.allow and verdict.reasons == () and 0 < verdict.gas < gate.gas_limit


@pytest.mark.parametrize(("policy", "name"), DENIED)
def test_denied_samples(gates: dict[str, WasmGate], policy: str, name: str) -> None:
    sample = samples(policy, "denied")[name]
    facts, reasons = sample["input"], sample["reasons"]
    named = facts.get("gate") if facts.get("gate") in ("preflight", "ingress", "commit") else None
    verdict = gates[policy].evaluate(named or "ingress", facts)
    if named is None:  # the host names the gate itself, so the policy never sees a wrong one
        reasons = [reason for reason in reasons if reason != "gate-unknown"]
    assert verdict.reasons == tuple(sorted(reasons)) and verdict.allow is (not reasons)


def test_each_concern_is_there_with_rules_samples_and_data() -> None:
    concerns = {"base", "capabilities", "content-types", "rates", "roles", "spending", *COMPOSED}
    assert set(policies.names()) == concerns
    for name in concerns:
        assert (FOLDER / name / f"{name}_test.rego").is_file()
        assert samples(name, "allowed") and samples(name, "denied")


@pytest.mark.parametrize("composed", COMPOSED)
def test_a_composed_policy_has_the_data_of_its_parts(composed: str) -> None:
    merged: dict[str, Any] = {}
    for name in COMPOSED[composed]:
        data = policies.load(name).data
        assert all(merged.get(key, value) == value for key, value in data.items()), name
        merged.update(data)
    assert policies.load(composed).data == merged
    assert f"# uses: {', '.join(COMPOSED[composed])}\n" in policies.rego(composed).decode()


def test_every_deny_rule_of_the_standard_policy_is_hit_by_a_sample() -> None:
    rules = {
        rule
        for name in policies.names()
        for rule in re.findall(r'reasons contains "([a-z-]+)"', (FOLDER / name / f"{name}.rego").read_text())
    }
    hit = {reason for policy, name in DENIED for reason in samples(policy, "denied")[name]["reasons"]}
    # These need data that the samples do not set: the tests beside the rego do.
    assert rules - hit == {"sender-denied", "capability-denied", "kind-denied-to-sender"} - hit
    assert len(rules) >= 14


def test_the_seventeen_kinds_at_the_three_gates(gate: WasmGate, need: dict[str, Any]) -> None:
    result = {"claimed": {"size": 1, "cpu_ms": 1}, "actual": {"size": 1}}
    for kind in KINDS:
        for where in ("preflight", "ingress", "commit"):
            assert gate.evaluate(where, {**need, **result, "kind": kind}).allow, (kind, where)
    assert gate.evaluate("ingress", {**need, "kind": "need"}).reasons == ("kind-not-allowed",)


def test_an_operator_denies_a_sender(with_data: Callable[..., WasmGate], need: dict[str, Any]) -> None:
    gate = with_data(deny={"senders": {need["sender"]: "spam, 3 March"}})
    assert gate.evaluate("ingress", need).reasons == ("sender-denied",)
    assert gate.evaluate("ingress", {**need, "sender": need["sender"][:-1] + "L"}).allow
    assert with_data(deny={"senders": {need["sender"]: False}}).evaluate("ingress", need).reasons


def test_an_operator_caps_budgets(with_data: Callable[..., WasmGate], need: dict[str, Any]) -> None:
    gate = with_data(limits={"max_budget": 60_000})
    assert gate.evaluate("ingress", need).allow
    assert gate.evaluate("ingress", {**need, "budget": 60_001}).reasons == ("budget-over-cap",)
    assert gate.evaluate("ingress", {**need, "budget": 1 << 96}).reasons == ("budget-over-cap",)
    del need["budget"]
    assert gate.evaluate("ingress", need).allow


def test_without_its_data_it_fails_closed(base: policies.Policy, need: dict[str, Any]) -> None:
    gate = WasmGate(base.wasm, {})
    assert gate.evaluate("ingress", need).reasons == ("budget-over-cap",)
    del need["budget"]
    assert gate.evaluate("ingress", need).allow


def test_all_reasons_are_given_sorted(with_data: Callable[..., WasmGate], need: dict[str, Any]) -> None:
    gate = with_data(deny={"senders": {need["sender"]: ""}}, limits={"max_budget": 1})
    facts = {**need, "kind": "X", "payload_size": 1_048_576}
    assert gate.evaluate("ingress", facts).reasons == (
        "budget-over-cap",
        "kind-not-allowed",
        "payload-too-big",
        "sender-denied",
    )


def test_the_loader() -> None:
    assert "base" in policies.names()
    policy = policies.load()
    assert policy.wasm[:4] == b"\0asm" and policy.data["limits"]["max_budget"] == 10**12
    with pytest.raises(KeyError, match="base"):
        policies.load("../base")


OPA = next((FOLDER.parent / ".tools" / "bin").glob("opa-v*"), None)


@pytest.mark.skipif(OPA is None, reason="policies/build.sh --tool was not run: CI does")
def test_the_shipped_wasm_is_what_the_rego_compiles_to(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run(
        [str(FOLDER / "build.sh"), "--check"], capture_output=True, text=True, env=env, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(OPA is None, reason="policies/build.sh --tool was not run: CI does")
def test_a_changed_rule_is_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "policies"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".tools").symlink_to(FOLDER.parent / ".tools")
    rego = copy / "base" / "base.rego"
    rego.write_text(rego.read_text().replace('"sender-denied"', '"sender-refused"'))
    tests = copy / "base" / "base_test.rego"
    tests.write_text(tests.read_text().replace('"sender-denied"', '"sender-refused"'))
    run = subprocess.run([str(copy / "build.sh"), "--check"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "run policies/build.sh" in run.stderr
