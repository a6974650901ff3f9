"""Strangers with the right mesh id and bad intent: daemons live, honest needs finish, they are scored down (P10)."""

import os
import time

import cbor2
import pytest
import trio
from swarmd.node.content.wire import content_request
from swarmd.node.ports import PeerGone
from swarmd.protocol import cids, limits
from swarmd.protocol.batch import batch_to_list, parse_sealed
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import cid_text
from swarmd.protocol.digest import mesh_digest
from swarmd.protocol.envelope import bucket_of, need_id
from swarmd.protocol.faults import RemoteFault

pytestmark = pytest.mark.property_id("P10")

OBJECT = {"type": "schema", "schema": {"type": "object"}}


@pytest.fixture
def honest(mesh, task, echo):
    """Two honest daemons at work: honest(...) -> (mesh, check) where `check` sees that work still gets done."""

    async def make(**settings):
        two = await mesh(2, **settings)
        for index, node in enumerate(two):
            await node.attach(echo(f"agent{index}"))
        await two.until_met()

        async def check():
            needs = [(node, await node.post(task(), budget="0.10")) for node in two]
            for node, need in needs:
                shown = await node.finish(need)
                assert shown["state"] == "FINALIZED"
            await two.until_agreed()
            two.check_money()
            for one, other in (two.nodes, two.nodes[::-1]):
                assert one.daemon.transport.scores.faults(other.daemon.transport.peer_id) == {}
            assert all(node.daemon.transport.restarts == 0 for node in two)

        return two, check

    return make


def tampered(frame):
    value = decode(frame)
    value[1] = value[1][:-1] + bytes([value[1][-1] ^ 1])
    return encode(value)


# name -> (the frames, how often, the fault it is charged with at the daemon that hears it)
FRAMES = {
    "garbage": (lambda s: [os.urandom(200)], 12, None),
    "not-cbor": (lambda s: [b"\xff" * 40], 12, "bad-cbor"),
    "unknown": (lambda s: [encode([9, os.urandom(8)])], 12, "unknown-frame"),
    "oversized": (lambda s: [os.urandom(3 * 1_048_576)], 2, None),
    "mis-signed": (lambda s: [tampered(s.flush(s.need(seq))[0]) for seq in range(12)], 1, "bad-signature"),
    "future": (lambda s: [s.flush(s.need(seq, ts_ns=time.time_ns() + 3_600 * limits.S_NS))[0] for seq in range(12)], 1, "future-dated"),
    "lamport": (lambda s: [s.flush(s.need(seq, lamport=limits.MAX_LAMPORT - 1))[0] for seq in range(12)], 1, "lamport-jump"),
    "manifest": (lambda s: [encode([2, s.manifest()[:70], bytes(64)])], 12, None),
    "misplaced": (lambda s: [s.flush(s.envelope("NEED", need_id(s.did, 7), {**s.need().payload}))[0]], 1, "misplaced-need"),
}  # fmt: skip


async def test_frames(honest, stranger, wait_until):
    two, check = await honest()
    for name, (frames, times, code) in FRAMES.items():
        async with stranger(two.genesis).connected(*two) as bad:
            await check() if name == "garbage" else None
            for frame in frames(bad):
                for _ in range(times):
                    await bad.transport.publish(frame)
                    await trio.sleep(0.002)
            for node in two:
                await wait_until(lambda node=node: bad.faults(node), f"{name} is charged")
                assert code is None or code in bad.faults(node), (name, bad.faults(node))
                assert bad.score(node) < 1.0
            if code not in ("misplaced-need",):
                await wait_until(lambda: all(bad.is_cut_off(node) for node in two), f"{name} is cut off")
            assert not any(need.owner == bad.did for node in two for need in node.state.needs.values())
    await check()


async def test_replays_and_strangers_without_money(honest, stranger, wait_until):
    """What is known is not news, and a need without money waits, harms nobody, and is the same everywhere."""
    two, check = await honest()
    async with stranger(two.genesis).connected(*two) as bad:
        await check()
        await wait_until(lambda: len(bad.frames) > 5, "it hears the mesh")
        before = mesh_digest(two[0].state)
        for frame in bad.frames * 5:
            await bad.transport.publish(frame)
        poor, _ = bad.flush(bad.need())
        await bad.transport.publish(poor)
        await wait_until(
            lambda: all(need_id(bad.did, 0) in node.state.needs for node in two), "its need is known"
        )
        assert mesh_digest(two[0].state) != before
        for node in two:
            waits = node.state.needs[need_id(bad.did, 0)]
            assert (waits.state(), waits.waiting_for[:9]) == ("OPEN", "the owner")
            assert (
                bad.did not in node.state.ledger.accounts or node.state.ledger.account(bad.did).available == 0
            )
        await check()


