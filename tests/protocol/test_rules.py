"""What each verb may not do: every void envelope has its reason, moves nothing, and is void on every node."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.protocol import kinds
from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.digest import mesh_digest, need_digest
from swarmd.protocol.effects import Report
from swarmd.protocol.engine import step
from swarmd.protocol.envelope import build, need_id
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.inputs import Admitted, Authored, Ticked
from swarmd.protocol.ledger.accounts import Account
from swarmd.protocol.limits import S_NS
from swarmd.protocol.state import State
from swarmd.protocol.terms import Terms
from swarmd.protocol.work import committees, opening

START_NS = 1_760_000_000 * S_NS
RESULT = Link(raw_cid(b"result"))
TELEMETRY = {"wall_ms": 1, "cpu_ms": 1, "max_rss_kb": 1, "output_bytes": 6}
DEADLINE_S = 1_000


@dataclass
class World:
    """One onlooker's engine and a cast that says what a test wants. K is 3, committees have 5 of 7 verifiers."""

    author_of: Any
    make_task: Any
    window_s: int = 0
    lamport: int = 0
    now_ns: int = START_NS
    out: list = field(default_factory=list)
    said: dict = field(default_factory=dict)

    def __post_init__(self):
        names = ["own", "w0", "w1", "out", "zoe", *(f"v{i}" for i in range(7))]
        self.did = {name: self.author_of(name).did for name in names}
        self.name = {did: name for name, did in self.did.items()}
        roster = tuple(sorted(self.did[f"v{i}"] for i in range(7)))
        self.genesis = Genesis(
            "rules",
            roster,
            {self.did["own"]: 1_000_000},
            alpha_permille=430,
            bootstrap_threshold=0,
            challenge_window_s=self.window_s,
        )
        self.state = State(self.genesis, self.did["zoe"], check_everything=True)
        self.thread = need_id(self.did["own"], 0)

    @property
    def need(self):
        return self.state.needs[self.thread]

    def say(self, who, kind, payload, refs=(), **change):
        self.lamport += 1
        self.now_ns += S_NS
        body = dict(
            kind=kind, thread=self.thread, sender=self.did[who], lamport=self.lamport, ts_ns=self.now_ns, epoch=0, payload=payload,
            refs=tuple(refs), policy=bytes(32), eval_digest=bytes(32),
        )  # fmt: skip
        return build(**{**body, **change})

    def take(self, *envelopes):
        for envelope in envelopes:
            self.out.extend(step(self.state, Admitted((envelope,), {}, self.now_ns)))
        return envelopes[-1]

    def good(self, *args, **change):
        envelope = self.take(self.say(*args, **change))
        assert self.need.void.get(envelope.id) is None
        assert envelope.id in self.need.seen
        return envelope

    def drawn_anew(self):
        """As if the checkpoint of epoch 1 had drawn it a new committee."""
        self.id("decided")
        self.need.draws = (0, 1)
        return 1

    def newer(self, ref):
        """As if it had been said in the next epoch."""
        self.need.seen[ref] = (*self.need.seen[ref][:2], 1)
        return ref

    # A need's life, stage by stage; each is taken once and remembered.

    def stage(self, name):
        if name not in self.said:
            self.said[name] = getattr(self, "_" + name)()
        return self.said[name]

    def id(self, name):
        return self.stage(name).id

    def needed(self, **change):
        tasks = [self.make_task("t1"), self.make_task("t2", after=("t1",))]
        return {
            "title": "t", "budget": 70_000, "deadline_ns": START_NS + DEADLINE_S * S_NS, "fund": {"seq": 0, "prev": bytes(32)}, "tasks": tasks, **change,
        }  # fmt: skip

    def _need(self):
        return self.good("own", "NEED", self.needed())

    def _update(self):
        """The owner adds t3, which makes the top prices exceed the budget."""
        self.stage("need")
        return self.good(
            "own",
            "UPDATE_PLAN",
            {"ops": [{"op": "ADD_TASK", "task": self.make_task("t3")}]},
            [self.id("need")],
        )

    def planners(self):
        self.stage("need")
        return [
            self.name[did] for did in committees.plan_committee(Terms(self.genesis), self.need, 0).members
        ]

    def judges(self):
        worker = self.did["w0"]
        members = committees.result_committee(
            Terms(self.genesis), self.need, "t1", 0, worker, frozenset()
        ).members
        return [self.name[did] for did in members]

    def others(self, members):
        return [f"v{i}" for i in range(7) if f"v{i}" not in members]

    def plan(self, **change):
        workers = [[self.did["w0"], 20_000], [self.did["w1"], 25_000]]
        return {"round": 0, "lease_s": 60, "plan": {"t1": workers, "t2": workers[:1], **change}}

    def _proposal(self):
        return self.good(self.planners()[0], "PROPOSE", self.plan(), [self.id("need")])

    def _rival(self):
        """A second proposal in round 0: its proposer lies."""
        return self.good(
            self.planners()[0], "PROPOSE", self.plan(t2=[[self.did["w1"], 1]]), [self.id("need")]
        )

    def vote(self, who, proposal, verdict="accept"):
        return self.good(who, "ATTEST_PLAN", {"verdict": verdict, "reason": ""}, [proposal])

    def skip(self, who, *refs, round_=1):
        payload = {"verdict": "skip", "round": round_, "reason": ""}
        return self.say(who, "ATTEST_PLAN", payload, [self.id("need"), *refs])

    def _skips(self):
        """Three ask for round 1; the first of them shows that it has voted."""
        shown = self.vote(self.planners()[0], self.id("proposal")).id
        first, second, third = self.planners()[:3]
        said = [self.skip(first, shown), self.skip(second), self.skip(third)]
        return [self.take(skip) for skip in said]

    def in_round(self, round_, skips, **change):
        payload = {**self.plan(**change), "round": round_}
        who = self.planners()[round_ % 5]
        return self.say(who, "PROPOSE", payload, [self.id("need"), *(skip.id for skip in skips)])

    def _votes(self):
        proposal = self.id("proposal")
        return [self.vote(who, proposal) for who in self.planners()[:3]]

    def _decided(self):
        refs = [self.id("proposal"), *(vote.id for vote in self.stage("votes"))]
        return self.good(self.planners()[2], "DECIDE", {"round": 0, "k": 3}, refs)

    def _claimed(self):
        return self.good("w0", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 60}, [self.id("decided")])

    def commit_body(self, **change):
        return {"task": "t1", "result": RESULT, "size": 6, "telemetry": TELEMETRY, **change}

    def _committed(self):
        return self.good("w0", "COMMIT", self.commit_body(), [self.id("claimed")])

    def attest_body(self, verdict="accept", task="t1"):
        return {"task": task, "verdict": verdict, "score": 100, "reason": "same"}

    def attests(self, verdict, count):
        commit = self.id("committed")
        return [
            self.good(who, "ATTEST", self.attest_body(verdict), [commit]).id for who in self.judges()[:count]
        ]

    def _attests(self):
        return self.attests("accept", 3)

    def accepted(self, **change):
        return {"outcome": "accepted", "task": "t1", "result": RESULT, **change}

    def _final(self):
        refs = [self.id("committed"), *self.stage("attests")]
        return self.good("v0", "FINALIZE", self.accepted(), refs)

    # A result is challenged: two of the seven verifiers had no part in it.

    def challenge(self, *refs, who="out", task="t1", amount=10_000):
        body = {
            "task": task,
            "reason": "wrong",
            "evidence": [],
            "bond": {"seq": 0, "prev": bytes(32), "amount": amount},
        }
        return self.say(who, "CHALLENGE", body, refs)

    def _challenged(self):
        return self.take(self.challenge(self.id("final")))

    def reviewers(self):
        self.stage("final")
        return self.others(self.judges())

    def reviews(self, verdict, who=None, challenge=None):
        about = challenge or self.id("challenged")
        return [
            self.good(name, "ATTEST", self.attest_body(verdict), [about]).id
            for name in who or self.reviewers()
        ]

    def ruling(self, *refs, verdict="reject", task="t1"):
        if verdict == "reject":
            return self.say("v0", "INVALIDATE", {"task": task, "reason": ""}, refs)
        return self.say("v0", "FINALIZE", {"outcome": "dismissed", "task": task, "reason": ""}, refs)

    def _yielded(self):
        return self.good("w0", "YIELD", {"task": "t1", "attempt": 0, "reason": "no"}, [self.id("claimed")])


