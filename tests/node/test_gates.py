"""The gates in the runner: digests that others check, verdicts on record, limits on what this node itself posts."""

import sqlite3
import time
from dataclasses import replace

import pytest
from swarmd import policies
from swarmd.node.facts import facts_of
from swarmd.node.journal import Journal
from swarmd.node.policy.gates import Gates, Switch
from swarmd.node.policy.host import WasmGate
from swarmd.node.spending import DAY_NS, HOUR_NS, Spending
from swarmd.node.why import explain
from swarmd.protocol import limits
from swarmd.protocol.batch import batch_to_list, reload_batch
from swarmd.protocol.digest import state_digest
from swarmd.protocol.envelope import evaluated, need_id
from swarmd.protocol.inputs import Commanded


def honest(bench, envelope):
    """As its author makes it: with the digest of its own ingress gate."""
    verdict = bench.runner.gate.evaluate("ingress", facts_of(envelope, bench.genesis.roster))
    return evaluated(envelope, verdict.digest)


def gate_over(name, **data):
    policy = policies.load(name)
    return WasmGate(policy.wasm, {**policy.data, **data})


def post(bench, task, budget=50_000):
    args = {"title": "ours", "budget": budget, "tasks": [task], "deadline_s": 60, "inline": {}}
    reply = bench.runner.tell(lambda at_ns: Commanded("need.post", args, at_ns), reply=True)
    return reply, bench.turn()


def test_an_author_carries_the_digest_that_others_come_to(bench, bench_at, new_task, tmp_path):
    """What one node publishes another checks with the evaluation it makes anyway."""
    reply, out = post(bench, new_task("t1"))
    assert reply.fault is None and out.frames
    other = bench_at(_made(tmp_path / "other"), "bob")
    try:
        other.take(out.frames[0], "me")
        counters = other.runner.gates.counters
        assert counters["digests-checked"] == other.runner.counters["admitted"] > 0
        assert counters["digests-false"] == 0 and reply.value in other.runner.state.needs
    finally:
        other.journal.close()


def _made(folder):
    folder.mkdir()
    return folder


def test_a_false_digest_is_its_authors_fault(bench, author):
    """P10. Charged and kept as proof; the envelope itself stands, for others could not tell."""
    need = author.need(policy=bench.runner.gate.policy_hash)
    frame, batch = author.batch(evaluated(need, b"\1" * 32))
    out = bench.take(frame)
    assert ("", author.did, "false-digest") in out.reports
    assert need.thread in bench.runner.state.needs
    ((what, record),) = bench.journal.proofs()
    assert what == "false-digest" and record == [batch_to_list(batch), 0]
    # The proof convicts on its own: the signed envelope, and what its claim must give.
    accused = reload_batch(record[0]).envelopes[record[1]]
    again = bench.runner.gate.evaluate("ingress", facts_of(accused, bench.genesis.roster))
    assert accused.policy == bench.runner.gate.policy_hash and accused.eval != again.digest
    # One proof convicts: more are charged, not kept.
    bench.take(author.batch(evaluated(author.need(policy=need.policy), bytes(32)))[0])
    assert len(bench.journal.proofs()) == 1


def test_a_true_digest_is_no_fault(bench, author):
    out = bench.take(author.batch(honest(bench, author.need(policy=bench.runner.gate.policy_hash)))[0])
    assert out.reports == [] and bench.runner.gates.counters["digests-checked"] == 1


def test_an_unknown_policy_is_not_judged(bench, author):
    out = bench.take(author.batch(author.need(policy=b"\7" * 32))[0])
    assert out.reports == [] and bench.runner.gates.counters["digests-unknown-policy"] == 1


def test_a_digest_under_a_former_policy_is_still_checked(bench, author):
    old = bench.runner.gate
    true, false = author.need(policy=old.policy_hash), author.need(policy=old.policy_hash)
    true = honest(bench, true)
    bench.runner.gates.schedule(Switch(gate_over("base", limits={"max_budget": 70_000}), 0, lambda: None))
    assert bench.take(author.batch(true)[0]).reports == []
    assert bench.runner.gate.policy_hash != old.policy_hash
    assert ("", author.did, "false-digest") in bench.take(author.batch(false)[0]).reports


