"""Proofs of a daemon's own threads: made by it, verified by anybody."""

import base64
import io

import pytest
from swarmd.node.content.car import car_block, car_header, read_car
from swarmd.node.proofs import MAX_PROOF_BYTES, verify_proof_file
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import cid_text, dag_cbor_cid
from swarmd.protocol.faults import RemoteFault


@pytest.fixture
async def finished(mesh, task, echo):
    """(mesh, need) after its end and anchor, which is part of the thread, on two nodes that agree."""
    made = await mesh(2)
    await made[1].attach(echo())
    await made.until_met()
    need = await made[0].post(task())
    await made[0].finish(need)
    await made[0].until_anchored(need)
    await made.until_agreed()
    return made, need


def parts(data: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    car = read_car(io.BytesIO(data))
    return list(car.roots), dict(car.blocks)


def packed(roots: list[bytes], blocks: dict[bytes, bytes]) -> bytes:
    return car_header(roots) + b"".join(car_block(cid, block) for cid, block in blocks.items())


async def test_every_envelope_of_a_thread_is_proven_and_all_nodes_give_one_root(finished):
    mesh, need = finished
    roots = [await node.call("proof.root", need=need) for node in mesh]
    assert roots[0] == roots[1] and roots[0]["thread"] == need
    thread = mesh[0].runner.journal.thread(need)
    assert roots[0]["count"] == len(thread) >= 7
    for index, envelope in enumerate(thread):
        made = await mesh[1].call("proof.make", need=need[:12], envelope=cid_text(envelope.id))
        proven = verify_proof_file(base64.b64decode(made["car"]))
        assert proven.membership.envelope == envelope and proven.membership.index == index
        assert cid_text(proven.membership.root) == roots[0]["root"] == made["root"]
        assert proven.mesh_id == mesh.genesis.mesh_id
    kind = await mesh[0].call("proof.make", need=need, envelope="finalize")
    assert kind["kind"] == "FINALIZE"


async def test_a_proof_that_was_touched_does_not_hold(finished):
    mesh, need = finished
    made = await mesh[0].call("proof.make", need=need, envelope="NEED")
    other = await mesh[0].call("proof.make", need=need, envelope="FINALIZE")
    data, foreign = base64.b64decode(made["car"]), base64.b64decode(other["car"])
    roots, blocks = parts(data)
    assert packed(roots, blocks) == data
    statement = decode(blocks[roots[1]])
    for change in (
        {"mesh": bytes(32)},
        {"mesh": b"short"},
        {"index": statement["index"] + 1},
        {"count": statement["count"] + 1},
        {"path": [bytes(32)]},
        {"header": statement["header"][:-1]},
        {"seal": "none"},
        {"v": 2},
        {"envelope": decode(parts(foreign)[1][parts(foreign)[0][1]])["envelope"]},
        {"more": 1},
    ):
        forged = encode({**statement, **change})
        rest = {cid: block for cid, block in blocks.items() if cid != roots[1]}
        bad = packed([roots[0], dag_cbor_cid(forged)], {**rest, dag_cbor_cid(forged): forged})
        with pytest.raises(RemoteFault):
            verify_proof_file(bad)
    for bad in (
        b"",
        data[:-1],
        data[: len(data) // 2],
        packed(roots[:1], blocks),
        packed(roots[::-1], blocks),
        packed([roots[0], parts(foreign)[0][1]], blocks),
        packed(roots, {cid: block for cid, block in blocks.items() if cid != roots[1]}),
        packed(roots, {**blocks, **{dag_cbor_cid(encode(i)): encode(i) for i in range(20)}}),
        data + bytes(MAX_PROOF_BYTES),
    ):
        with pytest.raises(RemoteFault):
            verify_proof_file(bad)
    assert cid_text(verify_proof_file(data).membership.root) == made["root"]


async def test_what_cannot_be_proven_is_said(finished):
    mesh, need = finished
    node = mesh[0]
    assert (await node.refused("proof.root", need="need-zzzz")).code == "unknown-need"
    assert (await node.refused("proof.make", need=need, envelope="CHALLENGE")).code == "not-in-thread"
    assert (await node.refused("proof.make", need=need, envelope="bafy")).code == "not-in-thread"
    assert (await node.refused("proof.make", need=need)).code == "bad-args"
