"""Certificates as files: JSON that a person can look into and anybody can verify with nothing but the mesh's genesis."""

import base64
import binascii
import re
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

from swarmd.node.checkpoint.files import chain_rows, prove_rosters
from swarmd.node.checkpoint.records import Records
from swarmd.node.journal import Journal
from swarmd.protocol import kinds, schema
from swarmd.protocol.batch import Batch, EnvelopeProof, prove
from swarmd.protocol.cbor import decode, encode, encode_ordered
from swarmd.protocol.checkpoint.packing import compress, decompress
from swarmd.protocol.cids import cid_text
from swarmd.protocol.consensus.certificates import (
    CONTRADICTION,
    DECISION,
    FORK,
    RESULT,
    Certificate,
    certificate_from_list,
    certify,
    verify,
    verify_fork,
)
from swarmd.protocol.consensus.roster import Roster
from swarmd.protocol.envelope import Envelope, bucket_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis, parse_genesis
from swarmd.protocol.limits import BUCKETS
from swarmd.protocol.shadow.evidence import DOUBLE_SPEND, contradiction, signed_by, verify_double_spend
from swarmd.protocol.terms import Terms
from swarmd.protocol.work.need import Need

FORMAT = "swarmd-certificate/1"
MAX_FILE_BYTES = 256 * 1_048_576
_BODY = {
    DECISION: "proofs",
    RESULT: "proofs",
    CONTRADICTION: "proofs",
    FORK: "batches",
    DOUBLE_SPEND: "envelopes",
}


# Making --------------------------------------------------------------------------------------------------


def of_decision(terms: Terms, journal: Journal, need: Need) -> dict[str, Any]:
    """The certificate of the decision that holds. LocalFault `undecided`."""
    if need.decided is None:
        raise LocalFault("undecided", f"{need.id} has no decision", fix="swarmd consensus explain says why")
    return _document(terms, journal, _certificate(journal, need, DECISION, need.decided.id))


def of_result(terms: Terms, journal: Journal, need: Need, task: str | None) -> dict[str, Any]:
    """The certificate of a task's accepted result; without a task, of the closing, or of the only task's result.
    LocalFault `no-result`."""
    finals = {name: run.final for name, run in need.runs.items() if run.final is not None}
    if task is None and len(need.runs) == 1:
        task = next(iter(need.runs))
    if task in finals:
        return _document(terms, journal, _certificate(journal, need, RESULT, finals[task].id))
    if task is None and need.closed is not None and need.closed.id:
        return _document(terms, journal, _certificate(journal, need, RESULT, need.closed.id))
    accepted = ", ".join(sorted(finals)) or "none"
    raise LocalFault("no-result", f"{need.id}: no accepted result of {task or 'the whole'}", fix=f"there are: {accepted}")  # fmt: skip


def of_contradiction(terms: Terms, journal: Journal, need: Need, did: str) -> dict[str, Any]:
    """The proof that `did` contradicted itself about a need. LocalFault `no-contradiction`."""
    pair = need.equivocators.get(did)
    if pair is None:
        raise LocalFault(
            "no-contradiction", f"{did} did not contradict itself in {need.id} as far as we know"
        )
    return _document(terms, journal, _certificate(journal, need, CONTRADICTION, *pair))


def of_fork(genesis: Genesis, journal: Journal, did: str) -> dict[str, Any]:
    """The proof that `did` signed two batches for one place of its chain. LocalFault `no-contradiction`."""
    for what, record in journal.proofs():
        if what == "equivocation" and verify_fork(genesis.mesh_id, *record)["who"] == did:
            batches = [_text(encode_ordered(batch)) for batch in record]
            return {**_head(genesis), "what": FORK, "batches": batches}
    found = _double_spend(journal, did)
    if found is not None:
        envelopes = [_text(encode_ordered(proof.to_list())) for proof in found]
        return {**_head(genesis), "what": DOUBLE_SPEND, "envelopes": envelopes}
    raise LocalFault("no-contradiction", f"no forked chain and no double spend of {did} is on record here")


def _double_spend(journal: Journal, did: str) -> tuple[EnvelopeProof, EnvelopeProof] | None:
    """Proofs of two envelopes of `did` that sign two entries of one number, of what is on record since it was pruned."""
    places: dict[bytes, tuple[Batch, int]] = {}
    said: list[Envelope] = []
    for bucket in range(BUCKETS):
        for author, _, batch in journal.bucket_batches(bucket):
            if author == did and isinstance(batch, Batch):
                for index, envelope in enumerate(batch.envelopes):
                    if signed_by(envelope):
                        places[envelope.id] = (batch, index)
                        said.append(envelope)
    pair = contradiction(said)
    return None if pair is None else (prove(*places[pair[0].id]), prove(*places[pair[1].id]))


