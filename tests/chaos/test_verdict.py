"""The verdict finds nothing in honest journals, and each planted violation in doctored ones."""

import sqlite3
from dataclasses import replace

import pytest
from swarmd.node.chaos.verdict import PROPERTIES, judge
from swarmd.node.journal import Journal
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid

SEED = 3


def broken(evidence):
    """{property: texts} of what the verdict finds."""
    found = {}
    for violation in judge(evidence, SEED).violations:
        found.setdefault(violation.property, []).append(violation.text)
    return found


def everywhere(evidence, **change):
    """The evidence with every node's report changed."""
    return replace(evidence, nodes=[replace(node, **change) for node in evidence.nodes])


def at(evidence, number, **change):
    nodes = list(evidence.nodes)
    nodes[number] = replace(nodes[number], **change)
    return replace(evidence, nodes=nodes)


def test_honest_journals_are_found_so(told):
    verdict = judge(told, SEED)
    assert verdict.violations == []
    assert verdict.ends == {"FINALIZED": 2, "REFUNDED": 1, "EXPIRED": 1}
    assert verdict.properties() == dict.fromkeys(PROPERTIES, "held")
    assert verdict.envelopes > 20


# What was said ---------------------------------------------------------------------------------------------


@pytest.mark.property_id("P1")
def test_a_second_decision(told, forger, name_of):
    [first] = forger.envelopes("PROPOSE", next(n for n, t in told.acknowledged.items() if t == "0/1"))
    votes = [v for v in forger.envelopes("ATTEST_PLAN", first.thread) if first.id in v.refs]
    [need] = forger.envelopes("NEED", first.thread)
    cheaper = {
        task: [[worker, price - 1] for worker, price in row] for task, row in first.payload["plan"].items()
    }
    payload = {**first.payload, "plan": cheaper}
    other = forger.say(name_of(first.sender), "PROPOSE", first.thread, payload, [need.id], after_s=1)
    accept = {"verdict": "accept", "reason": ""}
    again = [
        forger.say(name_of(vote.sender), "ATTEST_PLAN", first.thread, accept, [other.id]) for vote in votes
    ]
    decide = {"round": 0, "k": 2}
    forger.say(
        name_of(first.sender), "DECIDE", first.thread, decide, [other.id, *(vote.id for vote in again)]
    )
    found = broken(told)["P1"]
    assert any("2 plans decided" in text for text in found)
    assert sum("voted for 2 in epoch 0, round 0" in text for text in found) == 2


@pytest.mark.property_id("P6")
def test_a_decision_with_too_few_votes(told, forger, name_of):
    decide = forger.envelopes("DECIDE")[0]
    forger.say(name_of(decide.sender), "DECIDE", decide.thread, decide.payload, decide.refs[:2])
    assert any("cites 1 of the committee of 3, not 2" in text for text in broken(told)["P6"])


@pytest.mark.property_id("P6")
def test_a_decision_that_cites_one_member_twice(told, forger, name_of):
    decide = forger.envelopes("DECIDE")[0]
    proposal, vote = decide.refs[:2]
    [voter] = [v.sender for v in forger.envelopes("ATTEST_PLAN", decide.thread) if v.id == vote]
    twin = forger.say(
        name_of(voter), "ATTEST_PLAN", decide.thread, {"verdict": "accept", "reason": "again"}, [proposal]
    )
    forger.say(name_of(decide.sender), "DECIDE", decide.thread, decide.payload, [proposal, vote, twin.id])
    assert any("cites 1 of the committee of 3, not 2" in text for text in broken(told)["P6"])


@pytest.mark.property_id("P6")
def test_a_result_without_its_judges(told, forger, name_of):
    final = next(f for f in forger.envelopes("FINALIZE") if f.payload["outcome"] == "accepted")
    forger.say(name_of(final.sender), "FINALIZE", final.thread, final.payload, final.refs[:1])
    assert any("cites 0 of the committee of 3, not 2" in text for text in broken(told)["P6"])


@pytest.mark.property_id("P6")
def test_a_result_judged_by_its_owner(told, forger, name_of):
    final = next(f for f in forger.envelopes("FINALIZE") if f.payload["outcome"] == "accepted")
    [need] = forger.envelopes("NEED", final.thread)
    attest = forger.envelopes("ATTEST", final.thread)[0]
    own = forger.say(name_of(need.sender), "ATTEST", final.thread, attest.payload, attest.refs)
    forger.say(name_of(final.sender), "FINALIZE", final.thread, final.payload, [*final.refs[:2], own.id])
    assert any("who are not in the committee" in text for text in broken(told)["P6"])