async def test_equivocation_is_proven_and_ends_the_acquaintance(honest, stranger, wait_until):
    two, check = await honest()
    async with stranger(two.genesis).connected(*two) as bad:
        for budget in (10_000, 20_000, 30_000):
            frame, _ = bad.flush(bad.need(budget=budget))
            await bad.transport.publish(frame)
        await wait_until(lambda: all(bad.is_cut_off(node) for node in two), "it is cut off")
        for node in two:
            assert "equivocation" in bad.faults(node)
            [(what, record)] = node.daemon.journal.proofs()
            one, other = (parse_sealed(two.genesis.mesh_id, batch) for batch in record)
            assert (what, one.author, one.seq == other.seq, one.hash == other.hash) == (
                "equivocation",
                bad.did,
                True,
                False,
            )
            assert (await node.call("status"))["journal"]["proofs"] == 1
    await check()


async def test_a_batch_far_ahead_and_a_flood_of_early_ones(honest, stranger, wait_until):
    two, check = await honest()
    async with stranger(two.genesis).connected(*two) as bad:
        for seq in ((1 << 60) + 1, 1 << 40, limits.MAX_PARKED_PER_AUTHOR + 2, *range(5, 400)):
            frame, _ = bad.flush(bad.need(), seq=seq)
            await bad.transport.publish(frame)
        with trio.fail_after(20):
            await check()
        asked = [node.daemon.sync._filling for node in two]
        assert all(len(filling) <= 2 for filling in asked)
        assert all(need_id(bad.did, 0) not in node.state.needs for node in two)


REQUESTS = [
    (b"", "bad-cbor"),
    (os.urandom(64), None),
    (encode([1, 2, 3]), "bad-request"),
    (encode({"t": "open-the-door"}), "bad-sync"),
    (encode({"t": 7}), "bad-sync"),
    (encode({"t": [7]}), "bad-sync"),
    (encode({"t": {"t": "time"}}), "bad-sync"),
    (encode({"t": "hello"}), "bad-sync"),
    (encode({"t": "hello", "manifest": b"\xff"}), "bad-cbor"),
    (encode({"t": "roots"}), None),
    (encode({"t": "roots", "roots": [b"r" * 31] * 256}), None),
    (encode({"t": "roots", "roots": [b"r" * 32] * 257}), None),
    (encode({"t": "batches", "want": []}), None),
    (encode({"t": "batches", "want": [["did:key:zNobody", 0, 0, 0, 1]]}), None),
    (encode({"t": "batches", "want": [[1, 2, 3, 4, 5]]}), None),
    (encode({"t": "blocks", "cids": []}), "bad-content-request"),
    (encode({"t": "blocks", "cids": [b"short"]}), "bad-content-request"),
    (encode({"t": "blocks", "cids": [cids.raw_cid(b"x")] * 300}), "bad-content-request"),
]


async def test_requests(honest, stranger, wait_until):
    two, check = await honest()
    node = two[0]
    for body, code in REQUESTS:
        # Each is a fault: one stranger would soon not be heard any more.
        bad = stranger(two.genesis)
        async with bad.connected(node):
            with pytest.raises(RemoteFault) as caught, trio.fail_after(10):
                await bad.transport.request(node.daemon.transport.peer_id, body)
            assert code is None or caught.value.code == code, (body, caught.value)
            assert caught.value.code != "internal", body
            assert caught.value.code in bad.faults(node)

    bad = stranger(two.genesis)
    async with bad.connected(node):
        home = node.daemon.transport.peer_id
        # Well-formed, and as much as may be asked: an answer within its bound each time.
        chain = ["did:key:z6MkehRgf7yJbgaGfYsdoAsKdBPE3dj2CYhowQdcjqSJgvVd", 0, 0, 0, (1 << 61)]
        everything = [[node.did, 0, bucket, 0, 1 << 61] for bucket in range(256)] * 4
        for want in ([chain], everything):
            answer = await bad.transport.request(home, encode({"t": "batches", "want": want}))
            assert len(answer) < 6 * 1_048_576
        answer = decode(await bad.transport.request(home, encode({"t": "roots", "roots": [bytes(32)] * 256})))
        assert len(answer["vectors"]) == 256
        async with trio.open_nursery() as nursery:

            async def ask():
                with trio.move_on_after(10):
                    try:
                        await bad.transport.request(home, content_request([cids.raw_cid(os.urandom(8))] * 1))
                    except (RemoteFault, PeerGone):
                        pass

            for _ in range(300):
                nursery.start_soon(ask)
            await check()
        for _ in range(12):
            with pytest.raises((RemoteFault, PeerGone)):
                await bad.transport.request(home, b"\xff")
        await wait_until(lambda: bad.is_cut_off(node), "it is cut off")
    await check()