def moved(world):
    """All that an envelope can move about a need and the money."""
    need, ledger = world.need, world.state.ledger
    runs = {
        task: (
            run.state,
            run.attempt,
            *(fact and fact.id for fact in (run.ending, run.claim, run.commit, run.final)),
        )
        for task, run in need.runs.items()
    }
    facts = (
        need.proposals,
        need.vote_of,
        need.decides,
        need.claims,
        need.endings,
        need.commits,
        need.attests,
        need.finals,
        need.closings,
        need.challenges,
        need.reviews,
        need.rulings,
        need.invalid,
        need.updates,
    )
    return (
        need.decided, need.closed, runs, need.payments(), need.state(), [dict(known) for known in facts],
        dict(need.plan.tasks), dict(need.plan.states), set(need.plan.edges), dict(need.plan.annotations),
        {did: (a.available, a.locked) for did, a in ledger.accounts.items() if a != Account()}, {n: (e.state, e.held) for n, e in ledger.escrows.items() if not n.startswith("bond-")},  # bonds are locked anyway
    )  # fmt: skip


def released(world, cause, who, refs, task="t1", attempt=0, after_s=0):
    world.now_ns += after_s * S_NS
    return world.say(who, "RELEASE", {"task": task, "attempt": attempt, "cause": cause}, refs)


def spec_after(w, name, *parents):
    return {"op": "ADD_TASK", "task": w.make_task(name, after=parents)}


def updates_that_close_a_cycle(w):
    """x after y in one update and y after x in another: each stands alone, on a first definition of its own."""

    def update(*ops, refs=()):
        return w.good("own", "UPDATE_PLAN", {"ops": list(ops)}, [w.id("need"), *refs]).id

    first = [update(spec_after(w, "x")), update(spec_after(w, "y"))]
    again = [update(spec_after(w, "y", "x"), refs=first[:1]), update(spec_after(w, "x", "y"), refs=first[1:])]
    cheap = [[w.did["w0"], 1]]
    plan = {"round": 0, "lease_s": 60, "plan": {task: cheap for task in ("t1", "t2", "x", "y")}}
    return w.say(w.planners()[0], "PROPOSE", plan, [w.id("need"), *first, *again])


