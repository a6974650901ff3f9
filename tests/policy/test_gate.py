"""The host: deterministic verdicts and digests, strict inputs, a private cache."""

import json
import os
import random
import stat
import threading
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd import policies
from swarmd.node.policy import modules
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.verdicts import Digests, canonical_input, canonical_json, make_answer
from swarmd.node.ports import PolicyGate, Verdict
from swarmd.protocol.faults import LocalFault

# What the shipped policy burns on wasmtime 50.0.1, on every machine. Fuel changes between wasmtime versions
# and with the policy's bytes; if this test fails, verdicts made before can no longer be recomputed, so a
# change here must go with a change of the pin or of the policy, never by accident.
ENGINE = "wasmtime/50.0.1 host/1"
CONFORMANCE: dict[str, tuple[str, dict[str, int]]] = {
    "base": (
        "2de63209ccf23818928fc7435ee48b0e031721a8b2c707ce9cd40ca54fc1f2ce",
        {"NEED": 66_529, "CLAIM": 66_633, "GOSSIP": 68_279},
    ),
    "standard": (
        "0e94ca72b3dd660a78ba9d9e71cc32883fd2b69566bfd1dbe2c3b78d8103bdbb",
        {"NEED": 108_036, "CLAIM": 75_273, "GOSSIP": 77_060},
    ),
}


def judge_fresh(policy: policies.Policy, facts: dict[str, Any]) -> Verdict:
    return WasmGate(policy.wasm, policy.data).evaluate("ingress", facts)


def test_it_is_the_port(gate: WasmGate, need: dict[str, Any]) -> None:
    port: PolicyGate = gate
    verdict = port.evaluate("ingress", need)
    assert verdict.allow and len(verdict.digest) == len(port.policy_hash) == 32


@pytest.mark.parametrize("name", CONFORMANCE)
def test_conformance_vector(need: dict[str, Any], name: str) -> None:
    policy = policies.load(name)
    gate, (wasm, gas) = WasmGate(policy.wasm, policy.data), CONFORMANCE[name]
    assert gate.engine_version == ENGINE
    assert sha256(policy.wasm).hexdigest() == wasm
    assert {kind: gate.evaluate("ingress", {**need, "kind": kind}).gas for kind in gas} == gas


def test_the_same_input_gives_the_same_verdict_whatever_came_before(
    gate: WasmGate, base: policies.Policy, need: dict[str, Any]
) -> None:
    variants = [
        {**need, "kind": kind, "budget": budget, "thread": "t" * length}
        for kind in ("NEED", "CLAIM", "X")
        for budget in (0, 1 << 70)
        for length in (0, 7, 3_000)
    ]
    first = [judge_fresh(base, facts) for facts in variants]
    order = list(range(len(variants))) * 20
    random.Random(7).shuffle(order)
    for i in order:
        assert gate.evaluate("ingress", variants[i]) == first[i]


def test_key_order_does_not_matter(gate: WasmGate, need: dict[str, Any]) -> None:
    turned = dict(reversed(need.items()))
    assert gate.evaluate("ingress", turned) == gate.evaluate("ingress", need)


def test_the_gate_asked_for_wins_over_the_facts(gate: WasmGate, need: dict[str, Any]) -> None:
    honest = gate.evaluate("commit", {**need, "gate": "commit"})
    assert gate.evaluate("commit", need) == honest
    assert gate.evaluate("commit", {**need, "gate": "back-door"}) == honest
    assert gate.evaluate("ingress", need).digest != honest.digest


def test_a_digest_can_be_recomputed_from_its_parts(gate: WasmGate, need: dict[str, Any]) -> None:
    verdict = gate.evaluate("ingress", {**need, "kind": "X"})
    document = json.dumps({**need, "kind": "X"}, sort_keys=True, separators=(",", ":")).encode()
    parts = [
        "swarmd/policy-eval/2",
        document,
        False,
        ["kind-not-allowed"],
        [],
        gate.policy_hash,
        verdict.gas,
        ENGINE,
    ]
    assert verdict.digest == sha256(cbor2.dumps(parts, canonical=True)).digest()


@pytest.mark.parametrize("gas", [0, 23, 24, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32, 1 << 40])
@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_the_digest_is_that_of_the_canonical_array(gas: int, size: int) -> None:
    answer = make_answer(True, ("a", "b"), ("log",))
    parts = ["swarmd/policy-eval/2", b"x" * size, True, ["a", "b"], ["log"], b"p" * 32, gas, "engine"]
    found = Digests(b"p" * 32, "engine").digest(b"x" * size, answer, gas)
    assert found == sha256(cbor2.dumps(parts, canonical=True)).digest()


