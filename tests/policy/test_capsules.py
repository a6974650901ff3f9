"""Capsules: what an author signs is what a node loads, and only if it proves itself there."""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import nacl.signing
import pytest
from swarmd import policies
from swarmd.node.policy import capsule as capsules
from swarmd.node.policy import capsule_store
from swarmd.node.policy.capsule import Package, parse_block, parse_package
from swarmd.node.policy.capsule_store import CapsuleStore, Standing, require_trust
from swarmd.node.policy.host import WasmGate
from swarmd.node.policy.probes import probes
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault, RemoteFault

KEY = nacl.signing.SigningKey(sha256(b"author").digest())
AUTHOR = did_of(bytes(KEY.verify_key))


def signer(data: bytes) -> bytes:
    return KEY.sign(data).signature


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled once for all tests here."""
    return tmp_path_factory.mktemp("capsules") / "cache"


@pytest.fixture(scope="module")
def unsigned(cache: Path) -> Package:
    policy = policies.load("base")
    gate = WasmGate(policy.wasm, policy.data, cache)
    return capsules.create("base", gate, policy.wasm, policy.data, probes(), author=AUTHOR, made_ns=7)


@pytest.fixture(scope="module")
def package(unsigned: Package) -> Package:
    return capsules.sign(unsigned, AUTHOR, signer)


def changed(package: Package, **fields: Any) -> Package:
    """With other fields, signed by its author all the same."""
    raw = encode({**decode(package.capsule.raw), **fields})
    block = encode([capsules.FRAME_CAPSULE, raw, signer(b"swarmd/policy-capsule/1\0" + raw)])
    return replace(package, capsule=parse_block(block))


def test_a_capsule_comes_back_whole_and_judges_as_its_author_did(package: Package, cache: Path) -> None:
    again = parse_package(package.to_bytes())
    assert again == package and parse_block(package.capsule.block) == package.capsule
    gate = capsules.load(again, cache)
    policy = policies.load("base")
    assert gate.policy_hash == WasmGate(policy.wasm, policy.data, cache).policy_hash
    assert gate.wasm_hash == package.capsule.wasm_hash and gate.data_hash == package.capsule.data_hash
    assert {case.id for case in package.capsule.cases} == set(probes())
    assert {case.allow for case in package.capsule.cases} == {True, False}


def test_equal_capsules_have_equal_cids_and_a_signature_changes_them(
    package: Package, unsigned: Package
) -> None:
    assert capsules.sign(unsigned, AUTHOR, signer).capsule.cid == package.capsule.cid
    assert package.capsule.cid != unsigned.capsule.cid


def test_an_unsigned_capsule_travels_nowhere(unsigned: Package) -> None:
    with pytest.raises(RemoteFault, match="bad-signature"):
        parse_block(unsigned.capsule.block)
    parse_package(unsigned.to_bytes())  # but it can be looked at


def test_a_capsule_signed_by_another(unsigned: Package) -> None:
    other = nacl.signing.SigningKey(bytes(32))
    forged = capsules.sign(unsigned, AUTHOR, lambda data: other.sign(data).signature)
    with pytest.raises(RemoteFault, match="bad-signature"):
        parse_block(forged.capsule.block)


@pytest.mark.parametrize("at", range(0, 4_000, 97))
def test_no_flipped_bit_passes(package: Package, at: int) -> None:
    block = bytearray(package.capsule.block)
    block[at % len(block)] ^= 1 << (at % 8)
    with pytest.raises(RemoteFault):
        parse_block(bytes(block))


@pytest.mark.parametrize("cut", [0, 1, 100, 5_000, -1])
def test_a_torn_file_is_refused(package: Package, cut: int) -> None:
    content = package.to_bytes()
    with pytest.raises(RemoteFault, match="bad-capsule"):
        parse_package(content[:cut])


JUNK = [
    b"",
    b"\0" * 100,
    encode([16]),
    encode([16, b"", b""]),
    encode([True, b"", b""]),
    encode(["swarmd-capsule/1", 1, 2, 3]),
    encode({"v": 1}),
    b"\x9f" * 100_000,
    b"\x81" * 100_000,
]


@pytest.mark.parametrize("content", JUNK, ids=range(len(JUNK)))
def test_junk_is_a_peers_fault(content: bytes) -> None:
    for parse in (parse_block, parse_package):
        with pytest.raises(RemoteFault):
            parse(content)


WRONG: dict[str, tuple[Callable[[Package], Package], str]] = {
    "other wasm": (lambda p: replace(p, wasm=policies.load("roles").wasm), "capsule-hash"),
    "torn wasm": (lambda p: replace(p, wasm=p.wasm[:-1]), "capsule-hash"),
    "no wasm": (lambda p: replace(p, wasm=b""), "capsule-hash"),
    "other data": (lambda p: replace(p, data=b"{}"), "capsule-hash"),
    "another hash": (lambda p: changed(p, wasm_hash=bytes(32)), "capsule-hash"),
    "another size": (lambda p: changed(p, data_size=p.capsule.data_size + 1), "capsule-hash"),
    "another schema": (lambda p: changed(p, schema="swarm.policy/2"), "capsule-schema"),
    "another engine": (lambda p: changed(p, engine="wasmtime/1.0.0 host/1"), "capsule-engine"),
    "another gas limit": (lambda p: changed(p, gas_limit=1_000), "capsule-conformance"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_capsule_that_is_not_what_it_says(package: Package, cache: Path, name: str) -> None:
    change, code = WRONG[name]
    with pytest.raises(RemoteFault) as caught:
        capsules.load(change(package), cache)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        {"allow": False},
        {"gas": 1},
        {"reasons": ["spam"]},
        {"input": b'{"gate":"ingress","gate":"commit"}'},
        {"input": b'{"gate": "ingress"}'},
        {"input": b'{"gate":NaN}'},
        {"input": b"[" * 10_000},
        {"input": b"[1]"},
        {"input": b'{"gate":7}'},
    ],
    ids=str,
)
def test_one_case_that_gives_something_else_here(
    package: Package, cache: Path, change: dict[str, Any]
) -> None:
    cases = decode(package.capsule.raw)["cases"]
    lying = changed(package, cases=[*cases[:-1], {**cases[0], "id": "last", **change}])
    with pytest.raises(RemoteFault, match="capsule-conformance: case last") as caught:
        capsules.load(lying, cache)
    assert caught.value.fix


@pytest.mark.parametrize(
    "change",
    [
        {"cases": []},
        {"gas_limit": 0},
        {"gas_limit": 1 << 40},
        {"wasm_size": 5_000_000},
        {"author": "did:key:z6Mk"},
        {"name": "n" * 65},
        {"made_ns": -1},
        {"wasm": b"cid"},
        {"more": 1},
    ],
    ids=str,
)
def test_shapes_that_are_none(package: Package, change: dict[str, Any]) -> None:
    with pytest.raises(RemoteFault):
        changed(package, **change)


def test_two_cases_with_one_id(package: Package) -> None:
    cases = decode(package.capsule.raw)["cases"]
    with pytest.raises(RemoteFault, match="one id"):
        changed(package, cases=[*cases, cases[0]])


def test_only_whom_the_operator_trusts() -> None:
    require_trust(AUTHOR, (), AUTHOR)
    require_trust(AUTHOR, (AUTHOR,), "did:key:z6Mkme")
    with pytest.raises(LocalFault, match="untrusted-signer") as caught:
        require_trust(AUTHOR, ("did:key:z6Mkother",), "did:key:z6Mkme")
    assert "policy_signers" in caught.value.fix


def test_the_store_keeps_packages_and_what_is_in_force(package: Package, tmp_path: Path) -> None:
    store = CapsuleStore(tmp_path / "policies")
    assert store.standing() == Standing() and store.cids() == []
    cid = store.put(package)
    assert store.get(cid) == package and store.cids() == [cid] and store.find(cid[:20]) == cid
    store.schedule(cid, 40)
    again = CapsuleStore(tmp_path / "policies")
    assert again.standing() == Standing("", (), (cid, 40))
    again.set_standing(again.standing().switched())
    assert again.standing() == Standing(cid, ("",), None)
    assert again.standing().rolled_back() == Standing("", ())
    with pytest.raises(LocalFault, match="no-former-policy"):
        Standing().rolled_back()
    assert (tmp_path / "policies").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "bafy", "nothing", "../../etc/passwd"])
def test_names_that_lead_nowhere(package: Package, tmp_path: Path, text: str) -> None:
    store = CapsuleStore(tmp_path / "policies")
    store.put(package)
    for look in (store.get, store.find):
        with pytest.raises(LocalFault) as caught:
            look(text)
        assert caught.value.code == "no-such-capsule"


def test_a_rotten_file_is_said_and_not_loaded(package: Package, tmp_path: Path, unsigned: Package) -> None:
    store = CapsuleStore(tmp_path / "policies")
    cid = store.put(package)
    file = tmp_path / "policies" / f"{cid}.capsule"
    for content in (b"", file.read_bytes()[:-9], unsigned.to_bytes()):
        file.write_bytes(content)
        with pytest.raises(LocalFault, match="bad-capsule"):
            store.get(cid)
    for text in ("", "{}", '{"active": 7, "former": [], "pending": null}', "[" * 100_000):
        (tmp_path / "policies" / "active.json").write_text(text)
        with pytest.raises(LocalFault, match="bad-standing"):
            store.standing()


def test_the_store_is_bounded_and_spares_what_is_used(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capsule_store, "MAX_STORED", 3)
    store = CapsuleStore(tmp_path / "policies")
    cids = []
    for number in range(5):
        cids.append(store.put(changed(package, made_ns=number)))
        if number == 0:
            store.set_standing(Standing(cids[0]))
    assert cids[0] in store.cids() and cids[-1] in store.cids() and len(store.cids()) <= 4


def test_a_disk_that_is_full_leaves_what_was(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CapsuleStore(tmp_path / "policies")
    store.set_standing(Standing("", (), None))
    before = sorted((tmp_path / "policies").iterdir())

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(capsule_store.os, "fsync", full)
    for write in (lambda: store.put(package), lambda: store.schedule("x", 1)):
        with pytest.raises(LocalFault, match="disk"):
            write()
    assert sorted((tmp_path / "policies").iterdir()) == before and store.standing() == Standing()


def test_samples_make_a_conformance_vector(repo: Path, tmp_path: Path) -> None:
    found = capsules.sample_inputs(repo / "policies" / "base" / "samples")
    assert found["allowed: a need with a budget"]["kind"] == "NEED" and len(found) > 20
    for text in ("", "[]", '{"allowed": 7}', '{"allowed": {"x": 7}}'):
        (tmp_path / "allowed.json").write_text(text)
        with pytest.raises(LocalFault, match="bad-samples"):
            capsules.sample_inputs(tmp_path)