# name -> (what is said, the reason it is void)
VOID = {
    "any verb, lamport not after its refs": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(), [w.id("need")], lamport=1), "lamport is not after"),
    "any verb, an epoch behind what it refers to": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(), [w.newer(w.id("need"))]), "still writes in 0"),
    "NEED, a second under one entry": (lambda w: (w.stage("need"), w.say("own", "NEED", w.needed(budget=80_000)))[1], "second need under one account entry"),
    "PROPOSE by a verifier of no committee": (lambda w: w.say(w.others(w.planners())[0], "PROPOSE", w.plan(), [w.id("need")]), "not in the committee"),
    "PROPOSE by a stranger": (lambda w: w.say("out", "PROPOSE", w.plan(), [w.id("need")]), "not in the committee"),
    "PROPOSE by the owner": (lambda w: w.say("own", "PROPOSE", w.plan(), [w.id("need")]), "not in the committee"),
    "PROPOSE for no need": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan()), "does not refer to the need"),
    "PROPOSE with a task more": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(t9=[[w.did["w0"], 1]]), [w.id("need")]), "exactly the tasks"),
    "PROPOSE with a task less": (lambda w: w.say(w.planners()[0], "PROPOSE", {**w.plan(), "plan": {"t1": [[w.did["w0"], 1]]}}, [w.id("need")]), "exactly the tasks"),
    "PROPOSE without a task of an update it refers to": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(), [w.id("need"), w.id("update")]), "exactly the tasks"),
    "PROPOSE a task of an update it does not refer to": (lambda w: (w.stage("update"), w.say(w.planners()[0], "PROPOSE", w.plan(t3=[[w.did["w0"], 1]]), [w.id("need")]))[1], "exactly the tasks"),
    "PROPOSE a worker twice": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(t1=[[w.did["w0"], 1], [w.did["w0"], 2]]), [w.id("need")]), "a worker twice"),
    "PROPOSE over the top price": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(t1=[[w.did["w0"], 1], [w.did["w1"], 30_001]]), [w.id("need")]), "30001 is over the top price 30000"),
    "PROPOSE over the budget": (lambda w: w.say(w.planners()[0], "PROPOSE", w.plan(**{t: [[w.did["w0"], 30_000]] for t in ("t1", "t2", "t3")}), [w.id("need"), w.id("update")]), "more than the budget"),
    "PROPOSE updates that close a cycle together": (updates_that_close_a_cycle, "wait for each other: x -> y -> x"),
    "ATTEST_PLAN by a verifier of no committee": (lambda w: w.say(w.others(w.planners())[0], "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, [w.id("proposal")]), "not in the committee"),
    "ATTEST_PLAN of no proposal": (lambda w: w.say(w.planners()[0], "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, [w.id("need")]), "no valid proposal"),
    "DECIDE by a verifier of no committee": (lambda w: w.say(w.others(w.planners())[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes"))]), "not in the committee"),
    "DECIDE with too few votes": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 2}, [w.id("proposal"), *(v.id for v in w.stage("votes")[:2])]), "2 votes of the committee, 3 are needed"),
    "DECIDE with no votes": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal")]), "0 votes of the committee, 3 are needed"),
    "DECIDE with one member's vote twice": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes")[:2]), w.vote(w.planners()[0], w.id("proposal")).id]), "2 votes of the committee"),
    "DECIDE with a vote for another proposal": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes")[:2]), w.vote(w.planners()[4], w.id("rival")).id]), "2 votes of the committee"),
    "DECIDE with a vote against": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes")[:2]), w.vote(w.planners()[4], w.id("proposal"), "reject").id]), "2 votes of the committee"),
    "DECIDE with a vote of no member": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes")[:2]), w.take(w.say(w.others(w.planners())[0], "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, [w.id("proposal")])).id]), "2 votes of the committee"),
    "DECIDE that says another K": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 2}, [w.id("proposal"), *(v.id for v in w.stage("votes"))]), "it says round 0, K 2; it is round 0, K 3"),
    "DECIDE that says another round": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 1, "k": 3}, [w.id("proposal"), *(v.id for v in w.stage("votes"))]), "it says round 1, K 3; it is round 0, K 3"),
    "PROPOSE in another's round": (lambda w: w.say(w.planners()[1], "PROPOSE", w.plan(), [w.id("need")]), "round 0 is another's to propose in"),
    "PROPOSE in a round nobody asked for": (lambda w: w.in_round(1, []), "0 of the committee ask for round 1, 3 are needed"),
    "PROPOSE in a round too few ask for": (lambda w: w.in_round(1, w.stage("skips")[:2]), "2 of the committee ask for round 1"),
    "PROPOSE in a round one asks for thrice": (lambda w: w.in_round(1, [w.take(w.skip(w.planners()[1])) for _ in range(3)]), "1 of the committee ask for round 1"),
    "PROPOSE in a round they did not ask for": (lambda w: w.in_round(2, w.stage("skips")), "0 of the committee ask for round 2"),
    "PROPOSE another plan than was voted for": (lambda w: w.in_round(1, w.stage("skips"), t2=[[w.did["w1"], 1]]), "it must be proposed again"),
    "PROPOSE after two proposals of one round": (lambda w: w.in_round(1, [w.take(w.skip(who, w.vote(who, w.id(voted)).id)) for who, voted in zip(w.planners()[:3], ("proposal", "rival", "rival"), strict=True)]), "two proposals of one round"),
    "ATTEST_PLAN, a skip of no need": (lambda w: (w.stage("need"), w.say(w.planners()[1], "ATTEST_PLAN", {"verdict": "skip", "round": 1, "reason": ""}, [w.id("proposal")]))[1], "does not refer to the need"),
    "ATTEST_PLAN, a skip to round 0": (lambda w: w.skip(w.planners()[1], round_=0), "nothing below round 0"),
    "ATTEST_PLAN, a skip by no member": (lambda w: w.skip(w.others(w.planners())[0]), "not in the committee"),
    "ATTEST_PLAN, a skip below one's own vote": (lambda w: w.skip(w.planners()[3], w.vote(w.planners()[3], w.take(w.in_round(1, w.stage("skips"))).id).id), "has voted in round 1"),
    "DECIDE on no proposal": (lambda w: w.say(w.planners()[0], "DECIDE", {"round": 0, "k": 3}, [v.id for v in w.stage("votes")]), "no valid proposal"),
    "CLAIM of another worker's attempt": (lambda w: w.say("w1", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 60}, [w.id("decided")]), "to another worker"),
    "CLAIM by a stranger": (lambda w: w.say("out", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 60}, [w.id("decided")]), "to another worker"),
    "CLAIM before a decision": (lambda w: w.say("w0", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 60}, [w.id("proposal")]), "no valid decision"),
    "CLAIM of no task": (lambda w: w.say("w0", "CLAIM", {"task": "t9", "attempt": 0, "lease_s": 60}, [w.id("decided")]), "no such task or attempt"),
    "CLAIM of no attempt": (lambda w: w.say("w0", "CLAIM", {"task": "t1", "attempt": 2, "lease_s": 60}, [w.id("decided")]), "no such task or attempt"),
    "CLAIM of the next attempt too soon": (lambda w: w.say("w1", "CLAIM", {"task": "t1", "attempt": 1, "lease_s": 60}, [w.id("decided")]), "does not show how attempt 0 ended"),
    "CLAIM before the parent's result": (lambda w: w.say("w0", "CLAIM", {"task": "t2", "attempt": 0, "lease_s": 60}, [w.id("decided")]), "result of t1"),
    "COMMIT after the lease": (lambda w: w.say("w0", "COMMIT", w.commit_body(), [w.id("claimed")], ts_ns=w.stage("claimed").ts_ns + 60 * S_NS + 1), "lease had expired"),
    "COMMIT under another's lease": (lambda w: w.say("w1", "COMMIT", w.commit_body(), [w.id("claimed")]), "lease is another's"),
    "COMMIT of another task under a lease": (lambda w: w.say("w0", "COMMIT", w.commit_body(task="t2"), [w.id("claimed")]), "lease is another's"),
    "COMMIT without a lease": (lambda w: w.say("w0", "COMMIT", w.commit_body(), [w.id("decided")]), "no valid claim"),
    "COMMIT under a void claim": (lambda w: w.say("w1", "COMMIT", w.commit_body(), [w.take(w.say("w1", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 60}, [w.id("decided")])).id]), "no valid claim"),
    "YIELD of another's lease": (lambda w: w.say("w1", "YIELD", {"task": "t1", "attempt": 0, "reason": ""}, [w.id("claimed")]), "lease is another's"),
    "YIELD of another attempt": (lambda w: w.say("w0", "YIELD", {"task": "t1", "attempt": 1, "reason": ""}, [w.id("claimed")]), "another attempt"),
    "YIELD unclaimed by another worker": (lambda w: w.say("w1", "YIELD", {"task": "t1", "attempt": 0, "reason": ""}, [w.id("decided")]), "to another worker"),
    "RELEASE before the lease expires": (lambda w: released(w, "expired", w.planners()[0], [w.id("claimed")]), "has not expired"),
    "RELEASE by a verifier of no committee": (lambda w: released(w, "expired", w.others(w.planners())[0], [w.id("claimed")], after_s=90), "not in the committee"),
    "RELEASE of another attempt": (lambda w: released(w, "expired", w.planners()[0], [w.id("claimed")], attempt=1, after_s=90), "another attempt"),
    "RELEASE as expired without a claim": (lambda w: released(w, "expired", w.planners()[0], [w.id("decided")], after_s=90), "no valid claim"),
    "RELEASE as unclaimed too soon": (lambda w: released(w, "unclaimed", w.planners()[0], [w.id("decided")]), "still has time to claim"),
    "RELEASE as rejected by too few": (lambda w: released(w, "rejected", "v0", [w.id("committed"), *w.attests("reject", 2)]), "2 of the committee say reject, 3 are needed"),
    "RELEASE as rejected what was accepted": (lambda w: released(w, "rejected", "v0", [w.id("committed"), *w.stage("attests")]), "0 of the committee say reject"),
    "RELEASE as rejected another attempt": (lambda w: released(w, "rejected", "v0", [w.id("committed"), *w.attests("reject", 3)], attempt=1), "another attempt"),
    "ATTEST by a verifier of no committee": (lambda w: (w.stage("committed"), w.say(w.others(w.judges())[0], "ATTEST", w.attest_body(), [w.id("committed")]))[1], "not in the committee"),
    "ATTEST by the worker": (lambda w: w.say("w0", "ATTEST", w.attest_body(), [w.id("committed")]), "not in the committee"),
    "ATTEST of another task": (lambda w: (w.stage("committed"), w.say(w.judges()[0], "ATTEST", w.attest_body(task="t2"), [w.id("committed")]))[1], "another task"),
    "ATTEST of no result": (lambda w: (w.stage("claimed"), w.say(w.judges()[0], "ATTEST", w.attest_body(), [w.id("claimed")]))[1], "no valid result"),
    "FINALIZE with too few attests": (lambda w: w.say("v0", "FINALIZE", w.accepted(), [w.id("committed"), *w.stage("attests")[:2]]), "2 of the committee say accept, 3 are needed"),
    "FINALIZE with attests against": (lambda w: w.say("v0", "FINALIZE", w.accepted(), [w.id("committed"), *w.attests("reject", 3)]), "0 of the committee say accept"),
    "FINALIZE with one judge's attest twice": (lambda w: w.say("v0", "FINALIZE", w.accepted(), [w.id("committed"), *w.stage("attests")[:2], *w.attests("accept", 1)]), "2 of the committee say accept"),
    "FINALIZE with the attests of another result": (lambda w: w.say("v0", "FINALIZE", w.accepted(result=Link(raw_cid(b"other"))), [w.good("w0", "COMMIT", w.commit_body(result=Link(raw_cid(b"other"))), [w.id("claimed")]).id, *w.stage("attests")]), "0 of the committee say accept"),
    "FINALIZE another result": (lambda w: w.say("v0", "FINALIZE", w.accepted(result=Link(raw_cid(b"other"))), [w.id("committed"), *w.stage("attests")]), "another task or result"),
    "FINALIZE another task": (lambda w: w.say("v0", "FINALIZE", w.accepted(task="t2"), [w.id("committed"), *w.stage("attests")]), "another task or result"),
    "FINALIZE no result": (lambda w: w.say("v0", "FINALIZE", w.accepted(), w.stage("attests")), "no valid result"),
    "FINALIZE as refunded with candidates left": (lambda w: w.say(w.planners()[0], "FINALIZE", {"outcome": "refunded", "task": "t1", "reason": ""}, [w.id("yielded")]), "candidates left"),
    "FINALIZE as refunded by a stranger": (lambda w: w.say("own", "FINALIZE", {"outcome": "refunded", "task": "t1", "reason": ""}, [w.id("yielded")]), "not in the committee"),
    "FINALIZE as refunded while it runs": (lambda w: w.say(w.planners()[0], "FINALIZE", {"outcome": "refunded", "task": "t1", "reason": ""}, [w.id("claimed")]), "no valid ending"),
    "FINALIZE as expired too soon": (lambda w: (w.stage("need"), w.say("own", "FINALIZE", {"outcome": "expired", "reason": ""}, ts_ns=START_NS + DEADLINE_S * S_NS))[1], "have not passed"),
    "FINALIZE as expired by a stranger": (lambda w: (w.stage("need"), w.say("out", "FINALIZE", {"outcome": "expired", "reason": ""}, ts_ns=START_NS + 2 * DEADLINE_S * S_NS))[1], "only the owner or a verifier"),
    "UPDATE_PLAN by a stranger": (lambda w: w.say("out", "UPDATE_PLAN", {"ops": [{"op": "ANNOTATE", "task": "", "key": "k", "value": 1}]}, [w.id("need")]), "only the owner, or a worker"),
    "UPDATE_PLAN by a worker with another's claim": (lambda w: w.say("w1", "UPDATE_PLAN", {"ops": [{"op": "ANNOTATE", "task": "", "key": "k", "value": 1}]}, [w.id("claimed")]), "only the owner, or a worker"),
    "UPDATE_PLAN by a worker about the need": (lambda w: w.say("w0", "UPDATE_PLAN", {"ops": [{"op": "ANNOTATE", "task": "", "key": "anchor", "value": "eip155:1:0x00"}]}, [w.id("claimed")]), "notes something of the need"),
    "UPDATE_PLAN by a worker about another's task": (lambda w: w.say("w0", "UPDATE_PLAN", {"ops": [{"op": "ANNOTATE", "task": "t1", "key": "k", "value": 1}, {"op": "ANNOTATE", "task": "t2", "key": "k", "value": 1}]}, [w.id("claimed")]), "notes something of t2"),
    "UPDATE_PLAN, a worker adds a task": (lambda w: w.say("w0", "UPDATE_PLAN", {"ops": [spec_after(w, "t3")]}, [w.id("claimed")]), "only the owner adds tasks"),
    "UPDATE_PLAN sets a state": (lambda w: w.say("own", "UPDATE_PLAN", {"ops": [{"op": "STATE", "task": "t1", "state": "FINALIZED"}]}, [w.id("need")]), "states follow from the verbs"),
    "UPDATE_PLAN links into a task that was there": (lambda w: w.say("own", "UPDATE_PLAN", {"ops": [{"op": "LINK", "parent": "t2", "child": "t1"}]}, [w.id("need")]), "a link into t1"),
    "UPDATE_PLAN closes a cycle": (lambda w: w.say("own", "UPDATE_PLAN", {"ops": [spec_after(w, "x", "y"), spec_after(w, "y", "x")]}, [w.id("need")]), "wait for each other: x -> y -> x"),
    "UPDATE_PLAN after no task": (lambda w: w.say("own", "UPDATE_PLAN", {"ops": [spec_after(w, "x", "nine")]}, [w.id("need")]), "comes after nine, which does not exist"),
    "UPDATE_PLAN adds a task that was there": (lambda w: w.say("own", "UPDATE_PLAN", {"ops": [spec_after(w, "t1")]}, [w.id("need")]), "two tasks have one id"),
    "CHALLENGE of what is paid at once": (lambda w: w.challenge(w.id("final")), "paid at once and cannot be challenged"),
    "RECONCILE of an epoch that drew nobody": (lambda w: w.say("v0", "RECONCILE", {"epoch": 0, "orphaned": []}, [w.id("decided")]), "drew no new committee"),
    "RECONCILE of what stands": (lambda w: w.say("v0", "RECONCILE", {"epoch": w.drawn_anew(), "orphaned": [Link(w.id("decided"))]}, [w.id("need"), w.id("decided")]), "no epoch has orphaned"),
    "RECONCILE without its refs": (lambda w: w.say("v0", "RECONCILE", {"epoch": w.drawn_anew(), "orphaned": [Link(w.id("decided"))]}, [w.id("need")]), "does not refer"),
    "CHECKPOINT": (lambda w: w.say("v0", "CHECKPOINT", {"epoch": 1, "round": 0, "root": bytes(32), "state": bytes(32)}, [w.id("need")]), "does nothing in this version"),
}  # fmt: skip