def _certificate(journal: Journal, need: Need, what: str, *about: bytes) -> Certificate:
    known: dict[bytes, Envelope] = {}
    places: dict[bytes, tuple[Batch, int]] = {}
    for _, _, batch in journal.bucket_batches(bucket_of(need.id)):
        if not isinstance(batch, Batch):
            continue  # damaged: if the certificate takes it, it is reported as missing
        for index, envelope in enumerate(batch.envelopes):
            # A refused second NEED of the owner is no part of this need.
            if envelope.thread == need.id and (envelope.kind != kinds.NEED or envelope.id == need.envelope):
                known[envelope.id] = envelope
                places[envelope.id] = (batch, index)

    def path(envelope: Envelope) -> EnvelopeProof:
        return prove(*places[envelope.id])

    return certify(what, about, need.draws, known, path)


def _head(genesis: Genesis) -> dict[str, Any]:
    return {"format": FORMAT, "mesh": genesis.mesh_name, "genesis": genesis.to_map()}


def _document(terms: Terms, journal: Journal, certificate: Certificate) -> dict[str, Any]:
    later = {draw: terms.rosters[draw] for draw in certificate.draws if draw and draw in terms.rosters}
    document = {
        **_head(terms.genesis),
        "what": certificate.what,
        "about": [_text(ref) for ref in certificate.about],
        "draws": list(certificate.draws),
        "rosters": {str(draw): roster_map(roster) for draw, roster in later.items()},
        "proofs": [_text(encode_ordered(proof.to_list())) for proof in certificate.proofs],
    }
    if later:
        document["checkpoints"] = _text(compress(encode(chain_rows(Records(journal), max(later)))))
    return document


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# Verifying -----------------------------------------------------------------------------------------------


def read_genesis(document: Any) -> Genesis:
    """The genesis that a certificate came with. It proves nothing until its mesh is known to be the right one."""
    _shape(document)
    try:
        genesis = parse_genesis(document["genesis"])
    except LocalFault as fault:
        raise RemoteFault("bad-certificate", f"its genesis: {fault.message}") from None
    if genesis.mesh_name != document["mesh"]:
        raise RemoteFault("bad-certificate", "its genesis is not that of the mesh it names")
    return genesis


def check(genesis: Genesis, document: Any, trusted: Collection[str] = ()) -> dict[str, Any]:
    """What a document shows the members of the mesh of `genesis`. RemoteFault with a stable code if it does not.

    Genesis fixes the roster of epoch 0. Of a later epoch the document brings the roster, which counts only if the checkpoints
    that it brings too prove it from genesis on, or if its digest is among `trusted`; else `unproven-roster`.
    """
    what = _shape(document)
    if document["mesh"] != genesis.mesh_name:
        raise RemoteFault("other-mesh", f"it is of mesh {document['mesh']}, not of {genesis.mesh_name}")
    body = [_decoded(text) for text in document[_BODY[what]]]
    if what == FORK:
        if len(body) != 2:
            raise RemoteFault("bad-certificate", "a fork takes two batches")
        return verify_fork(genesis.mesh_id, *body)
    if what == DOUBLE_SPEND:
        if len(body) != 2:
            raise RemoteFault("bad-certificate", "a double spend takes two envelopes")
        return verify_double_spend(genesis.mesh_id, *body)
    about = [_bytes(text) for text in document["about"]]
    certificate = certificate_from_list([what, about, document["draws"], body])
    chain = document.get("checkpoints")
    proven = {} if chain is None else prove_rosters(genesis, _rows(chain))
    return verify(_terms(genesis, document["rosters"], proven, trusted), certificate)


def _rows(text: Any) -> Any:
    if type(text) is not str:
        raise RemoteFault("bad-certificate", "checkpoints must be a text in base64")
    return decode(decompress(_bytes(text), MAX_FILE_BYTES))