def test_the_switch_waits_for_its_lamport_and_happens_between_turns(bench, author):
    done = []
    new = gate_over("base", limits={"max_budget": 1})
    lamport = bench.runner.state.lamport + 10
    bench.runner.gates.schedule(Switch(new, lamport, lambda: done.append(1)))
    first, author.entry = author.need(), (1, bytes(32))
    second, author.entry = author.need(lamport=lamport), (2, bytes(32))
    # Both of one turn: judged by the policy that was in force when it began.
    bench.runner.offer_frame("peer", author.batch(first)[0])
    bench.runner.offer_frame("peer", author.batch(second)[0])
    bench.turn()
    assert {first.thread, second.thread} <= set(bench.runner.state.needs) and not done
    author.lamport = lamport
    third = author.need()
    bench.take(author.batch(third)[0])
    assert bench.runner.state.refused[third.thread] == "denied by policy: budget-over-cap" and done == [1]


def test_why_shows_what_the_gate_said_then_not_now(bench, author):
    need = author.need()
    bench.take(author.batch(need)[0])
    claim = author.envelope("YIELD", need.thread, {"task": "t1", "attempt": 0, "reason": "no"}, (need.id,))
    denies = gate_over("base", deny={"senders": {author.did: "spam"}})
    bench.runner.gates.schedule(Switch(denies, 0, lambda: None))
    bench.take(author.batch(claim)[0])
    bench.runner.gates.schedule(Switch(gate_over("base"), 0, lambda: None))
    bench.reopen()
    found = explain(bench.runner.state, bench.journal, bench.runner.state.needs[need.thread])
    by_kind = {step["kind"]: step for step in found["steps"]}
    assert by_kind["NEED"]["gate"]["allow"] and by_kind["NEED"]["gate"]["gas"] > 0
    assert by_kind["YIELD"]["gate"]["reasons"] == ["sender-denied"]
    assert by_kind["YIELD"]["gate"]["policy"] == denies.policy_hash.hex()
    assert by_kind["YIELD"]["void"] == "denied by policy: sender-denied"


def test_our_own_verdicts_are_on_record_too(bench, new_task):
    reply, _ = post(bench, new_task("t1"))
    found = explain(bench.runner.state, bench.journal, bench.runner.state.needs[reply.value])
    assert found["steps"] and all(step["gate"]["allow"] and step["gate"]["gas"] for step in found["steps"])


def test_a_journal_of_the_first_schema_is_taken_over(bench, author, tmp_path):
    need = author.need()
    bench.take(author.batch(need)[0])
    bench.journal.close()
    db = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    db.executescript(
        "alter table batches drop column verdicts; drop table checkpoints; drop table parts; drop table dumps;"
        " drop table cold; drop table closed; update meta set value = cast('1' as blob) where key = 'schema_version'"
    )
    db.close()
    bench.open()
    (step,) = explain(bench.runner.state, bench.journal, bench.runner.state.needs[need.thread])["steps"]
    assert step["gate"] is None and step["verified"]
    bench.take(author.batch(author.need())[0])
    bench.journal.close()
    assert Journal(tmp_path / "journal.db").meta("schema_version") == b"3"
    bench.open()


def test_preflight_is_remembered_by_policy_and_projection(bench, author):
    asked = []

    class Counting:
        policy_hash = b"\1" * 32

        def evaluate(self, gate, facts):
            asked.append((gate, dict(facts)))
            return bench.runner.gate.evaluate(gate, facts)

    gates = Gates(Counting(), lambda epoch: bench.genesis.roster)
    said = [
        author.envelope("YIELD", author.need().thread, {"task": "t1", "attempt": 0, "reason": "x" * n})
        for n in range(3)
    ]
    verdicts = {gates.preflight(envelope) for envelope in said}
    assert len(asked) == len(verdicts) == 1
    facts = asked[0][1]
    assert "thread" not in facts and facts["payload_size"] == 1_024 and facts["gate"] == "preflight"
    need = author.need()
    gates.preflight(need)
    gates.preflight(need)
    assert len(asked) == 3  # what a need says differs each time
    gates.schedule(Switch(Counting(), 0, lambda: None))
    gates.advance(0)
    gates.preflight(said[0])
    assert len(asked) == 4


def test_a_runaway_agent_is_stopped_by_this_nodes_own_limits(bench, new_task):
    """P9: nothing of the refused need remains, and the count survives a restart."""
    standard = policies.load("standard").data
    limited = {"spending": {**standard["spending"], "max_per_day": 120_000}}
    bench.runner.gates.schedule(Switch(gate_over("standard", **limited), 0, lambda: None))
    assert post(bench, new_task("t1"))[0].fault is None
    assert post(bench, new_task("t2"))[0].fault is None
    before = state_digest(bench.runner.state)
    fault = post(bench, new_task("t3"))[0].fault
    assert fault.code == "denied-by-policy" and fault.message == "daily-spending-over-limit"
    assert state_digest(bench.runner.state) == before
    bench.reopen()
    bench.runner.gates.schedule(Switch(gate_over("standard", **limited), 0, lambda: None))
    assert post(bench, new_task("t3"))[0].fault.message == "daily-spending-over-limit"