# The same in a mesh that has a challenge window.
VOID_CHALLENGE = {
    "CHALLENGE of what is no result": (lambda w: w.challenge(w.id("committed")), "no valid accepted result"),
    "CHALLENGE of another task": (lambda w: w.challenge(w.id("final"), task="t2"), "another task"),
    "CHALLENGE of one's own result": (lambda w: w.challenge(w.id("final"), who="w0"), "the challenger's own"),
    "CHALLENGE for less than the bond": (lambda w: w.challenge(w.id("final"), amount=9_999), "the bond is 9999; it must be 10000"),
    "CHALLENGE for more than the bond": (lambda w: w.challenge(w.id("final"), amount=10_001), "the bond is 10001"),
    "ATTEST of a challenge by a judge of the result": (lambda w: (w.stage("challenged"), w.say(w.judges()[0], "ATTEST", w.attest_body(), [w.id("challenged")]))[1], "not in the committee"),
    "ATTEST of a challenge by its challenger": (lambda w: w.say("out", "ATTEST", w.attest_body(), [w.id("challenged")]), "not in the committee"),
    "ATTEST of a challenge by a verifier who challenges": (lambda w: w.say(w.reviewers()[0], "ATTEST", w.attest_body(), [w.take(w.challenge(w.id("final"), who=w.reviewers()[0])).id]), "not in the committee"),
    "ATTEST of a challenge by the worker": (lambda w: w.say("w0", "ATTEST", w.attest_body(), [w.id("challenged")]), "not in the committee"),
    "ATTEST of a challenge of another task": (lambda w: w.say(w.reviewers()[0], "ATTEST", w.attest_body(task="t2"), [w.id("challenged")]), "another task"),
    "INVALIDATE of no challenge": (lambda w: w.ruling(w.id("final"), *w.stage("attests")), "no valid challenge"),
    "INVALIDATE of another task": (lambda w: w.ruling(w.id("challenged"), *w.reviews("reject"), task="t2"), "another task"),
    "INVALIDATE without reviews": (lambda w: w.ruling(w.id("challenged")), "0 of the committee say reject, 2 are needed"),
    "INVALIDATE with too few": (lambda w: w.ruling(w.id("challenged"), *w.reviews("reject")[:1]), "1 of the committee say reject, 2 are needed"),
    "INVALIDATE with one review twice": (lambda w: w.ruling(w.id("challenged"), *w.reviews("reject", who=w.reviewers()[:1] * 2)), "1 of the committee say reject"),
    "INVALIDATE what they accept": (lambda w: w.ruling(w.id("challenged"), *w.reviews("accept")), "0 of the committee say reject"),
    "INVALIDATE by the first judges' rejects": (lambda w: (lambda rejects: w.ruling(w.id("challenged"), *rejects))(w.attests("reject", 5)), "0 of the committee say reject"),
    "INVALIDATE with reviews of another challenge": (lambda w: (lambda other: w.ruling(w.id("challenged"), *w.reviews("reject", challenge=other)))(w.take(w.challenge(w.id("final"), who="w1")).id), "0 of the committee say reject"),
    "INVALIDATE with all but one excused": (lambda w: w.ruling(w.id("challenged"), *w.reviews("abstain"), ), "0 of the committee say reject"),
    "FINALIZE as dismissed with too few": (lambda w: w.ruling(w.id("challenged"), *w.reviews("accept")[:1], verdict="accept"), "1 of the committee say accept, 2 are needed"),
    "FINALIZE as dismissed what they reject": (lambda w: w.ruling(w.id("challenged"), *w.reviews("reject"), verdict="accept"), "0 of the committee say accept"),
    "FINALIZE as dismissed no challenge": (lambda w: w.ruling(w.id("final"), verdict="accept"), "no valid challenge"),
}  # fmt: skip