def test_a_digest_binds_every_part() -> None:
    def digest(
        document: bytes, allow: bool, reason: str, duty: str, policy: bytes, gas: int, engine: str
    ) -> bytes:
        return Digests(policy, engine).digest(document, make_answer(allow, (reason,), (duty,)), gas)

    parts: list[Any] = [b"{}", True, "a", "log", b"\1" * 32, 5, "engine"]
    other: list[Any] = [b"{ }", False, "b", "tell", b"\2" * 32, 6, "engine2"]
    digests = {digest(*parts)}
    for i, value in enumerate(other):
        digests.add(digest(*[*parts[:i], value, *parts[i + 1 :]]))
    assert len(digests) == len(parts) + 1


def test_the_policy_hash_names_wasm_data_gas_and_engine(base: policies.Policy) -> None:
    data = json.dumps(base.data, sort_keys=True, separators=(",", ":")).encode()
    parts = [sha256(base.wasm).digest(), sha256(data).digest(), 1_000_000, ENGINE]
    expected = sha256(cbor2.dumps(["swarmd/policy/3", *parts])).digest()
    gate = WasmGate(base.wasm, base.data)
    assert gate.policy_hash == expected and [gate.wasm_hash, gate.data_hash] == parts[:2]
    turned = dict(reversed(base.data.items()))
    assert WasmGate(base.wasm, turned).policy_hash == expected
    assert WasmGate(base.wasm, {}).policy_hash != expected
    assert WasmGate(base.wasm, base.data, gas_limit=2_000_000).policy_hash != expected


def test_evaluate_many_is_evaluate_of_each(gate: WasmGate, need: dict[str, Any]) -> None:
    batch = [{**need, "kind": kind} for kind in ("NEED", "X", "CLAIM")]
    assert gate.evaluate_many("ingress", batch) == [gate.evaluate("ingress", facts) for facts in batch]
    assert gate.evaluate_many("ingress", []) == []


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": float("nan")}, "bad-input"),
        ({"x": float("inf")}, "bad-input"),
        ({"x": "\ud800"}, "bad-input"),
        ({"x": {1: 2}}, "bad-input"),
        ({"x": b"bytes"}, "bad-input"),
        ({"x": {1, 2}}, "bad-input"),
        ({"x": deep(65)}, "bad-input"),
        ({"x": deep(10_000)}, "bad-input"),
        ({"x": 10**5_000}, "bad-input"),
        ({1: 2, "1": 3}, "bad-input"),
        ({"x": "s" * 1_000_000}, "input-too-big"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_inputs_that_are_no_json_are_denied(
    gate: WasmGate, need: dict[str, Any], change: dict[Any, Any], reason: str
) -> None:
    verdict = gate.evaluate("ingress", {**need, **change})
    assert (verdict.allow, verdict.reasons, verdict.gas) == (False, (reason,), 0)
    assert gate.evaluate("ingress", need).allow


def test_facts_that_are_no_mapping_and_gates_that_are_none_are_denied(
    gate: WasmGate, need: dict[str, Any]
) -> None:
    assert gate.evaluate("back-door", need).reasons == ("bad-gate",)
    assert gate.evaluate("ingress", [1]).reasons == ("bad-input",)  # type: ignore[arg-type]
    assert gate.evaluate(["ingress"], need).reasons == ("host-error",)  # type: ignore[arg-type]
    loop: dict[str, Any] = {}
    loop["x"] = loop
    assert gate.evaluate("ingress", loop).reasons == ("bad-input",)


def test_an_input_larger_than_the_scratch_space_is_judged(
    base: policies.Policy, need: dict[str, Any]
) -> None:
    gate = WasmGate(base.wasm, base.data, gas_limit=10_000_000)
    facts = {**need, "thread": "t" * 65_000}
    first = gate.evaluate("ingress", facts)
    assert first.allow and first == gate.evaluate("ingress", facts)
    assert gate.evaluate("ingress", need).allow


def test_text_of_any_kind_passes_through(gate: WasmGate, need: dict[str, Any]) -> None:
    for thread in ("é", "\U0001f600", '"\\\n\t\x00\x7f', "\u2028"):
        assert gate.evaluate("ingress", {**need, "thread": thread}).allow
    assert canonical_input("ingress", {"b": "é", "a": None}) == '{"a":null,"b":"é","gate":"ingress"}'.encode()
    assert canonical_json({"b": [1, {"d": True, "c": 2.5}]}) == b'{"b":[1,{"c":2.5,"d":true}]}'


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=8))
def test_canonical_json_is_that_of_the_library(value: dict[str, Any]) -> None:
    """The short cut for flat objects writes what json writes."""
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_json(value) == expected.encode()
    assert canonical_json(dict(reversed(value.items()))) == expected.encode()


