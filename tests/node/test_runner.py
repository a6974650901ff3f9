"""What peers send wrong, and what happens to it: refused with a reason, nothing changed, the node lives (P10)."""

import sqlite3
import time

import pytest
import trio.testing
from swarmd.protocol import limits
from swarmd.protocol.batch import (
    GENESIS_PREV,
    EnvelopeProof,
    Seal,
    batch_to_list,
    encode_flush,
    parse_sealed,
    prove,
    verify_proof,
)
from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.digest import state_digest
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.inputs import Commanded

pytestmark = pytest.mark.property_id("P10")


def refused(bench, frame, code):
    before = state_digest(bench.runner.state)
    with pytest.raises(RemoteFault) as caught:
        bench.runner.offer_frame("peer", frame)
    assert caught.value.code == code
    assert bench.runner.ingress.faults[code] == 1
    assert state_digest(bench.runner.state) == before


def charged(bench, frame, code, did):
    """Refused behind the signature: the author is charged, not who passed it on; the state stays."""
    before = state_digest(bench.runner.state)
    out = bench.take(frame)
    assert (("", did, code)) in out.reports
    assert all(peer == "" for peer, _, _ in out.reports)
    assert out.stored == 0
    assert state_digest(bench.runner.state) == before


def post(bench, tasks, budget=50_000):
    args = {"title": "mine", "budget": budget, "deadline_s": 60, "tasks": tasks, "inline": []}
    reply = bench.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
    return reply, bench.turn()


def test_a_need_of_another_is_taken_and_kept(bench, author):
    need = author.need()
    frame, _ = author.batch(need)
    assert bench.take(frame).stored == 1
    assert bench.runner.state.needs[need.thread].owner == author.did
    bench.reopen()
    assert need.thread in bench.runner.state.needs


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "bad-cbor"),
        (b"\xff" * 40, "bad-cbor"),
        (encode([9]), "unknown-frame"),
        (encode([True, b"", []]), "unknown-frame"),
        (encode({"a": 1}), "unknown-frame"),
        (encode([1, b"s" * 64, []]), "bad-flush"),
        (encode([1, b"s" * 64, [[b"header", []]]]), "bad-cbor"),
        (encode([2, b"", b""]), "bad-manifest"),
        (b"\x00" * (limits.MAX_FLUSH_BYTES + 100_000), "frame-too-big"),
    ],
)
def test_malformed_and_oversized(bench, frame, code):
    refused(bench, frame, code)


def test_mis_signed(bench, author):
    frame, _ = author.batch(author.need())
    value = decode(frame)
    value[1] = value[1][:-1] + bytes([value[1][-1] ^ 1])
    refused(bench, encode(value), "bad-signature")


def test_signed_for_another_mesh(bench, author_of):
    stranger = author_of("bob")
    stranger.mesh_id = bytes(32)
    refused(bench, stranger.batch(stranger.need())[0], "bad-signature")


def test_tampered_content(bench, author):
    value = decode(author.batch(author.need())[0])
    value[2][0][1][0] = value[2][0][1][0].replace(b"theirs", b"thei7s")
    refused(bench, encode(value), "bad-batch")


def test_in_the_name_of_another(bench, author, author_of):
    theirs = author_of("eve").need()
    refused(bench, author.batch(theirs)[0], "sender-mismatch")


def test_the_wrong_bucket(bench, author):
    """A batch that mixes buckets."""
    one = author.need()
    two = next(
        e
        for i in range(50)
        if (
            e := author.envelope(
                "YIELD", f"need-{chr(97 + i % 26) * 32}", {"task": "t", "attempt": 0, "reason": ""}
            )
        ).thread
    )
    refused(bench, author.batch(one, two)[0], "bucket-mismatch")