async def test_answers(honest, stranger, task, wait_until):
    """Who answers sync with lies is found out, and learns nothing that others would not tell."""
    two, check = await honest(sync_interval_s=0.2)
    node = two[0]
    victim = two[1]

    def vectors(*chains):
        return encode({"vectors": [[bucket, [list(chain)]] for bucket, *chain in chains]})

    async def endless(message):
        # Claims what nobody has, whoever's it is, and never gives it.
        if message["t"] == "roots":
            return vectors(*((b, victim.did, 0, (1 << 61) + b) for b in range(256)))
        return encode({"manifest": bad.manifest(), "batches": [], "more": True})

    async def forged(message):
        if message["t"] == "roots":
            return vectors((bucket_of(need_id(bad.did, 0)), bad.did, 0, 0))
        batch = bad.flush(bad.need())[1][0]
        body = batch_to_list(batch)
        body[2][0] = bytes(64)
        return encode({"manifest": bad.manifest(), "batches": [encode(body)], "more": False})

    async def garbage(message):
        return b"\xff" * 100

    async def wrong_shapes(message):
        return encode({"manifest": bad.manifest(), "vectors": [[1, 2, 3]], "batches": "all of them"})

    async def others_manifest(message):
        return encode({"manifest": encode([2, node.daemon.announcer.manifest.raw, bytes(64)])})

    async def silent(message):
        await trio.sleep_forever()

    for answer, code in [
        (endless, None), (forged, "bad-signature"), (garbage, "bad-cbor"), (wrong_shapes, "bad-sync"),
        (others_manifest, "bad-signature"), (silent, None),
    ]:  # fmt: skip
        bad = stranger(two.genesis)
        bad.answer = answer
        async with bad.connected(node):
            await check()
            if code is not None:
                await wait_until(lambda code=code: code in bad.faults(node), f"{answer.__name__}: {code}")  # noqa: B023
                await wait_until(lambda: bad.is_cut_off(node), f"{answer.__name__} is cut off")  # noqa: B023
            assert need_id(bad.did, 0) not in node.state.needs


async def test_wrong_blocks(mesh, stranger, task, echo, wait_until):
    """A peer that gives other bytes than the CID's is left for one that has them."""
    two = await mesh(2, start=False)
    reader, holder = two
    await reader.start()
    bad = stranger(two.genesis)
    served = []

    async def lie(message):
        if message["t"] == "blocks":
            served.append(message["cids"])
            blocks = {cid: b"other bytes" for cid in message["cids"]}
            return cbor2.dumps({"t": "blocks", "blocks": blocks, "missing": []}, canonical=True)
        return encode({"manifest": bad.manifest(), "vectors": [], "batches": [], "more": False, "blocks": []})

    bad.answer = lie
    async with bad.connected(reader):
        await holder.start(peers=[reader.addr])
        await wait_until(lambda: len(reader.daemon.transport.peers()) == 2, "both are there")
        assert reader.daemon.transport.peers()[0].did == bad.did  # it is asked first
        data = os.urandom(600_000)
        cid, _ = holder.daemon.content.add(data)
        assert (await reader.call("content.cat", cid=cid_text(cid)))["data"] == data
        assert served
        assert bad.faults(reader) == {"bad-block": 1}
        assert holder.daemon.transport.peer_id not in [
            p.peer_id for p in reader.daemon.transport.peers() if p.faults
        ]


async def test_verbs_it_has_no_right_to(honest, stranger, task, wait_until):
    """It speaks about the needs of others, well-formed and signed: void everywhere, and no money moves."""
    two, check = await honest()
    need = await two[0].post(task(capability="unheard-of"))
    other = await two[0].post(task())
    await two[0].finish(other)
    envelope = two[0].state.needs[need].envelope
    done = two[0].state.needs[other]
    final = next(iter(done.finals.values()))
    async with stranger(two.genesis).connected(*two) as bad:
        plan = {"round": 0, "lease_s": 60, "plan": {"t": [[bad.did, 1]]}}
        said = [
            bad.envelope("PROPOSE", need, plan, (envelope,)),
            bad.envelope("ATTEST_PLAN", need, {"verdict": "accept", "reason": ""}, (envelope,)),
            bad.envelope("DECIDE", need, {"round": 0, "k": 1}, (envelope,)),
            bad.envelope("FINALIZE", need, {"outcome": "expired", "reason": "because"}, (envelope,)),
            bad.envelope(
                "UPDATE_PLAN",
                need,
                {"ops": [{"op": "ANNOTATE", "task": "", "key": "anchor", "value": "x"}]},
                (envelope,),
            ),
        ]
        about = [
            bad.envelope("RELEASE", other, {"task": "t", "attempt": 0, "cause": "expired"}, (final.id,)),
            bad.envelope(
                "FINALIZE", other, {"outcome": "refunded", "task": "t", "reason": "mine"}, (final.id,)
            ),
        ]
        for frame in bad.frames_of(said, about):
            await bad.transport.publish(frame)
        for node in two:
            await wait_until(lambda node=node: len(node.state.needs[need].void) == 5, "void")
            await wait_until(lambda node=node: len(node.state.needs[other].void) == 2, "void")
            assert node.state.needs[need].state() == "OPEN"
            assert node.state.needs[other].state() == "FINALIZED"
        why = await two[1].call("why", need=need)
        assert {step["void"] is not None for step in why["steps"] if step["sender"] == bad.did} == {True}
        await wait_until(lambda: all(bad.score(node) < 0.9 for node in two), "it is scored down")
    await check()