@pytest.fixture
def world(author_of, make_task):
    return World(author_of, make_task)


@pytest.fixture
def watched(author_of, make_task):
    return World(author_of, make_task, window_s=600)


@pytest.mark.property_id("P3")
@pytest.mark.parametrize("name", VOID_CHALLENGE)
def test_void_challenges(watched, name):
    """An invalid challenge reverses nothing, and neither does an invalid answer to a valid one."""
    moves_nothing(watched, *VOID_CHALLENGE[name])


@pytest.mark.property_id("P3")
def test_a_valid_challenge_reverses(watched):
    """The stages that the table builds on are good ones."""
    watched.stage("challenged")
    need = watched.need
    assert need.payments() == {} and need.earned() == {"t1": (watched.did["w0"], 20_000)}
    ruling = watched.take(watched.ruling(watched.id("challenged"), *watched.reviews("reject")))
    assert need.void == {}
    run = need.runs["t1"]
    assert (run.state, run.attempt, run.ending.id, run.final) == ("DECIDED", 1, ruling.id, None)
    assert (need.earned(), need.invalid) == ({}, {watched.id("committed"): ruling.id})
    # The next candidate shows how the attempt before it ended.
    claim = {"task": "t1", "attempt": 1, "lease_s": 60}
    watched.good("w1", "CLAIM", claim, [watched.id("decided"), ruling.id])
    assert run.state == "CLAIMED"


@pytest.mark.property_id("P3")
def test_an_invalid_challenge_reverses_nothing(watched):
    ruling = watched.take(
        watched.ruling(watched.id("challenged"), *watched.reviews("accept"), verdict="accept")
    )
    need = watched.need
    assert (need.void, need.invalid, list(need.rulings)) == ({}, {}, [ruling.id])
    assert need.runs["t1"].state == "FINALIZED" and need.earned() == {"t1": (watched.did["w0"], 20_000)}


@pytest.mark.property_id("P6")
@pytest.mark.property_id("P5")
@pytest.mark.parametrize("name", VOID)
def test_void(world, name):
    """On record with its reason, its sender reported, and nothing moved."""
    moves_nothing(world, *VOID[name])


def moves_nothing(world, envelope_of, reason):
    envelope = envelope_of(world)
    world.stage("need")
    before = moved(world)
    world.out.clear()
    world.take(envelope)
    assert reason in world.need.void[envelope.id]
    assert [effect.did for effect in world.out if isinstance(effect, Report)] == [envelope.sender]
    assert moved(world) == before
    # What refers to a void envelope as if it were good is void itself, and that, too, only once.
    digest = mesh_digest(world.state)
    world.take(envelope)
    assert mesh_digest(world.state) == digest


def test_the_same_life_without_a_lie_goes_through(world):
    """The stages that the table builds on are good ones: otherwise it would show nothing."""
    assert world.stage("final")
    need = world.need
    assert (need.void, need.runs["t1"].state, need.payments()) == (
        {},
        "FINALIZED",
        {"t1": (world.did["w0"], 20_000)},
    )
    assert world.state.ledger.account(world.did["w0"]).available == 20_000
    claim = world.good(
        "w0", "CLAIM", {"task": "t2", "attempt": 0, "lease_s": 60}, [world.id("decided"), world.id("final")]
    )
    assert need.runs["t2"].claim.id == claim.id


def test_what_ends_an_attempt_lets_the_next_begin(world):
    """P5 in its three ways: yielded, expired, unclaimed; and a refund when nobody is left."""
    world.good(
        "w1", "CLAIM", {"task": "t1", "attempt": 1, "lease_s": 60}, [world.id("decided"), world.id("yielded")]
    )
    run = world.need.runs["t1"]
    assert (run.attempt, run.state, run.ending.cause) == (1, "CLAIMED", "yielded")
    world.now_ns += 61 * S_NS
    last = world.good(
        world.planners()[3], "RELEASE", {"task": "t1", "attempt": 1, "cause": "expired"}, [run.claim.id]
    )
    assert world.need.runs["t1"].state == "FAILED"
    world.good(
        world.planners()[4],
        "FINALIZE",
        {"outcome": "refunded", "task": "t1", "reason": "none left"},
        [last.id],
    )
    assert world.need.state() == "REFUNDED"
    assert world.state.ledger.account(world.did["own"]).available == 1_000_000


def test_expired_by_the_owner_after_the_grace(world):
    world.stage("need")
    ts_ns = START_NS + (DEADLINE_S + 60) * S_NS
    world.good("own", "FINALIZE", {"outcome": "expired", "reason": "late"}, [world.id("need")], ts_ns=ts_ns)
    assert world.need.state() == "EXPIRED"


def test_voting_twice_is_on_record_as_proof(world):
    """P1: a member that accepts two proposals of one epoch is named with both votes."""
    traitor = world.planners()[0]
    one, other = (world.vote(traitor, world.id(name)).id for name in ("proposal", "rival"))
    assert world.need.equivocators == {world.did[traitor]: (min(one, other), max(one, other))}


