"""Proofs that an envelope belongs to a need's thread, as CAR files that anybody can verify offline.

A file holds the pages of the thread's DAG from its root down, the envelope, and a statement: who signed the envelope, by
the merkle path to its author's signature (`protocol.batch.EnvelopeProof`). Its two roots are the thread's and the
statement's. All of it is dag-cbor with links, so kubo, js-ipfs or any IPLD tool can take it in and walk it.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from swarmd.node.content.car import car_block, car_header, read_car
from swarmd.node.journal import Journal
from swarmd.protocol import thread_dag
from swarmd.protocol.batch import Batch, proof_from_list, prove, verify_proof
from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.thread_dag import Membership, ThreadDag

# An envelope of a MiB, its pages, and its signature.
MAX_PROOF_BYTES: Final = 2 * 1_048_576
MAX_PROOF_BLOCKS: Final = 16
_VERSION: Final = 1
_STATEMENT_FIELDS: Final = {"v", "mesh", "envelope", "index", "count", "path", "header", "seal"}


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof file shows, all of it checked."""

    membership: Membership
    mesh_id: bytes  # 32 bytes: of the mesh that the signature was made for

    def to_json(self) -> Mapping[str, Any]:
        envelope = self.membership.envelope
        return {
            "root": cid_text(self.membership.root),
            "thread": self.membership.thread,
            "envelope": cid_text(envelope.id),
            "index": self.membership.index,
            "count": self.membership.count,
            "kind": envelope.kind,
            "sender": envelope.sender,
            "lamport": envelope.lamport,
            "ts_ns": envelope.ts_ns,
            "mesh": self.mesh_id.hex(),
        }


def thread_of(journal: Journal, need: str) -> ThreadDag:
    """The DAG of all envelopes of a need on record. LocalFault `unknown-need` if there are none."""
    envelopes = journal.thread(need)
    if not envelopes:
        raise LocalFault("unknown-need", f"nothing on record of {need}", fix="swarmd need list")
    return thread_dag.build(need, envelopes)


def make_proof(journal: Journal, mesh_id: bytes, need: str, envelope_id: bytes) -> bytes:
    """The proof file of one envelope. LocalFault `unknown-need`, `not-in-thread`."""
    dag = thread_of(journal, need)
    path = thread_dag.path_to(dag, envelope_id)
    batch, index = _batch_of(journal, need, envelope_id)
    raw, position, count, siblings, header, seal = prove(batch, index).to_list()
    statement = encode(
        {
            "v": _VERSION,
            "mesh": mesh_id,
            "envelope": Link(envelope_id),
            "index": position,
            "count": count,
            "path": siblings,
            "header": header,
            "seal": seal,
        }
    )
    signed = dag_cbor_cid(statement)
    blocks = [(cid, dag.pages[cid]) for cid in path] + [(envelope_id, raw), (signed, statement)]
    return car_header([dag.root, signed]) + b"".join(car_block(cid, block) for cid, block in blocks)


def _batch_of(journal: Journal, need: str, envelope_id: bytes) -> tuple[Batch, int]:
    for _, _, batch in journal.bucket_batches(bucket_of(need)):
        if isinstance(batch, Batch):
            for index, envelope in enumerate(batch.envelopes):
                if envelope.id == envelope_id:
                    return batch, index
    raise LocalFault("not-in-thread", f"{cid_text(envelope_id)} is not on record")


def verify_proof_file(data: bytes) -> Proven:
    """What the file shows. RemoteFault `bad-proof`, or one of `read_car`, with what does not hold.

    That the thread's root is the one you mean, and the mesh yours, is for you to compare.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise RemoteFault("bad-proof", f"{len(data)} bytes; a proof has at most {MAX_PROOF_BYTES}")
    car = read_car(io.BytesIO(data))
    if len(car.roots) != 2:
        raise RemoteFault("bad-proof", "its roots are not a thread's and a statement's")
    root, signed = car.roots
    blocks: dict[bytes, bytes] = {}
    for cid, block in car.blocks:
        blocks[cid] = block
        if len(blocks) > MAX_PROOF_BLOCKS:
            raise RemoteFault("bad-proof", f"over {MAX_PROOF_BLOCKS} blocks")
    statement = _statement(blocks.pop(signed, None))
    envelope_id = bytes(statement["envelope"])
    membership = thread_dag.verify(root, envelope_id, blocks.get)
    proof = [
        membership.envelope.raw,
        *(statement[name] for name in ("index", "count", "path", "header", "seal")),
    ]
    if verify_proof(statement["mesh"], proof_from_list(proof)).id != envelope_id:
        raise RemoteFault("bad-proof", "the signature is of another envelope")
    return Proven(membership, statement["mesh"])


def _statement(block: bytes | None) -> dict[str, Any]:
    if block is None:
        raise RemoteFault("bad-proof", "the statement of who signed is lacking")
    statement = decode(block)
    if type(statement) is not dict or set(statement) != _STATEMENT_FIELDS or statement["v"] != _VERSION:
        raise RemoteFault("bad-proof", "no statement of version 1")
    mesh = statement["mesh"]
    if type(mesh) is not bytes or len(mesh) != 32 or type(statement["envelope"]) is not Link:
        raise RemoteFault("bad-proof", "the statement names no mesh, or no envelope")
    return statement
