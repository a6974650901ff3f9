"""What the daemon answers to programs on its host: shapes, and that nothing damaged is shown as verified."""

import re

import pytest
import trio
from swarmd.node.daemon import Daemon
from swarmd.node.resume import RESUME_FILE
from swarmd.protocol.cids import parse_cid
from swarmd.protocol.envelope import bucket_of
from swarmd.protocol.faults import CorruptState, LocalFault

HEX64 = re.compile(r"[0-9a-f]{64}")
DECIMAL = re.compile(r"\d+(\.\d{1,6})?")
NEED_ROW = {
    "need": re.compile(r"need-[a-z2-7]+"),
    "title": str,
    "state": str,
    "owner": re.compile("did:key:z.+"),
    "budget": DECIMAL,
    "paid": DECIMAL,
    "tasks": int,
    "done": int,
    "created_ns": int,
    "waiting_for": str,
}
TIMES = {"decide_ms": float, "finalize_ms": float}
ESCROW = {
    "state": "released",
    "amount": DECIMAL,
    "held": "0",
    "returned": DECIMAL,
    "paid": [{"task": str, "worker": str, "amount": DECIMAL}],
}
ANCHOR = {
    "tx_hash": re.compile("0x[0-9a-f]{64}"),
    "block": int,
    "root": HEX64,
    "chain_id": 1337,
    "contract": re.compile("0x[0-9a-fA-F]{40}"),
    "receipts": 1,
}
TASK_ROW = {
    "task": str,
    "capability": "echo",
    "state": "FINALIZED",
    "worker": str,
    "price": "0.01",
    "attempt": 0,
    "result": re.compile("baf.+"),
    "after": list,
    "telemetry": dict,
    "ended": [],
    "judges": [{"judge": str, "verdict": "accept", "score": 100, "reason": str}],
}
DETAIL = {
    **NEED_ROW,
    **TIMES,
    "deadline_ns": int,
    "reason": "",
    "tasks": [TASK_ROW],
    "escrow": ESCROW,
    "result": {"b": re.compile("baf.+")},
    "anchor": ANCHOR,
    "anchor_note": str,
    "values": {"b": {"text": "hello"}},
}
STEP = {
    "at_ns": int,
    "kind": str,
    "id": re.compile("baf.+"),
    "sender": str,
    "task": str,
    "lamport": int,
    "text": str,
    "refs": list,
    "verified": True,
    "void": None,
    "trace": str,
    "gate": {"allow": True, "reasons": [], "gas": int, "policy": HEX64},
}
SHAPES = {
    "version": {"version": str, "protocol": 1},
    "digest": {"mesh_digest": HEX64, "state_digest": HEX64, "needs": 1, "parked": 0},
    "need.list": {"needs": [NEED_ROW], "total": 1},
    "need.wait": {**NEED_ROW, **TIMES},
    "need.show": DETAIL,
    "balance": {
        "did": str, "available": DECIMAL, "pending": "0", "locked": "0", "earned": DECIMAL, "spent": DECIMAL,
        "minor": {"available": int, "pending": 0, "locked": 0, "earned": int, "spent": int},
        "entries": 1, "reputation": int, "double_spends": 0,
    },
    "peers": {
        "peers": [
            {
                "peer_id": str, "did": str, "addrs": list, "direction": re.compile("inbound|outbound"),
                "rtt_ms": (float, int), "score": (float, int), "faults": {}, "frames_in": int, "frames_out": int,
                "bytes_in": int, "bytes_out": int, "connected_s": float, "offers": list,
            }
        ]
    },
    "why": {
        "need": str, "title": str, "state": "FINALIZED", "reason": "", "waiting_for": "", "steps": [STEP],
        "money": ESCROW, "anchor": ANCHOR, "anchor_note": str,
    },
}  # fmt: skip
STATUS = {
    "version": str, "did": str, "peer_id": str, "addrs": list, "mesh": {"id": str, "name": "test"}, "epoch": 0,
    "uptime_s": int, "peers": 1, "needs": {"FINALIZED": 1}, "refused_needs": 0, "parked": 0, "agents": 1,
    "capabilities": ["echo"], "roles": ["verifier"], "roster": 2, "lamport": int, "mesh_digest": HEX64,
    "state_digest": HEX64, "balance": DECIMAL, "chain": dict, "policy_hash": HEX64,
    "journal": {"inputs": int, "bytes": int, "proofs": 0}, "ingress": {"faults": {}, "duplicates": int, "dropped": 0},
    "sync": {"rounds": int, "repaired": int}, "trouble": "", "bridge": None, "manifests": 2, "counters": dict, "bus_ms": dict,
    "bus_buckets": dict, "k_plan": 1, "k_result": 1, "bootstrap": True, "pool": dict,
}  # fmt: skip


