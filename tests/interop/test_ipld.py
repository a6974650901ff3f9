"""Threads and proofs of ours, read by other IPLD software: kubo, and the JavaScript of @ipld."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from swarmd.node.content.car import car_block, car_header
from swarmd.node.proofs import make_proof, thread_of, verify_proof_file
from swarmd.protocol.batch import GENESIS_PREV, sign_flush
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import cid_text, raw_cid
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import Envelope, bucket_of, build, need_id

HERE = Path(__file__).parent
MESH = b"m" * 32
COUNT = 200  # more than a page


def lacking(what: str) -> None:
    message = f"{what} is not set up: run make interop"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def verify_js():
    """verify_js(file) -> the finished process."""
    if shutil.which("node") is None or not (HERE / "ipld" / "node_modules" / "@ipld").is_dir():
        lacking("@ipld/dag-cbor")

    def verify(file: Path) -> subprocess.CompletedProcess[str]:
        command = ["node", str(HERE / "ipld" / "verify.mjs"), str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return verify


class Record:
    """The part of a journal that proofs are made of."""

    def __init__(self) -> None:
        from nacl.signing import SigningKey

        key = SigningKey(bytes(range(32)))
        did = did_of(bytes(key.verify_key))
        self.need = need_id(did, 0)
        self.envelopes: list[Envelope] = []
        groups = []
        for lamport in range(1, COUNT + 1):
            refs = (self.envelopes[-1].id,) if self.envelopes else ()
            self.envelopes.append(
                build(
                    kind="COMMIT",
                    thread=self.need,
                    sender=did,
                    lamport=lamport,
                    ts_ns=1_760_000_000_000_000_000 + lamport,
                    epoch=0,
                    payload={
                        "task": "t",
                        "result": Link(raw_cid(b"a result")),
                        "size": 8,
                        "telemetry": {"wall_ms": 1, "cpu_ms": 1, "max_rss_kb": 1, "output_bytes": 8},
                    },
                    refs=refs,
                    policy=bytes(32),
                    eval_digest=bytes(32),
                )
            )
        bucket = bucket_of(self.need)
        seq, prev = 0, GENESIS_PREV
        self.batches = []
        for start in range(0, COUNT, 50):
            groups = [(0, bucket, seq, prev, self.envelopes[start : start + 50])]
            _, made = sign_flush(MESH, did, groups, lambda data: key.sign(data).signature)
            self.batches += made
            seq, prev = seq + 1, made[-1].hash
        self.did = did

    def thread(self, need: str) -> list[Envelope]:
        return self.envelopes if need == self.need else []

    def bucket_batches(self, bucket: int):
        return ((self.did, number, batch) for number, batch in enumerate(self.batches))


@pytest.fixture(scope="module")
def record() -> Record:
    return Record()


async def test_kubo_walks_a_thread_to_its_content(kubo, record):
    dag = thread_of(record, record.need)
    blocks = {**dag.pages, **{each.id: each.raw for each in record.envelopes}}
    data = car_header([dag.root]) + b"".join(car_block(*block) for block in blocks.items())
    await kubo.call("dag", "import", "--pin-roots=false", data=data)
    root = cid_text(dag.root)
    assert json.loads(await kubo.call("dag", "get", f"{root}/thread")) == record.need
    for index in (0, 63, 64, COUNT - 1):
        path = f"{root}/links/{index // 64}/links/{index % 64}"
        shown = json.loads(await kubo.call("dag", "get", path))
        assert (shown["kind"], shown["lamport"], shown["sender"]) == ("COMMIT", index + 1, record.did)
        # Content is a link, and so is the envelope before.
        assert shown["payload"]["result"] == {"/": cid_text(raw_cid(b"a result"))}
        if index:
            before = json.loads(await kubo.call("dag", "get", f"{path}/refs/0"))
            assert before["lamport"] == index
    listed = (await kubo.call("refs", "--recursive", "--offline", "--max-depth=2", root)).decode().split()
    assert {cid_text(each.id) for each in record.envelopes} <= set(listed)


async def test_kubo_takes_a_proof_and_shows_what_is_in_it(kubo, record):
    envelope = record.envelopes[150]
    data = make_proof(record, MESH, record.need, envelope.id)
    proven = verify_proof_file(data)
    await kubo.call("dag", "import", "--pin-roots=false", data=data)
    root = cid_text(proven.membership.root)
    index = proven.membership.index
    shown = json.loads(await kubo.call("dag", "get", f"{root}/links/{index // 64}/links/{index % 64}"))
    assert (index, shown["lamport"]) == (150, 151)
    stat = json.loads(await kubo.call("block", "stat", "--enc=json", cid_text(envelope.id)))
    assert stat["Size"] == len(envelope.raw)


@pytest.mark.parametrize("index", [0, 64, COUNT - 1])
def test_javascript_verifies_a_proof(verify_js, record, tmp_path, index):
    envelope = record.envelopes[index]
    file = tmp_path / "proof.car"
    file.write_bytes(make_proof(record, MESH, record.need, envelope.id))
    done = verify_js(file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "root": cid_text(thread_of(record, record.need).root),
        "thread": record.need,
        "count": COUNT,
        "index": index,
        "envelope": cid_text(envelope.id),
        "kind": "COMMIT",
        "sender": record.did,
        "refs": [cid_text(ref) for ref in envelope.refs],
    }


def test_javascript_refuses_one_that_was_touched(verify_js, record, tmp_path):
    data = bytearray(make_proof(record, MESH, record.need, record.envelopes[70].id))
    data[data.rindex(b"COMMIT")] ^= 1
    file = tmp_path / "proof.car"
    file.write_bytes(data)
    done = verify_js(file)
    assert done.returncode == 1 and "do not hash" in done.stderr