@pytest.mark.property_id("P5")
def test_a_result_after_its_lease(told, forger, name_of):
    commit = forger.envelopes("COMMIT")[0]
    forger.say(name_of(commit.sender), "COMMIT", commit.thread, commit.payload, commit.refs, after_s=90)
    assert any("after its lease" in text for text in broken(told)["P5"])


@pytest.mark.property_id("P5")
def test_a_result_under_the_lease_of_another(told, forger, name_of):
    commit = forger.envelopes("COMMIT")[0]
    thief = next(need.sender for need in forger.envelopes("NEED") if need.sender != commit.sender)
    forger.say(name_of(thief), "COMMIT", commit.thread, commit.payload, commit.refs)
    assert any("not under a lease of its sender" in text for text in broken(told)["P5"])


@pytest.mark.property_id("P5")
def test_a_next_attempt_while_the_first_goes_on(told, forger, name_of):
    claim = forger.envelopes("CLAIM")[0]
    [proposal] = forger.envelopes("PROPOSE", claim.thread)
    second = proposal.payload["plan"]["a"][1][0]
    payload = {**claim.payload, "attempt": 1}
    forger.say(name_of(second), "CLAIM", claim.thread, payload, claim.refs)
    assert any("does not show how attempt 0 ended" in text for text in broken(told)["P5"])


@pytest.mark.property_id("P5")
def test_a_lease_that_is_released_too_early(told, forger, name_of):
    claim = forger.envelopes("CLAIM")[0]
    [proposal] = forger.envelopes("PROPOSE", claim.thread)
    payload = {"task": "a", "attempt": 0, "cause": "expired"}
    forger.say(name_of(proposal.sender), "RELEASE", claim.thread, payload, [claim.id])
    assert any("the lease had not expired" in text for text in broken(told)["P5"])


@pytest.mark.property_id("P9")
def test_money_that_comes_back_too_early(told, forger, name_of):
    thread = next(n for n, t in told.acknowledged.items() if t == "3/1")
    [need] = forger.envelopes("NEED", thread)
    expired = {"outcome": "expired", "reason": "impatient"}
    forger.say(name_of(need.sender), "FINALIZE", thread, expired, [need.id], after_s=-18)
    assert any("before its deadline and grace" in text for text in broken(told)["P9"])


def test_a_wrong_result(told, forger, name_of):
    final = next(f for f in forger.envelopes("FINALIZE") if f.payload["outcome"] == "accepted")
    commit = next(c for c in forger.envelopes("COMMIT", final.thread) if c.id in final.refs)
    wrong = b'{"echo":"something else"}'
    payload = {**commit.payload, "result": Link(raw_cid(wrong)), "inline": wrong}
    other = forger.say(name_of(commit.sender), "COMMIT", commit.thread, payload, commit.refs)
    accepted = {**final.payload, "result": Link(raw_cid(wrong))}
    forger.say(name_of(final.sender), "FINALIZE", final.thread, accepted, [other.id])
    assert any("something else" in text for text in broken(told)["result"])


# What is on disk -------------------------------------------------------------------------------------------


@pytest.mark.property_id("P2")
def test_an_input_that_is_missing(told):
    db = sqlite3.connect(told.nodes[2].folder / "journal.db")
    # The first that is an Admitted: a list whose first item is 1.
    db.execute(
        "delete from inputs where id = (select min(id) from inputs where substr(record, 2, 1) = x'01')"
    )
    db.commit()
    db.close()
    found = [v for v in judge(told, SEED).violations if v.property == "P2"]
    assert found and {v.node for v in found} == {"node-2"}


@pytest.mark.property_id("P2")
def test_a_signature_that_is_not_right(told):
    db = sqlite3.connect(told.nodes[1].folder / "journal.db")
    [(rowid, body)] = db.execute("select rowid, body from batches limit 1").fetchall()
    at_byte = body.rindex(b"\x58\x40") + 10  # within the 64 bytes of the signature
    db.execute(
        "update batches set body = ? where rowid = ?",
        (body[:at_byte] + bytes([body[at_byte] ^ 1]) + body[at_byte + 1 :], rowid),
    )
    db.commit()
    db.close()
    assert any("cannot be read" in text for text in broken(told)["P2"])