def check(value, shape, path):
    """Does `value` have `shape`: a type, a pattern, a value, or a map or list of shapes?"""
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        assert value.keys() >= shape.keys(), (path, shape.keys() - value.keys())
        for name, inner in shape.items():
            check(value[name], inner, f"{path}.{name}")
    elif isinstance(shape, list) and shape:
        assert isinstance(value, list) and value, path
        for index, item in enumerate(value):
            check(item, shape[0], f"{path}[{index}]")
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str) and shape.fullmatch(value), (path, value)
    elif isinstance(shape, type | tuple):
        assert isinstance(value, shape), (path, value)
    else:
        assert value == shape, (path, value)


@pytest.fixture
def finished(mesh, task, echo):
    """A mesh of two and a need of two tasks that is done and anchored: (mesh, need)."""

    async def make(count=2):
        made = await mesh(count)
        for index, node in enumerate(made):
            await node.attach(echo(f"agent{index}"))
        await made.until_met()
        second = task("b", input={"text": {"task": "a", "pointer": "/text"}})
        need = await made[0].post(task("a"), second, title="two steps")
        await made[0].finish(need)
        await made[0].until_anchored(need)
        await made.until_agreed()
        return made, need

    return make


async def test_the_shapes_of_the_answers(finished):
    made, need = await finished()
    for op, shape in SHAPES.items():
        args = {"need": need} if op in ("need.wait", "need.show", "why") else {}
        check(await made[0].call(op, **args), shape, op)
    check(await made[0].call("status"), STATUS, "status")
    # By an unambiguous beginning, on another node, which asks for the content it lacks.
    shown = await made[1].call("need.show", need=need[:12])
    assert shown["need"] == need
    data = (await made[1].call("content.cat", cid=shown["result"]["b"]))["data"]
    assert (data, parse_cid(shown["result"]["b"])[0]) == (b'{"text":"hello"}', 1)
    assert (await made[0].call("need.list", state="refunded")) == {"needs": [], "total": 0, "next": None}
    money = [(await node.call("balance"))["minor"] for node in made]
    assert sum(each["available"] for each in money) == sum(made.genesis.balances.values())
    assert (money[0]["spent"], sum(each["earned"] for each in money)) == (20_000, 20_000)


async def test_watching_a_need(mesh, task, echo):
    [node] = await mesh(1)
    await node.attach(echo())
    need = await node.post(task())
    with trio.fail_after(15):
        async with node.connect() as client:
            events = [event async for event in client.stream("need.watch", {"need": need})]
    *steps, last = events
    for step in steps:
        check(
            step,
            {"at_ns": int, "kind": str, "task": str, "sender": node.did, "text": str, "state": str},
            "event",
        )
    kinds = [step["kind"] for step in steps]
    assert (kinds[0], kinds[-1], kinds.count("COMMIT")) == ("NEED", "FINALIZE", 1)
    shape = {**DETAIL, "title": "echo", "anchor": object, "anchor_note": object, "result": dict}
    check(last, {**shape, "values": {"t": {"text": "hello"}}}, "last")


async def test_watching_a_topic(mesh, task, echo):
    """What another node says arrives by its topic; what is of another verb does not."""
    made = await mesh(2)
    await made[1].attach(echo())
    events = []
    with trio.fail_after(20):
        async with made[0].connect() as client:
            stream = client.stream("topic.watch", {"topic": "/swarm/thread/+/commit", "count": 1})
            async with trio.open_nursery() as nursery:

                async def follow():
                    events.extend([event async for event in stream])

                nursery.start_soon(follow)
                # The daemon reads its socket in order: the watch stands before the need.
                need = (await client.call("need.post", {"spec": {"budget": "1.00", "tasks": [task()]}}))[
                    "need"
                ]
    event, end = events
    assert event["topic"] == f"/swarm/thread/{need}/commit" and event["sender"] == made[1].did
    assert end == {"lost": 0} and list(made[0].daemon.api.topics) == []