def test_a_plan_that_may_be_decided_is_proposed_again_and_is_one_decision(world):
    """P1: in round 1 what a member voted for in round 0 is decided, under the name it had there."""
    again = world.take(world.in_round(1, world.stage("skips")))
    assert world.need.proposals[again.id].value == world.id("proposal")
    votes = [world.vote(who, again.id).id for who in world.planners()[1:4]]
    refs = [again.id, *votes]
    world.good(world.planners()[1], "DECIDE", {"round": 1, "k": 3}, refs, lamport=world.lamport + 100)
    late = [world.vote(who, world.id("proposal")).id for who in world.planners()[2:]]
    refs = [world.id("proposal"), *late]
    first = world.good(world.planners()[0], "DECIDE", {"round": 0, "k": 3}, refs)
    assert {decide.proposal for decide in world.need.decides.values()} == {world.id("proposal")}
    assert world.need.decided.id == first.id
    assert world.need.spec("t1") == world.need.tasks["t1"]


def test_a_round_in_which_nobody_voted_leaves_the_next_one_free(world):
    world.stage("proposal")
    skips = [world.take(world.skip(who)) for who in world.planners()[2:]]
    other = world.take(world.in_round(1, skips, t2=[[world.did["w1"], 1]]))
    assert world.need.proposals[other.id].value == other.id