def test_envelopes_that_one_node_lacks(told, forger, name_of):
    need = forger.envelopes("NEED")[0]
    note = {"ops": [{"op": "ANNOTATE", "task": "", "key": "note", "value": "x"}]}
    forger.say(name_of(need.sender), "UPDATE_PLAN", need.thread, note, [need.id], nodes=[0, 1, 2, 3])
    assert judge(told, SEED).properties()["convergence"] == "broken"
    assert broken(told)["convergence"] == ["lacks 1 envelopes: UPDATE_PLAN"]


# What was reported -----------------------------------------------------------------------------------------


@pytest.mark.property_id("P9")
def test_an_acknowledged_need_that_is_gone(told):
    lost = replace(told, acknowledged={**told.acknowledged, "need-" + "a" * 32: "0/99"})
    assert broken(lost) == {"P9": [f"need-{'a' * 32} (0/99) was acknowledged and is gone"]}


@pytest.mark.property_id("P9")
def test_a_need_that_nobody_posted_and_one_that_may_be_there(told):
    need = next(iter(told.acknowledged))
    title = told.acknowledged[need]
    fewer = {n: t for n, t in told.acknowledged.items() if n != need}
    assert broken(replace(told, acknowledged=fewer)) == {"P9": [f"{title} is there, and nobody posted it"]}
    assert broken(replace(told, acknowledged=fewer, unanswered=frozenset({title}))) == {}


@pytest.mark.property_id("P9")
def test_money_that_is_not_where_it_should_be(told):
    accounts = dict(told.nodes[1].accounts)
    rich = max(accounts, key=lambda did: accounts[did])
    poor = min(accounts, key=lambda did: accounts[did])
    accounts[rich] = (accounts[rich][0] - 7, 0)
    accounts[poor] = (accounts[poor][0] + 7, 0)
    moved = judge(at(told, 1, accounts=accounts), SEED).violations
    assert {(v.property, v.node) for v in moved} == {("P9", "node-1")} and len(moved) == 2
    accounts[poor] = (accounts[poor][0] + 1, 0)
    assert any("not conserved" in text for text in broken(at(told, 1, accounts=accounts))["P9"])


def test_a_need_without_an_end(told):
    needs = {need: "RUNNING" for need in told.nodes[3].needs}
    found = judge(at(told, 3, needs=needs), SEED).violations
    assert {(v.property, v.node) for v in found} == {("liveness", "node-3")} and len(found) == 4


def test_an_honest_node_that_is_accused(told):
    journal = Journal(told.nodes[2].folder / "journal.db")
    journal.begin()
    journal.add_proof("equivocation", told.nodes[0].name, [1])
    journal.commit()
    journal.close()
    found = judge(replace(told, accusations=["node-1 cut off x: bad-message"]), SEED).violations
    assert [(v.property, v.node, v.text) for v in found] == [
        ("blame", "", "node-1 cut off x: bad-message"),
        ("blame", "node-2", "its journal holds a proof of equivocation"),
    ]


def test_a_need_that_fails_though_all_is_well(told):
    ends = {title: need for need, title in told.acknowledged.items()}
    assert broken(replace(told, after=[ends["0/1"]])) == {}
    failed = replace(told, after=[ends["0/1"], ends["1/1"], "need-x"])
    assert broken(failed) == {
        "recovery": [
            f"{ends['1/1']}, posted when all was well again, is REFUNDED",
            "need-x, posted when all was well again, is gone",
        ]
    }


def test_an_open_need_in_all_journals(story):
    story.post(0, "0/1")
    story.away = {"node-0"}
    story.settle(1.0)
    evidence = story.close()
    found = broken(evidence)
    assert "liveness" in found and "convergence" in found


@pytest.mark.property_id("P2")
def test_a_digest_that_a_replay_does_not_give(told):
    assert set(broken(at(told, 0, state_digest="00"))) == {"P2"}
    assert len(broken(everywhere(told, mesh_digest="00"))["P2"]) == 10


@pytest.mark.property_id("P10")
def test_a_daemon_that_ended_by_itself_and_a_mesh_that_was_late(told):
    found = broken(replace(told, deaths=["node 1 ended by itself with code 1"], late=["2 digests"]))
    assert found == {"P10": ["node 1 ended by itself with code 1"], "convergence": ["2 digests"]}