def _terms(
    genesis: Genesis, rosters: dict[str, Any], proven: Mapping[int, Roster], trusted: Collection[str]
) -> Terms:
    terms = Terms(genesis)
    terms.rosters = {0: terms.rosters[0]}
    for name, value in rosters.items():
        epoch, roster = int(name), _roster(value)
        digest = roster_digest(roster)
        if digest not in trusted and proven.get(epoch) != roster:
            raise RemoteFault(
                "unproven-roster",
                f"epoch {epoch} has roster {digest}, and nothing here says that it is the mesh's",
            )
        terms.rosters[epoch] = roster
    return terms


def roster_map(roster: Roster) -> dict[str, Any]:
    """A roster as JSON has it."""
    return {
        "members": list(roster.members),
        "weights": dict(sorted(roster.weights.items())),
        "bootstrap": roster.bootstrap,
        "beacon": roster.beacon.hex(),
    }


def roster_digest(roster: Roster) -> str:
    """SHA-256 of a roster's canonical CBOR, in hexadecimal: nodes that print the same have the same."""
    return sha256(b"swarmd/roster/1\0" + encode(roster_map(roster))).hexdigest()


def _roster(value: Any) -> Roster:
    try:
        _roster_shape(value, "rosters")
        beacon = bytes.fromhex(value["beacon"])
    except (RemoteFault, ValueError) as error:
        raise RemoteFault("bad-certificate", str(error)) from None
    members = tuple(value["members"])
    if list(members) != sorted(set(members)):
        raise RemoteFault("bad-certificate", "a roster must be sorted, each member once")
    return Roster(members, value["weights"], value["bootstrap"], beacon)


def _flag(value: Any, _: object) -> None:
    if type(value) is not bool:
        raise RemoteFault("bad-payload", "bootstrap: true or false")


_roster_shape = schema.record(
    {
        "members": schema.list_of(schema.did, 1, 4096),
        "weights": schema.map_of(schema.did, schema.uint(1 << 20), 0, 4096),
        "bootstrap": _flag,
        "beacon": schema.text(64),
    }
)


def _shape(document: Any) -> str:
    """What it says it shows; RemoteFault `bad-certificate` unless it has the form of one."""
    if type(document) is not dict or document.get("format") != FORMAT:
        raise RemoteFault("bad-certificate", f"no {FORMAT}")
    what = document.get("what")
    body = _BODY.get(what) if type(what) is str else None
    if body is None:
        raise RemoteFault("bad-certificate", f"it must show one of {', '.join(_BODY)}")
    for name in (body,) if body != "proofs" else (body, "about"):
        if type(document.get(name)) is not list or any(type(text) is not str for text in document[name]):
            raise RemoteFault("bad-certificate", f"{name} must be a list of texts in base64")
    if body == "proofs":
        rosters = document.get("rosters")
        if type(rosters) is not dict or any(
            re.fullmatch("[1-9][0-9]{0,17}", name) is None for name in rosters
        ):
            raise RemoteFault("bad-certificate", "rosters must be a map of epochs after 0")
        if type(document.get("draws")) is not list:
            raise RemoteFault("bad-certificate", "draws must be a list of epochs")
    if type(document.get("mesh")) is not str:
        raise RemoteFault("bad-certificate", "it names no mesh")
    return str(what)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RemoteFault("bad-certificate", "not base64") from None


def _decoded(text: str) -> Any:
    return decode(_bytes(text))


# Evidence ------------------------------------------------------------------------------------------------


def evidence(
    genesis: Genesis,
    journal: Journal,
    needs: Iterable[Need],
    spent: Iterable[tuple[str, int]] = (),
    signers: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Who is on record for contradicting itself, and about what: forked chains first, then votes and proposals, then
    money: `spent` are (owner, seq) of double spends, `signers` members who signed both of one."""
    found = []
    for what, record in journal.proofs():
        if what == "equivocation":
            fork = verify_fork(genesis.mesh_id, *record)
            at = f"batch {fork['seq']} of bucket {fork['bucket']}"
            found.append({"what": FORK, "who": fork["who"], "need": "", "at": at})
    for need in needs:
        for did, pair in sorted(need.equivocators.items()):
            said = " and ".join(cid_text(each) for each in pair)
            found.append({"what": CONTRADICTION, "who": did, "need": need.id, "at": said})
    for owner, seq in sorted(spent):
        found.append({"what": DOUBLE_SPEND, "who": owner, "need": "", "at": f"entry {seq} of its account"})
    for did in sorted(signers):
        found.append({"what": DOUBLE_SPEND, "who": did, "need": "", "at": "signed two entries of one number"})
    return found