def test_threads_may_share_a_gate(gate: WasmGate, need: dict[str, Any]) -> None:
    expected = {kind: gate.evaluate("ingress", {**need, "kind": kind}) for kind in ("NEED", "CLAIM", "X")}
    wrong: list[object] = []

    def work() -> None:
        for _ in range(300):
            for kind, verdict in expected.items():
                if gate.evaluate("ingress", {**need, "kind": kind}) != verdict:
                    wrong.append(kind)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_a_gas_limit_is_a_limit(base: policies.Policy, need: dict[str, Any]) -> None:
    burnt = WasmGate(base.wasm, base.data).evaluate("ingress", need).gas
    short = WasmGate(base.wasm, base.data, gas_limit=burnt // 2).evaluate("ingress", need)
    assert (short.allow, short.reasons, short.gas) == (False, ("out-of-gas",), burnt // 2)
    assert WasmGate(base.wasm, base.data, gas_limit=burnt + 1).evaluate("ingress", need).gas == burnt
    with pytest.raises(LocalFault, match="policy-gas"):
        WasmGate(base.wasm, base.data, gas_limit=0)


@pytest.mark.parametrize("data", [{"x": float("nan")}, {"x": deep(70)}, {1: 2}, {"x": "s" * 5_000_000}])
def test_data_that_is_no_json_is_refused(base: policies.Policy, data: dict[str, Any]) -> None:
    with pytest.raises(LocalFault, match="policy-data"):
        WasmGate(base.wasm, data)


def test_a_large_deny_list(with_data: Callable[..., WasmGate], need: dict[str, Any]) -> None:
    senders = {f"did:key:z6Mk{i:044d}": "spam" for i in range(5_000)}
    gate = with_data(deny={"senders": {**senders, need["sender"]: "spam"}})
    assert gate.evaluate("ingress", need).reasons == ("sender-denied",)
    assert gate.evaluate("ingress", {**need, "sender": "did:key:z6MkNobody"}).allow


# The cache of compiled modules.


def test_the_cache_is_private_and_used(
    base: policies.Policy, tmp_path: Path, need: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "policy"
    first = WasmGate(base.wasm, base.data, folder).evaluate("ingress", need)
    (file,) = folder.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE(file.stat().st_mode) == 0o600

    def compiled(wasm: bytes) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(modules, "compile_wasm", compiled)
    assert WasmGate(base.wasm, base.data, folder).evaluate("ingress", need) == first


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "other"])
def test_a_torn_or_rotten_cache_file_is_made_again(
    base: policies.Policy, tmp_path: Path, need: dict[str, Any], harm: str
) -> None:
    folder = tmp_path / "cache"
    WasmGate(base.wasm, base.data, folder)
    (file,) = folder.iterdir()
    good = file.read_bytes()
    middle = len(good) // 2
    file.write_bytes(
        {
            "cut": good[:middle],
            "flip": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
            "empty": b"",
            "other": b"swarmd-policy-module-2\n" + zlib.crc32(b"junk").to_bytes(4, "big") + b"junk",
        }[harm]
    )
    assert WasmGate(base.wasm, base.data, folder).evaluate("ingress", need).allow
    assert file.read_bytes()[:27] == good[:27] and list(folder.iterdir()) == [file]


def test_a_folder_open_to_others_is_refused(base: policies.Policy, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o755)
    with pytest.raises(LocalFault) as caught:
        WasmGate(base.wasm, base.data, folder)
    assert caught.value.code == "policy-cache" and "chmod 700" in caught.value.fix
    link = tmp_path / "link"
    os.chmod(folder, 0o700)
    link.symlink_to(folder)
    with pytest.raises(LocalFault, match="policy-cache"):
        WasmGate(base.wasm, base.data, link)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LocalFault, match="policy-cache"):
        WasmGate(base.wasm, base.data, file)