def test_unknown_kind(bench, author):
    raw = decode(author.need().raw)
    raw["kind"] = "DESTROY"
    import swarmd.protocol.batch as wire
    from swarmd.protocol import merkle
    from swarmd.protocol.cids import dag_cbor_cid
    from swarmd.protocol.envelope import bucket_of

    body = encode(raw)
    bucket = bucket_of(raw["thread"])
    header = encode(
        {
            "v": 1,
            "seq": 0,
            "prev": bytes(32),
            "root": merkle.root_of([dag_cbor_cid(body)]),
            "count": 1,
            "epoch": 0,
            "author": author.did,
            "bucket": bucket,
        }
    )
    signature = author.sign(wire._signing_input(author.mesh_id, merkle.root_of([header]), 1))
    refused(bench, encode([1, signature, [[header, [body]]]]), "unknown-kind")


def test_replayed_is_known(bench, author):
    frame, _ = author.batch(author.need())
    bench.take(frame)
    before = state_digest(bench.runner.state)
    again = bench.take(frame)
    assert (again.stored, bench.runner.ingress.duplicates) == (0, 1)
    assert state_digest(bench.runner.state) == before


def test_out_of_order_waits_and_says_what_is_missing(bench, author):
    need = author.need()
    first, _ = author.batch(need)
    note = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": "later"}]}
    second, _ = author.batch(author.envelope("UPDATE_PLAN", need.thread, note, (need.id,)))
    out = bench.take(second)
    assert out.stored == 0
    [(peer, gap)] = out.gaps
    assert (peer, gap.first, gap.last) == ("peer", 0, 0)
    assert bench.take(first).stored == 2
    assert bench.runner.state.needs[need.thread].plan.annotations[("", "note")][2] == "later"


def test_equivocation_is_proven_and_survives(bench, author):
    """Two batches with one seq: the first stands, the proof is kept and verifies offline."""
    need = author.need()
    first, _ = author.batch(need, keep=False)
    bench.take(first)
    other, _ = author.batch(author.need(budget=60_000))
    charged(bench, other, "equivocation", author.did)
    bench.reopen()
    [(what, record)] = bench.journal.proofs()
    one, two = (parse_sealed(bench.genesis.mesh_id, batch) for batch in record)
    assert what == "equivocation"
    assert (one.author, one.bucket, one.seq) == (two.author, two.bucket, two.seq)
    assert one.hash != two.hash