def test_who_hides_a_vote_or_goes_below_a_skip_is_named_with_both(world):
    """P1, in whatever order the two are heard."""
    honest, hides, returns = world.planners()[:3]
    shown = world.vote(honest, world.id("proposal"))
    hidden = world.vote(hides, world.id("proposal"))
    said = [
        (honest, world.skip(honest, shown.id)),
        (hides, world.skip(hides)),
        (returns, world.skip(returns)),
        (
            returns,
            world.say(returns, "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, [world.id("proposal")]),
        ),
    ]
    proofs = {
        world.did[hides]: tuple(sorted((hidden.id, said[1][1].id))),
        world.did[returns]: tuple(sorted((said[2][1].id, said[3][1].id))),
    }
    for need in onlookers(
        world, [world.stage("proposal"), shown, hidden, *(envelope for _, envelope in said)]
    ):
        assert need.equivocators == proofs


def test_claims_are_held_to_the_decided_definition_of_a_task(world):
    """Two updates define t3; the decided proposal refers to one of them, whichever came first."""
    first = world.good("own", "UPDATE_PLAN", {"ops": [spec_after(world, "t3", "t1")]}, [world.id("need")])
    second = world.good("own", "UPDATE_PLAN", {"ops": [spec_after(world, "t3")]}, [world.id("need")])
    assert first.id in world.need.updates
    cheap = [[world.did["w0"], 10_000]]
    proposal = world.good(
        world.planners()[0],
        "PROPOSE",
        {"round": 0, "lease_s": 60, "plan": {"t1": cheap, "t2": cheap, "t3": cheap}},
        [world.id("need"), second.id],
    )
    votes = [world.vote(who, proposal.id).id for who in world.planners()[:3]]
    decide = world.good(world.planners()[0], "DECIDE", {"round": 0, "k": 3}, [proposal.id, *votes])
    world.good("w0", "CLAIM", {"task": "t3", "attempt": 0, "lease_s": 60}, [decide.id])  # without t1's result
    assert world.need.spec("t3").parents == ()


def onlookers(world, envelopes):
    """The states of two nodes that hear `envelopes` in this order and in the other."""
    for order in (envelopes, envelopes[::-1]):
        state = State(world.genesis, world.did["zoe"], check_everything=True)
        step(state, Admitted((world.stage("need"), *order), {}, world.now_ns))
        yield state.needs[world.thread]


def two_decisions(world):
    """Three members vote for two proposals, and one of them decides both at one lamport."""
    proposals = [world.stage("proposal"), world.stage("rival")]
    votes = [[world.vote(who, proposal.id) for who in world.planners()[:3]] for proposal in proposals]
    lamport = world.lamport + 1
    return [
        world.good(
            world.planners()[0],
            "DECIDE",
            {"round": 0, "k": 3},
            [proposal.id, *(v.id for v in cast)],
            lamport=lamport,
        )
        for proposal, cast in zip(proposals, votes, strict=True)
    ], [*proposals, *votes[0], *votes[1]]


def test_two_decisions_of_one_decider_at_one_lamport_have_one_winner(world):
    decides, before = two_decisions(world)
    winners = {need.decided.id for need in onlookers(world, [*before, *decides])}
    assert winners == {min(decide.id for decide in decides)} == {world.need.decided.id}


def test_of_the_decisions_for_one_proposal_the_earliest_stands(world):
    first = world.stage("decided")
    again = world.good(
        world.planners()[4],
        "DECIDE",
        {"round": 0, "k": 3},
        [world.id("proposal"), *(v.id for v in world.stage("votes"))],
    )
    assert again.lamport > first.lamport
    assert world.need.decided.id == first.id


def test_an_ending_under_another_plan_ends_nothing_here(world):
    """P5: what ended under the losing plan does not let the second worker of the winning one begin."""
    decides, _ = two_decisions(world)
    ended = world.good("w0", "YIELD", {"task": "t1", "attempt": 0, "reason": ""}, [decides[1].id])
    early = world.take(
        world.say("w1", "CLAIM", {"task": "t1", "attempt": 1, "lease_s": 60}, [decides[0].id, ended.id])
    )
    assert "does not show how attempt 0 ended" in world.need.void[early.id]


def test_a_lease_is_as_long_as_the_plan_says_at_most(world):
    claim = world.good("w0", "CLAIM", {"task": "t1", "attempt": 0, "lease_s": 86_400}, [world.id("decided")])
    assert world.need.claims[claim.id].until_ns == claim.ts_ns + 60 * S_NS


def test_the_first_of_two_results_under_one_lease_stands(world):
    world.stage("committed")
    other = world.good(
        "w0",
        "COMMIT",
        world.commit_body(result=Link(raw_cid(b"other"))),
        [world.id("claimed")],
        ts_ns=world.stage("committed").ts_ns,
    )
    least = min(other.id, world.id("committed"))
    chain = [
        world.stage("proposal"),
        *world.stage("votes"),
        world.stage("decided"),
        world.stage("claimed"),
        world.stage("committed"),
        other,
    ]
    assert (
        {need.runs["t1"].commit.id for need in onlookers(world, chain)}
        == {least}
        == {world.need.runs["t1"].commit.id}
    )


def test_who_abstains_gives_up_the_verdict(world):
    """A judge that abstained is replaced, and what else it says of this result no longer counts."""
    commit = world.id("committed")
    abstain = world.good(world.judges()[0], "ATTEST", world.attest_body("abstain"), [commit]).id
    refs = [commit, *world.stage("attests")]
    both = world.take(world.say("v0", "FINALIZE", world.accepted(), [*refs, abstain]))
    assert "2 of the committee say accept, 3 are needed" in world.need.void[both.id]
    stand_in = world.others(world.judges())[0]
    outside = world.take(world.say(stand_in, "ATTEST", world.attest_body(), [commit]))
    assert "not in the committee" in world.need.void[outside.id]
    inside = world.good(stand_in, "ATTEST", world.attest_body(), [commit, abstain])
    world.good("v0", "FINALIZE", world.accepted(), [*refs, abstain, inside.id])


def test_a_result_after_the_closing_does_not_stand(world):
    """The need expired at a time; a certificate of later date reopens nothing, one of earlier date does."""
    refs = [world.id("committed"), *world.stage("attests")]
    closing_ns = START_NS + (DEADLINE_S + 60) * S_NS
    world.good(
        "own", "FINALIZE", {"outcome": "expired", "reason": "late"}, [world.id("need")], ts_ns=closing_ns
    )
    late = world.good("v0", "FINALIZE", world.accepted(), refs, ts_ns=closing_ns + 1)
    assert late.id in world.need.finals
    assert world.need.payments() == {}
    world.good("v1", "FINALIZE", world.accepted(), refs, ts_ns=closing_ns - 1)
    assert world.need.payments() == {"t1": (world.did["w0"], 20_000)}
    world.state.ledger.check_all()


def test_a_result_that_a_checkpoint_found_does_not_fall_to_an_earlier_closing(world):
    """The checkpoint was certified with it: whoever hears the closing later must not end up with other money."""
    refs = [world.id("committed"), *world.stage("attests")]
    closing_ns = START_NS + (DEADLINE_S + 60) * S_NS
    final = world.good("v0", "FINALIZE", world.accepted(), refs, ts_ns=closing_ns + 1)
    world.need.fixed_finals = {"t1": final.id}  # as adopting a checkpoint that found it sets it
    world.good(
        "own", "FINALIZE", {"outcome": "expired", "reason": "late"}, [world.id("need")], ts_ns=closing_ns
    )
    assert world.need.runs["t1"].final.id == final.id
    assert world.need.payments() == {"t1": (world.did["w0"], 20_000)}
    world.state.ledger.check_all()


def test_a_claim_that_crosses_the_closing_starts_no_work(world):
    """Between our saying CLAIM and its being durable we hear a closing that undoes the result it builds on."""
    world.state = State(world.genesis, world.did["w0"], check_everything=True)
    refs = [world.id("committed"), *world.stage("attests")]
    closing_ns = START_NS + (DEADLINE_S + 60) * S_NS
    late = world.good("v0", "FINALIZE", world.accepted(), refs, ts_ns=closing_ns + 1)
    task = {"task": "t2", "attempt": 0, "lease_s": 60}
    claim = world.say("w0", "CLAIM", task, [world.id("decided"), late.id], ts_ns=closing_ns + 2)
    expired = {"outcome": "expired", "reason": "late"}
    world.good("own", "FINALIZE", expired, [world.id("need")], ts_ns=closing_ns)
    assert world.need.runs["t1"].final is None
    assert step(world.state, Authored(claim, world.now_ns)) == []
    assert claim.id in world.need.claims


REFUSED = {
    "cycle": (lambda w: {"tasks": [w.make_task("a", after=("b",)), w.make_task("b", after=("a",))]}, "wait for each other: a -> b -> a"),
    "a task after itself": (lambda w: {"tasks": [w.make_task("a", after=("a",))]}, "wait for each other: a -> a"),
    "a parent that is not there": (lambda w: {"tasks": [w.make_task("a", after=("b",))]}, "comes after b, which does not exist"),
    "two tasks of one id": (lambda w: {"tasks": [w.make_task("a"), w.make_task("a")]}, "two tasks have one id"),
    "over the budget": (lambda w: {"budget": 59_999}, "more than the budget"),
    "too far a deadline": (lambda w: {"deadline_ns": START_NS + 31 * 86_400 * S_NS}, "deadline is more than"),
    "too many edges": (lambda w: {"budget": 1 << 60, "tasks": [*(w.make_task(f"r{i}") for i in range(48)), *(w.make_task(f"c{i}", after=tuple(f"r{j}" for j in range(48))) for i in range(171))]}, "too many edges"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_need_that_contradicts_itself_moves_nothing(world, name):
    change, reason = REFUSED[name]
    world.take(world.say("own", "NEED", world.needed(**change(world))))
    assert reason in world.state.refused[world.thread]
    assert world.state.needs == {}
    assert world.state.ledger.entries == {}
    # It leaves no trace: the owner may say a NEED that stands.
    world.good("own", "NEED", world.needed())
    assert world.state.refused == {}


def lies_about_the_thread(w):
    """NEEDs that are not the owner's at entry 0 of epoch 0, all for the thread that is."""
    yield w.say("out", "NEED", w.needed())
    yield w.say("out", "NEED", w.needed(budget=1))
    yield w.say("own", "NEED", w.needed(fund={"seq": 1, "prev": bytes(32)}))


@pytest.mark.property_id("P10")
@pytest.mark.parametrize("before", [True, False])
def test_nobody_can_squat_a_need(world, before):
    """The id of one's next need can be foreseen; a NEED of another under it leaves no trace, before or after."""
    lies = list(lies_about_the_thread(world))
    true = world.say("own", "NEED", world.needed())
    for envelope in [*lies, true] if before else [true, *lies]:
        world.out.clear()
        world.take(envelope)
        assert any(isinstance(effect, Report) for effect in world.out) == (envelope is not true)
    assert world.state.refused == {}
    assert set(world.need.seen) == {true.id}
    assert world.state.ledger.account(world.did["own"]).locked == 70_000


# Any order, any lie -----------------------------------------------------------------------------------------


def lie(dice, honest, dids):
    """An envelope like one of `honest`, with some of it changed: who, when, what it refers to, what it says."""
    model = dice.choice(honest)
    thread = [envelope for envelope in honest if envelope.thread == model.thread]
    payload = dict(model.payload)
    for name, choices in {
        "task": ["t1", "t2", "t3"], "attempt": [0, 1, 2], "verdict": ["accept", "reject"], "cause": ["expired", "unclaimed", "rejected"],
        "lease_s": [0, 60], "outcome": ["accepted"], "score": [0, 100],
    }.items():  # fmt: skip
        if name in payload and dice.random() < 0.3:
            payload[name] = dice.choice(choices)
    refs = [ref for ref in model.refs if dice.random() < 0.9]
    refs += [e.id for e in dice.sample(thread, min(len(thread), dice.choice([0, 0, 1, 3])))]
    sender = model.sender if dice.random() < 0.5 else dice.choice(dids)
    known = {e.id: e for e in honest}
    after = max((known[ref].lamport for ref in refs if ref in known), default=0)
    # From the past or the future, and each kind of honest time.
    ts_ns = dice.choice([model.ts_ns, model.ts_ns + dice.randrange(-3, 90) * S_NS])
    try:
        return build(
            kind=model.kind, thread=model.thread if dice.random() < 0.95 else dice.choice(honest).thread, sender=sender,
            lamport=max(1, dice.choice([model.lamport, after + 1, after + dice.randrange(-2, 4)])), ts_ns=ts_ns, epoch=0 if dice.random() < 0.97 else 1,
            payload=payload, refs=tuple(dict.fromkeys(refs)), policy=bytes(32), eval_digest=bytes(32),
        )  # fmt: skip
    except RemoteFault:
        return None  # never leaves the wire


def lived(mesh_of, make_task, seed, dice):
    """All envelopes of a mesh where agents fail, judges say no and abstain, time passes and a worker vanishes."""
    names = ["ann", "bob", "cid", "dan", "eve"]
    mesh = mesh_of(names, seed=seed, alpha_permille=600, bootstrap_threshold=dice.choice([0, 10]))
    mesh.answer = lambda node, job: None if dice.random() < 0.2 else {"n": dice.randrange(2)}
    mesh.judge = lambda node, job: (
        dice.choice(["accept", "accept", "accept", "reject", "abstain"]),
        50,
        "says so",
    )
    for name in dice.sample(names, 2):
        mesh.post(
            name, [make_task("t1"), make_task("t2", after=("t1",)), make_task("t3")], 90_000, deadline_s=100
        )
    for _ in range(dice.randrange(40, 400)):
        mesh.deliver()
    if dice.random() < 0.5:
        gone = mesh.nodes[dice.choice(names)]
        gone.alive = False
    for _ in range(dice.choice([2, 2, 90, 200])):
        mesh.tick(1)
        mesh.run()
    return mesh


def conspiracy(dice, mesh, make_task):
    """All keys of the mesh in one hand: rival plans, double votes, two decisions and two of everything after them."""
    need = dice.choice([need for node in mesh.nodes.values() for need in node.state.needs.values()])
    dids = [node.did for node in mesh.nodes.values()]
    members = committees.plan_committee(Terms(mesh.genesis), need, 0).members
    clock = [dice.randrange(1, 200), mesh.now_ns - 90 * S_NS]

    def say(sender, kind, payload, *refs):
        clock[0] += dice.choice([1, 1, 1, 0])
        clock[1] += dice.choice([0, 1_000, S_NS])
        return build(
            kind=kind, thread=need.id, sender=sender, lamport=clock[0], ts_ns=clock[1], epoch=0, payload=payload, refs=refs,
            policy=bytes(32), eval_digest=bytes(32),
        )  # fmt: skip

    updates = []
    for parents in ((), ("t1",), ("t2", "t3")):
        op = {"op": "ADD_TASK", "task": make_task("t4", price=0, after=parents)}
        updates.append(say(need.owner, "UPDATE_PLAN", {"ops": [op]}, need.envelope))
    yield from updates
    heard, last = [], None
    for turn in range(3):
        round_ = dice.choice([0, 0, 1, 1, 2]) if turn else 0
        used = [update.id for update in updates if dice.random() < 0.4]
        workers = {task: dice.sample(dids, 2) for task in ("t1", "t2", "t3", *(["t4"] if used else []))}
        plan = {
            task: [[did, 0 if task == "t4" else dice.randrange(30_001)] for did in pair]
            for task, pair in workers.items()
        }
        skips = []
        for did in members if round_ else ():
            shown = [vote.id for vote in heard if vote.sender == did and dice.random() < 0.7]
            asks = {"verdict": "skip", "round": round_, "reason": ""}
            skips.append(say(did, "ATTEST_PLAN", asks, need.envelope, *shown))
        yield from skips
        if last is not None and round_ and dice.random() < 0.7:
            plan, used = last
        last = plan, used
        proposal = say(
            members[round_ % len(members)],
            "PROPOSE",
            {"round": round_, "lease_s": 60, "plan": plan},
            need.envelope,
            *used,
            *(skip.id for skip in skips),
        )
        votes = [say(did, "ATTEST_PLAN", {"verdict": "accept", "reason": ""}, proposal.id) for did in members]
        decides = [
            say(
                dice.choice(members), "DECIDE", {"round": round_, "k": 3}, proposal.id, *(v.id for v in votes)
            )
            for _ in range(2)
        ]
        yield from [proposal, *votes, *decides]
        heard += votes
        finals = {}
        for task in workers:
            for worker in workers[task][:1] * 2:
                claim = say(
                    worker,
                    "CLAIM",
                    {"task": task, "attempt": 0, "lease_s": 60},
                    decides[0].id,
                    *finals.values(),
                )
                body = {
                    "task": task,
                    "result": Link(raw_cid(dice.randbytes(1))),
                    "size": 1,
                    "telemetry": TELEMETRY,
                }
                commit = say(worker, "COMMIT", body, claim.id)
                attest = {
                    "task": task,
                    "verdict": dice.choice(["accept", "accept", "reject"]),
                    "score": 1,
                    "reason": "",
                }
                attests = [say(did, "ATTEST", attest, commit.id) for did in dids]
                accepted = {"outcome": "accepted", "task": task, "result": body["result"]}
                final = say(dice.choice(dids), "FINALIZE", accepted, commit.id, *(a.id for a in attests))
                finals[task] = final.id
                yield from [claim, commit, *attests, final]


def deep(state):
    """More than the digest says: which facts each run stands on, and what is paid."""
    return [
        (
            name, need_digest(need), need.payments(), need.state(), sorted(need.void.items()),
            [(task, *(fact and fact.id for fact in (run.ending, run.claim, run.commit, run.final))) for task, run in sorted(need.runs.items())],
            sorted(need.proposals), sorted(need.skips), sorted(need.decides), sorted(need.vote_of), sorted(need.claims), sorted(need.endings), sorted(need.commits),
            sorted(need.attests), sorted(need.finals), sorted(need.closings), sorted(need.equivocators.items()),
        )
        for name, need in sorted(state.needs.items())
    ]  # fmt: skip


@pytest.mark.property_id("P1")
@pytest.mark.property_id("P2")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_order_of_truths_and_lies_gives_one_state(mesh_of, make_task, author_of, seed):
    dice = random.Random(seed)
    mesh = lived(mesh_of, make_task, seed, dice)
    honest = [envelope for node in mesh.nodes.values() for envelope in node.said]
    dids = [node.did for node in mesh.nodes.values()] + [author_of("liar").did]
    everything = honest + (list(conspiracy(dice, mesh, make_task)) if dice.random() < 0.5 else [])
    for _ in range(60):
        told = lie(dice, everything, dids)
        # Two NEEDs under one entry are of one author's chain, which every node takes in order.
        if told is not None and not (told.kind == kinds.NEED and opening.misplaced(told) == ""):
            everything.append(told)
    pictures = []
    for _ in range(3):
        state = State(mesh.genesis, author_of("onlooker").did, check_everything=True)
        order = everything + dice.sample(everything, len(everything) // 3)
        dice.shuffle(order)
        at = 0
        while at < len(order):
            size = dice.choice([1, 1, 2, 9])
            step(state, Admitted(tuple(order[at : at + size]), {}, mesh.now_ns))
            at += size
            if dice.random() < 0.1:
                step(state, Ticked(mesh.now_ns))
        pictures.append((mesh_digest(state), deep(state)))
    assert pictures[0] == pictures[1] == pictures[2]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 32))
def test_an_onlooker_that_hears_all_at_the_end_agrees_with_the_mesh(mesh_of, make_task, author_of, seed):
    dice = random.Random(seed)
    mesh = lived(mesh_of, make_task, seed, dice)
    for node in mesh.nodes.values():
        node.alive = True
    mesh.run()
    mesh.tick(2)
    mesh.run()
    order = [envelope for node in mesh.nodes.values() for envelope in node.said]
    dice.shuffle(order)
    state = State(mesh.genesis, author_of("onlooker").did, check_everything=True)
    step(state, Admitted(tuple(order), {}, mesh.now_ns))
    assert mesh.digests() == {mesh_digest(state)}
