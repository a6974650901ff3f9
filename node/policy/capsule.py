"""A policy capsule: a policy that its author signs for others to load, with what it must answer to prove itself.

The signed part names module and data by hash and CID and carries the conformance vector: inputs with the verdict
and the gas they must give. A node takes a capsule only if its operator trusts the author, the bytes have the
hashes, and every case gives the same verdict and gas here. Pure functions; disk and network are elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import nacl.bindings
import nacl.exceptions
from swarmd.node.content.unixfs import import_bytes
from swarmd.node.policy.host import MAX_DATA_BYTES, WasmGate
from swarmd.node.policy.modules import MAX_WASM_BYTES, engine_version
from swarmd.node.policy.verdicts import GATES, MAX_INPUT_BYTES, canonical_json
from swarmd.protocol import schema
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import cid_text
from swarmd.protocol.didkey import public_key_of
from swarmd.protocol.faults import LocalFault, RemoteFault

# What node/facts.py puts in and node/policy/verdicts.py takes out. A policy for another schema is not loaded.
SCHEMA_VERSION: Final = "swarm.policy/1"
# Frames 1 and 2 are envelopes and manifests.
FRAME_CAPSULE: Final = 16
MAX_CAPSULE_BYTES: Final = 262_144
MAX_CASES: Final = 256
_DOMAIN: Final = b"swarmd/policy-capsule/1\0"
_FILE_MAGIC: Final = "swarmd-capsule/1"
_FIX: Final = "ask its author for a whole one"

# An evaluation within it takes some 20 ms: the loop of a node must not wait longer for somebody else's policy.
MAX_GAS_LIMIT: Final = 10_000_000


def _bool(value: Any, path: schema.Path) -> None:
    if type(value) is not bool:
        raise RemoteFault("bad-payload", f"{schema.spelled(path)}: true or false")


_hash = schema.blob(32, 32)
_gas = schema.uint(MAX_GAS_LIMIT)
_shape = schema.record(
    {
        "name": schema.text(64),
        "schema": schema.text(64),
        "author": schema.did,
        "made_ns": schema.uint((1 << 63) - 1),
        "replaces": schema.blob(0, 64),
        "engine": schema.text(64),
        "gas_limit": _gas,
        "wasm": schema.link,
        "wasm_hash": _hash,
        "wasm_size": schema.uint(MAX_WASM_BYTES),
        "data": schema.link,
        "data_hash": _hash,
        "data_size": schema.uint(MAX_DATA_BYTES),
        "cases": schema.list_of(
            schema.record(
                {
                    "id": schema.text(128),
                    "input": schema.blob(2, MAX_INPUT_BYTES),
                    "allow": _bool,
                    "reasons": schema.list_of(schema.text(256), 0, 64),
                    "gas": _gas,
                }
            ),
            1,
            MAX_CASES,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Case:
    """One input (canonical JSON with its gate) and what it must give."""

    id: str
    input: bytes
    allow: bool
    reasons: tuple[str, ...]
    gas: int


@dataclass(frozen=True, slots=True)
class Capsule:
    """`wasm` and `data` are CIDs of files, the hashes SHA-256 of their bytes; `replaces` is the CID of the capsule
    before it or b""; `signature` is b"" until it is signed."""

    name: str
    schema: str
    author: str
    made_ns: int
    replaces: bytes
    engine: str
    gas_limit: int
    wasm: bytes
    wasm_hash: bytes
    wasm_size: int
    data: bytes
    data_hash: bytes
    data_size: int
    cases: tuple[Case, ...]
    raw: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def block(self) -> bytes:
        """What travels: canonical CBOR [16, capsule, signature]; a frame of gossip as it is."""
        return encode([FRAME_CAPSULE, self.raw, self.signature])

    @property
    def cid(self) -> bytes:
        """Of the block as a file, so that it is fetched and shown like any content."""
        return file_cid(self.block)

    @property
    def cid_text(self) -> str:
        return cid_text(self.cid)


@dataclass(frozen=True, slots=True)
class Package:
    """A capsule with its bytes: what a capsule file holds."""

    capsule: Capsule
    wasm: bytes = field(repr=False)
    data: bytes = field(repr=False)  # canonical JSON

    def to_bytes(self) -> bytes:
        return encode([_FILE_MAGIC, self.capsule.block, self.wasm, self.data])


def create(
    name: str,
    gate: WasmGate,
    wasm: bytes,
    data: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, Any]],
    *,
    author: str,
    made_ns: int,
    replaces: bytes = b"",
) -> Package:
    """An unsigned package of the policy that `gate` runs, whose verdicts on `inputs` (id -> facts with a gate) it
    must show everywhere. LocalFault `bad-capsule`."""
    cases = []
    for case_id, facts in inputs.items():
        verdict = gate.evaluate(str(facts.get("gate", "ingress")), facts)
        document = canonical_json({**facts, "gate": facts.get("gate", "ingress")})
        cases.append(
            {
                "id": case_id,
                "input": document,
                "allow": verdict.allow,
                "reasons": list(verdict.reasons),
                "gas": verdict.gas,
            }
        )
    text = canonical_json(data)
    body = {
        "name": name,
        "schema": SCHEMA_VERSION,
        "author": author,
        "made_ns": made_ns,
        "replaces": replaces,
        "engine": gate.engine_version,
        "gas_limit": gate.gas_limit,
        "wasm": Link(file_cid(wasm)),
        "wasm_hash": sha256(wasm).digest(),
        "wasm_size": len(wasm),
        "data": Link(file_cid(text)),
        "data_hash": sha256(text).digest(),
        "data_size": len(text),
        "cases": cases,
    }
    try:
        return Package(_unseal(encode([FRAME_CAPSULE, encode(body), b""])), wasm, text)
    except RemoteFault as fault:
        raise LocalFault("bad-capsule", fault.message, fix="shorten the name, or name fewer cases") from None


def file_cid(content: bytes) -> bytes:
    """The CID that the content store gives these bytes."""
    return import_bytes(content, lambda cid, block: None).cid


def sign(package: Package, author: str, signer: Callable[[bytes], bytes]) -> Package:
    """Signed by `author`, who becomes its author if it had another."""
    body = decode(package.capsule.raw)
    raw = encode({**body, "author": author})
    return Package(_parse(raw, signer(_DOMAIN + raw)), package.wasm, package.data)


def parse_block(block: bytes) -> Capsule:
    """A capsule from a peer, its signature checked. RemoteFault `bad-capsule`, `bad-signature`."""
    capsule = _unseal(block)
    require_signature(capsule)
    return capsule


def require_signature(capsule: Capsule) -> None:
    """RemoteFault `bad-signature` unless its author signed it."""
    try:
        nacl.bindings.crypto_sign_open(
            capsule.signature + _DOMAIN + capsule.raw, public_key_of(capsule.author)
        )
    except (nacl.exceptions.BadSignatureError, ValueError):
        raise RemoteFault("bad-signature", f"the capsule is not signed by {capsule.author}") from None


def parse_package(content: bytes) -> Package:
    """The content of a capsule file, signed or not. RemoteFault `bad-capsule`: it comes from somebody else."""
    if len(content) > MAX_CAPSULE_BYTES + MAX_WASM_BYTES + MAX_DATA_BYTES + 1_024:
        raise RemoteFault("bad-capsule", f"a file of {len(content)} bytes")
    value = _decode(content)
    if (
        type(value) is not list
        or len(value) != 4
        or value[0] != _FILE_MAGIC
        or not all(type(part) is bytes for part in value[1:])
    ):
        raise RemoteFault("bad-capsule", "not a capsule file")
    return Package(_unseal(value[1]), value[2], value[3])


def check_bytes(package: Package) -> Mapping[str, Any]:
    """The data document; RemoteFault `capsule-hash` unless module and data are those that the capsule names."""
    capsule = package.capsule
    for what, content, size, digest, cid in (
        ("module", package.wasm, capsule.wasm_size, capsule.wasm_hash, capsule.wasm),
        ("data", package.data, capsule.data_size, capsule.data_hash, capsule.data),
    ):
        if len(content) != size or sha256(content).digest() != digest or file_cid(content) != cid:
            raise RemoteFault("capsule-hash", f"its {what} is not the one it names")
    try:
        data = parse_json(package.data)
    except BadJson as error:
        raise RemoteFault("capsule-hash", f"its data is no JSON: {error}") from None
    if not isinstance(data, dict) or canonical_json(data) != package.data:
        raise RemoteFault("capsule-hash", "its data is not in the canonical form")
    return data


def load(package: Package, cache_dir: Path | None, *, limited: bool = True) -> WasmGate:
    """A gate over the capsule's policy, proven by its conformance vector. Signature and trust are the caller's.

    RemoteFault `capsule-hash`, `capsule-schema`, `capsule-engine`, `capsule-conformance`; LocalFault `policy-...`.
    """
    capsule = package.capsule
    if capsule.schema != SCHEMA_VERSION:
        raise RemoteFault("capsule-schema", f"for {capsule.schema}; this node speaks {SCHEMA_VERSION}")
    if capsule.engine != engine_version():
        raise RemoteFault(
            "capsule-engine",
            f"its gas was measured with {capsule.engine}; this node has {engine_version()}",
            fix="ask its author for one made with this engine",
        )
    data = check_bytes(package)
    gate = WasmGate(package.wasm, data, cache_dir, capsule.gas_limit, limited=limited)
    missed = next((why for case in capsule.cases if (why := _missed(gate, case))), None)
    if missed is not None:
        raise RemoteFault("capsule-conformance", missed, fix=_FIX)
    return gate


def _missed(gate: WasmGate, case: Case) -> str | None:
    """What is wrong with the answer to a case; None if nothing."""
    try:
        facts = parse_json(case.input)
    except BadJson as error:
        return f"case {case.id}: its input is no JSON: {error}"
    if not isinstance(facts, dict) or canonical_json(facts) != case.input:
        return f"case {case.id}: its input is no canonical JSON object"
    verdict = gate.evaluate(str(facts.get("gate")), facts)
    if (verdict.allow, verdict.reasons, verdict.gas) == (case.allow, case.reasons, case.gas):
        return None
    return (
        f"case {case.id}: {_said(verdict.allow, verdict.reasons, verdict.gas)} here, "
        f"{_said(case.allow, case.reasons, case.gas)} by its author"
    )


def _said(allow: bool, reasons: Sequence[str], gas: int) -> str:
    return f"{'allow' if allow else 'deny'} ({', '.join(reasons)}) with {gas} gas"


def _unseal(block: bytes) -> Capsule:
    if len(block) > MAX_CAPSULE_BYTES:
        raise RemoteFault("bad-capsule", f"{len(block)} bytes, at most {MAX_CAPSULE_BYTES}")
    value = _decode(block)
    if (
        type(value) is not list
        or len(value) != 3
        or type(value[0]) is not int
        or value[0] != FRAME_CAPSULE
        or type(value[1]) is not bytes
        or type(value[2]) is not bytes
        or len(value[2]) not in (0, 64)
    ):
        raise RemoteFault("bad-capsule", "not [16, capsule, signature]")
    return _parse(value[1], value[2])


def _decode(content: bytes) -> Any:
    try:
        return decode(content)
    except RemoteFault as fault:
        raise RemoteFault("bad-capsule", fault.message) from None


def _parse(raw: bytes, signature: bytes) -> Capsule:
    body = _decode(raw)
    try:
        _shape(body, "capsule")
    except RemoteFault as fault:
        raise RemoteFault("bad-capsule", fault.message) from None
    if len({case["id"] for case in body["cases"]}) != len(body["cases"]):
        raise RemoteFault("bad-capsule", "two cases have one id")
    if not body["gas_limit"]:
        raise RemoteFault("bad-capsule", "a gas limit of 0")
    cases = tuple(
        Case(case["id"], case["input"], case["allow"], tuple(case["reasons"]), case["gas"])
        for case in body["cases"]
    )
    links = {name: bytes(body[name]) for name in ("wasm", "data")}
    return Capsule(**{**body, **links, "cases": cases}, raw=raw, signature=signature)


def sample_inputs(folder: Path) -> dict[str, dict[str, Any]]:
    """id -> facts of the samples in `folder`. LocalFault `bad-samples`."""
    return {name: facts for name, facts, _ in expected_samples(folder)}


def expected_samples(folder: Path) -> list[tuple[str, dict[str, Any], list[str]]]:
    """(id, facts, reasons it must be denied for) of allowed.json and denied.json, as they lie beside a policy."""
    found: list[tuple[str, dict[str, Any], list[str]]] = []
    for which in ("allowed", "denied"):
        path = folder / f"{which}.json"
        try:
            samples = parse_json(path.read_bytes())[which]
            for name, sample in samples.items():
                facts, reasons = (sample, []) if which == "allowed" else (sample["input"], sample["reasons"])
                # Without one of the three gates it is for the policy's own tests: the host always names one.
                if facts.get("gate") in GATES:
                    found.append((f"{which}: {name}", facts, sorted(reasons)))
        except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise LocalFault(
                "bad-samples", f"{path}: {error!r}", fix='{"allowed": {NAME: facts}}; see docs/policy.md'
            ) from None
    return found