async def synced(bench, batches):
    """What comes of a sync answer."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.offer_synced, "peer", [batch_to_list(each) for each in batches])
            await trio.testing.wait_all_tasks_blocked()
            out = bench.turn()
            for reply in out.replies:
                reply.done.set()
    return out


async def test_what_came_early_and_again_in_the_answer_that_fills_the_gap_is_no_fork(bench, author):
    """As after a restart: gossip is ahead, and sync sends the whole range. Its author has done nothing wrong."""
    need = author.need()
    note = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": "x"}]}
    said = [need, *(author.envelope("UPDATE_PLAN", need.thread, note, (need.id,)) for _ in range(3))]
    frames, batches = zip(*(author.batch(each) for each in said), strict=True)
    for frame in frames[1:]:
        bench.take(frame)
    out = await synced(bench, batches)
    assert (out.stored, out.reports, bench.runner.ingress.duplicates) == (4, [], 3)
    assert bench.journal.proofs() == []


@pytest.mark.parametrize("at", [0, 1])
async def test_a_fork_within_one_answer_is_proven(bench, author, at):
    """Neither branch was on disk before."""
    need = author.need()
    first = [author.batch(need)[1]]
    note = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": "x"}]}
    first.append(author.batch(author.envelope("UPDATE_PLAN", need.thread, note, (need.id,)), keep=False)[1])
    other = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": "y"}]}
    place = {"seq": at, "prev": GENESIS_PREV if at == 0 else first[0].hash}
    _, fork = author.batch(author.envelope("UPDATE_PLAN", need.thread, other, (need.id,)), **place)
    out = await synced(bench, [*first, fork])
    assert (out.stored, out.reports) == (2, [("", author.did, "equivocation")])
    [(what, record)] = bench.journal.proofs()
    assert (what, record) == ("equivocation", [batch_to_list(first[at]), batch_to_list(fork)])


def test_a_chain_that_does_not_continue(bench, author):
    need = author.need()
    bench.take(author.batch(need)[0])
    forged, _ = author.batch(
        author.envelope("YIELD", need.thread, {"task": "t1", "attempt": 0, "reason": ""}), prev=b"x" * 32
    )
    charged(bench, forged, "broken-chain", author.did)


def test_future_dated_is_refused_now_and_taken_later(bench_at, tmp_path, author_of, bench):
    now = [time.time_ns()]
    late = tmp_path / "late"
    late.mkdir()
    node = bench_at(late, clock_ns=lambda: now[0])
    bob = author_of("bob")
    ahead = now[0] + limits.MAX_FUTURE_NS + 10 * limits.S_NS
    frame, _ = bob.batch(bob.need(ts_ns=ahead))
    charged(node, frame, "future-dated", bob.did)
    now[0] = ahead
    assert node.take(frame).stored == 1
    node.journal.close()


def test_a_lamport_that_jumps(bench, author):
    frame, _ = author.batch(author.need(lamport=limits.MAX_LAMPORT_JUMP + 10))
    charged(bench, frame, "lamport-jump", author.did)


def test_time_that_runs_backwards(bench, author):
    need = author.need()
    back = author.envelope(
        "YIELD", need.thread, {"task": "t1", "attempt": 0, "reason": ""}, ts_ns=need.ts_ns - 1
    )
    charged(bench, author.batch(need, back)[0], "not-monotonic", author.did)


def test_a_manifest_from_the_future(bench, author):
    frame = author.manifest({"echo": 1}, time.time_ns() + limits.MAX_FUTURE_NS + 60 * limits.S_NS).frame()
    refused(bench, frame, "future-dated")


def test_an_older_manifest_does_not_replace_a_newer_one(bench, author):
    now = time.time_ns()
    bench.take(author.manifest({"echo": 1}, now).frame())
    bench.take(author.manifest({"echo": 2}, now - 1).frame())
    assert bench.runner.state.manifests[author.did].offers == {"echo": 1}


def test_our_policy_denies_at_ingress(bench, author, monkeypatch):
    """The verdict is recorded, so a replay comes to the same state whatever the policy says by then."""
    from swarmd.node.ports import Verdict

    monkeypatch.setattr(bench.runner.gates, "active", Denies(bench.runner.gate.policy_hash, Verdict))
    need = author.need()
    bench.take(author.batch(need)[0])
    assert bench.runner.state.refused == {need.thread: "denied by policy: not-today"}
    digest = state_digest(bench.runner.state)
    bench.reopen()
    assert state_digest(bench.runner.state) == digest


class Denies:
    def __init__(self, policy_hash, verdict):
        self.policy_hash = policy_hash
        self._verdict = verdict

    def evaluate(self, gate, facts):
        return self._verdict(False, ("not-today",), 1, bytes(32))


def test_our_policy_denies_our_own_need(bench, new_task, monkeypatch):
    """Nothing of it remains: the next need takes the same account entry."""
    before = state_digest(bench.runner.state)
    gate = bench.runner.gate
    from swarmd.node.ports import Verdict

    monkeypatch.setattr(bench.runner.gates, "active", Denies(gate.policy_hash, Verdict))
    reply, _ = post(bench, [new_task("t1")])
    assert reply.fault.code == "denied-by-policy"
    assert state_digest(bench.runner.state) == before
    monkeypatch.setattr(bench.runner.gates, "active", gate)
    reply, out = post(bench, [new_task("t1")])
    assert reply.fault is None
    assert bench.runner.state.needs[reply.value].budget == 50_000
    assert len(out.frames) == 1


def test_a_rule_that_breaks_costs_one_envelope(bench, author, new_task, monkeypatch):
    """P10: whatever we did not foresee in a peer's envelope costs that envelope, not the daemon."""
    from swarmd.protocol import engine

    real = engine.opening.open_need
    need = author.need()

    def breaks(envelope, window_s=0):
        if envelope.sender == author.did:
            raise ZeroDivisionError("a bug of ours")
        return real(envelope, window_s)

    monkeypatch.setattr(engine.opening, "open_need", breaks)
    bench.runner.offer_frame("peer", author.batch(need)[0])
    reply, out = post(bench, [new_task("t1")])
    assert ("peer", "", "internal") in out.reports
    assert need.thread not in bench.runner.state.needs
    assert reply.value in bench.runner.state.needs