REFUSALS = [
    ("topic.watch", {"topic": "/swarm/x"}, "bad-topic"),
    ("topic.watch", {"topic": 7}, "usage"),
    ("topic.watch", {"topic": "/swarm/thread/#", "count": -1}, "usage"),
    ("need.show", {"need": "need-nope"}, "unknown-need"),
    ("need.show", {}, "bad-args"),
    ("need.wait", {"need": 7}, "bad-args"),
    ("need.watch", {"need": "x" * 5}, "unknown-need"),
    ("need.list", {"limit": -1}, "bad-args"),
    ("need.post", {"spec": {"tasks": []}}, "bad-need"),
    ("need.post", {}, "bad-need"),
    ("need.post", {"spec": {"budget": "9999999", "tasks": [{"capability": "echo"}]}}, "insufficient-funds"),
    ("content.cat", {"cid": "zzz"}, "bad-cid"),
    ("content.cat", {"cid": ["x"]}, "bad-cid"),
    ("balance", {"did": "bob"}, "bad-did"),
    ("balance", {"did": 7}, "bad-did"),
    ("nonsense", {}, "unknown-op"),
]


async def test_what_cannot_be_answered(mesh):
    [node] = await mesh(1)
    inputs = node.daemon.journal.size()[0]
    for op, args, code in REFUSALS:
        assert (await node.refused(op, **args)).code == code, (op, args)
    assert node.daemon.journal.size()[0] == inputs


def flip(body, at):
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


async def test_sync_says_what_keeps_us_from_taking_what_comes(mesh, monkeypatch):
    [node] = await mesh(1)

    async def full(told):
        raise LocalFault("disk-full", "no room for what came")

    monkeypatch.setattr(node.daemon.sync, "now", full)
    assert (await node.refused("sync")).code == "disk-full"


async def test_a_flipped_byte_is_never_shown_as_verified(finished):
    """At every place of a stored batch: its envelopes, its header, its seal."""
    made, need = await finished(1)
    node = made[0]
    db = node.daemon.journal.db
    sound = (await node.call("why", need=need))["steps"]
    assert all(step["verified"] for step in sound)
    rows = db.execute(
        "select rowid, * from (select author, epoch, bucket, seq, body from batches)"
    ).fetchall()
    assert rows
    key = "author = ? and epoch = ? and bucket = ? and seq = ?"
    [(author, epoch, bucket, seq, body)] = db.execute(
        "select author, epoch, bucket, seq, body from batches where bucket = ? order by seq limit 1",
        (bucket_of(need),),
    ).fetchall()
    for at in range(0, len(body), max(1, len(body) // 60)):
        db.execute(f"update batches set body = ? where {key}", (flip(body, at), author, epoch, bucket, seq))
        steps = (await node.call("why", need=need))["steps"]
        doubted = [step for step in steps if not step["verified"]]
        assert doubted, f"byte {at}"
        assert all(step in sound for step in steps if step["verified"])
        if doubted[0]["kind"] == "DAMAGED":
            assert "cannot be read" in doubted[0]["text"]
        assert (await node.call("need.show", need=need))["state"] == "FINALIZED"


async def test_a_damaged_batch_of_another_is_refused_when_it_is_replayed(finished):
    """What it said itself it has in its inputs."""
    made, _ = await finished()
    node = made[0]
    db = node.daemon.journal.db
    row, body = db.execute(
        "select batches.rowid, body from batches join authors on author = id where did <> ? limit 1",
        (node.did,),
    ).fetchone()
    db.execute("update batches set body = ? where rowid = ?", (flip(body, len(body) // 3), row))
    await node.stop()
    (node.settings.home / RESUME_FILE).unlink(missing_ok=True)
    with pytest.raises(CorruptState, match=r"journal\.db: a batch is damaged") as caught:
        Daemon(node.settings)
    assert "backup" in caught.value.fix


async def test_a_damaged_input_is_refused_at_the_start(finished):
    made, _ = await finished(1)
    node = made[0]
    node.daemon.journal.db.execute("update inputs set record = x'ff' where id = 2")
    await node.stop()
    (node.settings.home / RESUME_FILE).unlink(missing_ok=True)
    with pytest.raises(CorruptState, match="no input"):
        Daemon(node.settings)