@pytest.mark.parametrize("age_ns", [0, HOUR_NS - 1, HOUR_NS, DAY_NS - 1, DAY_NS])
def test_spending_forgets(author, age_ns):
    spending = Spending(author.did)
    now = time.time_ns()
    need = author.need(ts_ns=now - age_ns)
    spending.add(need)
    spending.add(author.envelope("YIELD", need.thread, {"task": "t1", "attempt": 0, "reason": ""}))
    expected = {"spent_24h": 50_000 if age_ns < DAY_NS else 0, "needs_1h": int(age_ns < HOUR_NS)}
    assert spending.facts(now) == expected
    assert Spending("did:key:z6Mkother").facts(now) == {"spent_24h": 0, "needs_1h": 0}


def test_the_commit_gate_compares_claimed_with_actual(bench):
    claimed = {"size": 120, "wall_ms": 40, "cpu_ms": 35, "max_rss_kb": 1, "output_bytes": 119}

    def judged(**actual):
        return bench.runner.gates.commit("need-1", bench.runner.me, claimed, actual).reasons

    assert judged(size=120) == judged(size=120, cpu_ms=0) == judged(size=120, cpu_ms=10**6) == ()
    assert judged(size=121) == ("size-misstated",)
    claimed["cpu_ms"] = 10**9
    assert judged(size=120) == () and judged(size=120, cpu_ms=30) == ("cpu-overstated",)


def test_the_obligation_to_log(bench, author, caplog, tmp_path):
    from swarmd.node.ports import Verdict

    class Logs:
        policy_hash = bytes(32)

        def evaluate(self, gate, facts):
            return Verdict(True, (), 1, bytes(32), ("log",))

    bench.runner.gates.schedule(Switch(Logs(), 0, lambda: None))
    need = author.need()
    with caplog.at_level("INFO", "swarmd.runner"):
        bench.take(author.batch(need)[0])
    assert any(need.thread in record.message and "allows" in record.message for record in caplog.records)


def test_ingress_is_remembered_by_policy_and_facts(bench, author):
    """What is remembered is what would be evaluated, to the digest: receivers compare that with the author's."""
    asked = []
    most = 1 << 20

    class Counting:
        policy_hash = b"\1" * 32

        def evaluate(self, gate, facts):
            asked.append(facts)
            verdict = bench.runner.gate.evaluate(gate, facts)
            return replace(verdict, allow=False) if facts["payload_size"] > most else verdict

    gates = Gates(Counting(), lambda epoch: bench.genesis.roster)

    def say(size, seq=0):
        payload = {"task": "t1", "attempt": 0, "reason": "x" * size}
        return author.envelope("YIELD", need_id(author.did, seq), payload)

    alike = [say(9, seq) for seq in range(3)]
    assert len({envelope.thread for envelope in alike}) == 3
    verdicts = [gates.ingress(envelope) for envelope in alike]
    assert len(asked) == 1 and verdicts[0] == verdicts[1] == verdicts[2]
    for envelope in alike:
        facts = facts_of(envelope, bench.genesis.roster)
        assert bench.runner.gate.evaluate("ingress", facts).digest == verdicts[0].digest
    gates.ingress(say(10))  # another size is another input, and another digest
    assert len(asked) == 2
    most = len(alike[0].raw) + 100
    for _ in range(2):
        assert not gates.ingress(say(150)).allow
    assert len(asked) == 4  # a denial may come of a passing fault
    for _ in range(2):
        gates.ingress(author.need())
    assert len(asked) == 6
    gates.schedule(Switch(Counting(), 0, lambda: None))
    gates.advance(0)
    gates.ingress(alike[0])
    assert len(asked) == 7


def test_facts_of_a_need(bench, author):
    need = author.need()
    assert facts_of(need, bench.genesis.roster) == {
        "gate": "ingress",
        "kind": "NEED",
        "sender": author.did,
        "role": "verifier",
        "payload_size": len(need.raw),
        "epoch": 0,
        "budget": 50_000,
        "tasks": 1,
        "max_price": 30_000,
        "deadline_s": (need.payload["deadline_ns"] - need.ts_ns) // limits.S_NS,
        "capabilities": ["echo"],
        "content_types": ["text"],
    }
    assert facts_of(need, frozenset())["role"] == "member"