def test_disk_full_is_named_and_heals(bench, new_task):
    """Nothing acknowledged, nothing half-applied; reading goes on, and so does the node once there is room."""
    (pages,) = bench.journal.db.execute("pragma page_count").fetchone()
    bench.journal.db.execute(f"pragma max_page_count = {pages}")
    before = state_digest(bench.runner.state)
    big = [new_task(f"t{i}") for i in range(200)]
    for task in big:
        task["max_price"] = 1
    reply, out = post(bench, big)
    assert reply.fault.code == "disk-full"
    assert bench.runner.trouble == "disk-full"
    assert not out.frames
    assert state_digest(bench.runner.state) == before
    bench.journal.db.execute("pragma max_page_count = 1073741823")
    reply, out = post(bench, big)
    assert reply.fault is None
    assert bench.runner.trouble == ""
    assert len(out.frames) == 1


def test_a_corrupt_journal_is_refused(tmp_path):
    from swarmd.node.journal import Journal
    from swarmd.protocol.faults import CorruptState

    (tmp_path / "journal.db").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptState, match=r"journal\.db"):
        Journal(tmp_path / "journal.db")


def test_a_newer_journal_is_refused_with_the_fix(bench, tmp_path):
    from swarmd.node.journal import Journal

    bench.journal.set_meta("schema_version", b"99")
    with pytest.raises(LocalFault) as caught:
        Journal(tmp_path / "journal.db")
    assert caught.value.code == "newer-journal"


def test_envelopes_said_but_not_sealed_are_sealed_after_a_restart(bench, new_task):
    """A crash between the commit of what we said and its flush loses nothing."""
    bench.runner._window.flushed(time.time_ns() + 10**12)  # the flush window has just begun
    reply = bench.runner.tell(
        lambda at_ns: Commanded(
            "need.post",
            {"title": "x", "budget": 50_000, "deadline_s": 60, "tasks": [new_task("t1")], "inline": []},
            at_ns,
        ),
        reply=True,
    )
    assert bench.runner.turn().frames == []
    need = reply.value
    bench.reopen()
    out = bench.turn()
    [batch] = bench.runner.ingress.parse(out.frames[0], time.time_ns()).batches
    assert batch.envelopes[0].thread == need


def test_an_envelope_is_shown_to_a_stranger(bench, author):
    need = author.need()
    _, batch = author.batch(need)
    proof = prove(batch, 0)
    assert verify_proof(bench.genesis.mesh_id, proof).id == need.id
    forged = EnvelopeProof(proof.raw, 0, 1, proof.path, proof.header, Seal(bytes(64), 0, 1, ()))
    with pytest.raises(RemoteFault):
        verify_proof(bench.genesis.mesh_id, forged)
    assert encode_flush([batch])


def test_the_journal_survives_a_torn_reader(bench, author):
    """Another process may look at the journal while the node writes."""
    bench.take(author.batch(author.need())[0])
    other = sqlite3.connect(f"file:{bench.home / 'journal.db'}?mode=ro", uri=True)
    assert other.execute("select count(*) from inputs").fetchone() == (1,)
    other.close()


def test_an_author_with_too_much_waiting_is_left_out_until_others_catch_up(bench, author, monkeypatch):
    """Not taken rather than taken and dropped: nothing of it is lost."""
    monkeypatch.setattr(limits, "MAX_PARKED_PER_AUTHOR", 2)
    need = author.need()
    first, _ = author.batch(need)
    lost = [
        author.envelope(
            "CLAIM", need.thread, {"task": "t1", "attempt": 0, "lease_s": 5}, (need.id, raw_cid(bytes([i])))
        )
        for i in range(3)
    ]
    frames = [author.batch(each)[0] for each in lost]
    assert bench.take(first).stored == 1
    assert [bench.take(frame).stored for frame in frames] == [1, 1, 0]
    assert bench.runner.ingress.faults["too-many-parked"] == 1
    monkeypatch.setattr(limits, "MAX_PARKED_PER_AUTHOR", 3)
    assert bench.take(frames[2]).stored == 1
