"""A second reading of what a mesh said: decisions, certificates, leases, ends and money, from the envelopes alone.

It shares the wire's formats with the core and none of its rules, and it is stricter: every author here is a daemon
of ours, so whatever breaks a rule is a bug, also where the core would only leave it without effect.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope, need_id
from swarmd.protocol.genesis import Genesis

S_NS = 1_000_000_000
ENDS = ("FINALIZED", "REFUNDED", "EXPIRED")


@dataclass(slots=True)
class Outcome:
    """Where a need stands. `paid`: task -> (worker, minor units); `closing` is how its escrow closes, or None."""

    state: str
    paid: dict[str, tuple[str, int]] = field(default_factory=dict)
    closing: str | None = None


class Reading:
    """All envelopes of a mesh. The checks yield (property, what is wrong)."""

    def __init__(self, genesis: Genesis, envelopes: Iterable[Envelope]) -> None:
        self.genesis = genesis
        self.by_id = {bytes(envelope.id): envelope for envelope in envelopes}
        self.threads: dict[str, list[Envelope]] = {}
        for envelope in sorted(self.by_id.values(), key=lambda e: (e.lamport, e.id)):
            self.threads.setdefault(envelope.thread, []).append(envelope)
        self.needs = {
            thread: said
            for thread, saids in self.threads.items()
            for said in saids
            if said.kind == "NEED" and thread == need_id(said.sender, said.payload["fund"]["seq"])
        }

    def check(self) -> Iterator[tuple[str, str]]:
        for thread, saids in self.threads.items():
            if thread not in self.needs:
                yield "P2", f"{thread}: envelopes, but no NEED"
                continue
            yield from self._decisions(thread)
            for said in saids:
                for broken in _CHECKS.get(said.kind, _nothing)(self, said):
                    yield broken[0], f"{said.kind} {said.id.hex()[-12:]} of {thread}: {broken[1]}"

    # Parts ---------------------------------------------------------------------------------------------

    def _of(self, thread: str, kind: str) -> list[Envelope]:
        return [said for said in self.threads[thread] if said.kind == kind]

    def _ref(self, said: Envelope, *kinds: str) -> Envelope | None:
        """The first envelope of these kinds, of the same need, that `said` refers to."""
        for ref in said.refs:
            found = self.by_id.get(bytes(ref))
            if found is not None and found.kind in kinds and found.thread == said.thread:
                return found
        return None

    def _draw(self, purpose: str, said: Envelope, task: str, out: set[str], gone: set[str]) -> list[str]:
        """The committee: the first 2K-1 of the roster by hash, without who is party to it; K is its majority."""
        genesis = self.genesis
        count = len(genesis.roster)
        share = count * genesis.alpha_permille // 1000
        if purpose == "plan":
            k = max(1, min(genesis.k_target, share))
        else:
            k = 1 if count < genesis.bootstrap_threshold else min(genesis.k_target, max(2, share))
        salt = f"swarmd/{purpose}/1\0{said.thread}\0{task}\0{said.epoch}\0".encode()
        left = [did for did in genesis.roster if did not in gone]
        order = sorted(left, key=lambda did: sha256(salt + did.encode()).digest(), reverse=True)
        return ([did for did in order if did not in out] or order)[: 2 * k - 1]

    def _planners(self, said: Envelope) -> list[str]:
        return self._draw("plan", said, "", {self.needs[said.thread].sender}, set())

    # P1 and P6: decisions ------------------------------------------------------------------------------

    def _decisions(self, thread: str) -> Iterator[tuple[str, str]]:
        decided: dict[int, set[bytes]] = {}
        for said in self._of(thread, "DECIDE"):
            proposal = self._ref(said, "PROPOSE")
            # A later round repeats a plan under another id: what counts is the plan.
            decided.setdefault(said.epoch, set()).add(encode(proposal.payload["plan"]) if proposal else b"")
        for epoch, plans in decided.items():
            if len(plans) > 1:
                yield "P1", f"{thread}: {len(plans)} plans decided in epoch {epoch}"
        votes: dict[tuple[str, int, int], set[bytes]] = {}
        for said in self._of(thread, "ATTEST_PLAN"):
            proposal = self._ref(said, "PROPOSE")
            if said.payload["verdict"] == "accept" and proposal is not None:
                votes.setdefault((said.sender, said.epoch, proposal.payload["round"]), set()).add(proposal.id)
        for (voter, epoch, round_), proposals in votes.items():
            if len(proposals) > 1:
                yield "P1", f"{thread}: {voter} voted for {len(proposals)} in epoch {epoch}, round {round_}"

    def _decide(self, said: Envelope) -> Iterator[tuple[str, str]]:
        proposal = self._ref(said, "PROPOSE")
        if proposal is None:
            yield "P6", "names no proposal"
            return
        members = self._planners(said)
        voters = {
            vote.sender
            for ref in said.refs
            if (vote := self.by_id.get(bytes(ref))) is not None
            and vote.kind == "ATTEST_PLAN"
            and vote.payload["verdict"] == "accept"
            and self._ref(vote, "PROPOSE") is proposal
        }
        yield from self._quorum(said, members, voters)

    def _quorum(self, said: Envelope, members: list[str], signers: set[str]) -> Iterator[tuple[str, str]]:
        if said.sender not in members and said.kind == "DECIDE":
            yield "P6", "its sender is not in the committee"
        strangers = signers - set(members)
        if strangers:
            yield "P6", f"cites {len(strangers)} who are not in the committee"
        need = len(members) // 2 + 1
        if len(signers & set(members)) < need:
            yield "P6", f"cites {len(signers & set(members))} of the committee of {len(members)}, not {need}"

    # P6: results ---------------------------------------------------------------------------------------

    def _finalize(self, said: Envelope) -> Iterator[tuple[str, str]]:
        outcome = said.payload["outcome"]
        need = self.needs[said.thread]
        if outcome == "accepted":
            commit = self._ref(said, "COMMIT")
            if commit is None:
                yield "P6", "names no result"
                return
            if (said.payload["task"], said.payload["result"]) != (
                commit.payload["task"],
                commit.payload["result"],
            ):
                yield "P6", "accepts another result than it refers to"
            yield from self._judged(said, commit, "accept")
        elif outcome == "expired":
            if said.ts_ns < need.payload["deadline_ns"] + self.genesis.expiry_grace_s * S_NS:
                yield "P9", "expired before its deadline and grace"
            if said.sender != need.sender and said.sender not in self.genesis.roster:
                yield "P6", "expired by a stranger"
        else:
            ending = self._ref(said, "YIELD", "RELEASE")
            if ending is None or ending.payload["task"] != said.payload["task"]:
                yield "P6", "refunds without showing how the last attempt ended"
            if said.sender not in self._planners(said):
                yield "P6", "refunded by one who is not in the committee"

    def _judged(self, said: Envelope, commit: Envelope, verdict: str) -> Iterator[tuple[str, str]]:
        cited = [
            attest
            for ref in said.refs
            if (attest := self.by_id.get(bytes(ref))) is not None
            and attest.kind == "ATTEST"
            and self._ref(attest, "COMMIT") is commit
        ]
        gone = {attest.sender for attest in cited if attest.payload["verdict"] == "abstain"}
        out = {self.needs[said.thread].sender, commit.sender}
        members = self._draw("result", said, commit.payload["task"], out, gone)
        judges = {attest.sender for attest in cited if attest.payload["verdict"] == verdict}
        yield from self._quorum(said, members, judges)

    # P5: leases ----------------------------------------------------------------------------------------

    def _until_ns(self, claim: Envelope) -> int:
        proposal = self._proposal(claim)
        lease_s = claim.payload["lease_s"]
        if proposal is not None:
            lease_s = min(lease_s, proposal.payload["lease_s"])
        return claim.ts_ns + int(lease_s) * S_NS

    def _proposal(self, said: Envelope) -> Envelope | None:
        """The decided proposal that a CLAIM, or an ending, is about."""
        claim = self._ref(said, "CLAIM") if said.kind in ("YIELD", "RELEASE", "COMMIT") else None
        decide = self._ref(claim or said, "DECIDE")
        return self._ref(decide, "PROPOSE") if decide is not None else None

    def _claim(self, said: Envelope) -> Iterator[tuple[str, str]]:
        proposal = self._proposal(said)
        row = proposal.payload["plan"].get(said.payload["task"], []) if proposal else []
        attempt = said.payload["attempt"]
        if attempt >= len(row) or row[attempt][0] != said.sender:
            yield "P5", "the decided plan gives this attempt to another"
        ended = [
            found.payload
            for ref in said.refs
            if (found := self.by_id.get(bytes(ref))) is not None and found.kind in ("YIELD", "RELEASE")
        ]
        about = (said.payload["task"], attempt - 1)
        if attempt and about not in [(end["task"], end["attempt"]) for end in ended]:
            yield "P5", f"does not show how attempt {attempt - 1} ended"

    def _commit(self, said: Envelope) -> Iterator[tuple[str, str]]:
        claim = self._ref(said, "CLAIM")
        if claim is None or (claim.sender, claim.payload["task"]) != (said.sender, said.payload["task"]):
            yield "P5", "not under a lease of its sender"
        elif said.ts_ns > self._until_ns(claim):
            late_s = (said.ts_ns - self._until_ns(claim)) / S_NS
            yield "P5", f"{late_s:.3f} s after its lease"

    def _release(self, said: Envelope) -> Iterator[tuple[str, str]]:
        cause = said.payload["cause"]
        about = (said.payload["task"], said.payload["attempt"])
        if cause == "rejected":
            commit = self._ref(said, "COMMIT")
            if commit is None:
                yield "P5", "rejects no result"
            else:
                yield from self._judged(said, commit, "reject")
            return
        if said.sender not in self._planners(said):
            yield "P5", "released by one who is not in the committee"
        claim = self._ref(said, "CLAIM")
        if cause == "expired":
            if claim is None or (claim.payload["task"], claim.payload["attempt"]) != about:
                yield "P5", "names no lease that could have expired"
            elif said.ts_ns < self._until_ns(claim):
                yield "P5", "the lease had not expired"
        else:
            since_ns = max((e.ts_ns for ref in said.refs if (e := self.by_id.get(bytes(ref)))), default=0)
            if said.ts_ns < since_ns + self.genesis.claim_timeout_s * S_NS:
                yield "P5", "the worker still had time to claim"

    # What it comes to ----------------------------------------------------------------------------------

    def outcome(self, thread: str) -> Outcome:
        """How a need ended: the decided plan's accepted results that came before its closing, if that came."""
        closings = [said for said in self._of(thread, "FINALIZE") if said.payload["outcome"] != "accepted"]
        closed = min(closings, key=lambda said: (said.ts_ns, said.id), default=None)
        closing = str(closed.payload["outcome"]) if closed else None
        decides = self._of(thread, "DECIDE")
        if not decides:
            waiting = "PROPOSED" if self._of(thread, "PROPOSE") else "OPEN"
            return Outcome(closing.upper() if closing else waiting, closing=closing)
        best = min(decides, key=lambda said: (-said.epoch, -said.lamport, said.sender, said.id))
        proposal = self._ref(best, "PROPOSE")
        plan: dict[str, Any] = proposal.payload["plan"] if proposal else {}
        paid: dict[str, tuple[str, int]] = {}
        finals = [said for said in self._of(thread, "FINALIZE") if said.payload["outcome"] == "accepted"]
        for final in sorted(finals, key=lambda said: (-said.epoch, said.lamport, said.id)):
            commit = self._ref(final, "COMMIT")
            claim = self._ref(commit, "CLAIM") if commit else None
            if claim is None or self._proposal(claim) is not proposal:
                continue
            if closed is None or final.ts_ns <= closed.ts_ns:
                task = claim.payload["task"]
                paid.setdefault(task, (claim.sender, plan[task][claim.payload["attempt"]][1]))
        if plan and len(paid) == len(plan):
            return Outcome("FINALIZED", paid, "released")
        running = "RUNNING" if self._of(thread, "CLAIM") else "DECIDED"
        return Outcome(closing.upper() if closing else running, paid, closing)

    def accounts(self, outcomes: dict[str, Outcome]) -> dict[str, tuple[int, int]]:
        """did -> (available, locked) in minor units, when every need is funded (the run gives enough for that)."""
        available = dict(self.genesis.balances)
        locked = dict.fromkeys(available, 0)
        for thread, outcome in outcomes.items():
            need = self.needs[thread]
            budget = need.payload["budget"]
            spent = sum(price for _, price in outcome.paid.values())
            available[need.sender] -= budget
            if outcome.closing is not None:
                available[need.sender] += budget - spent
            else:
                locked[need.sender] += budget - spent
            for worker, price in outcome.paid.values():
                available[worker] += price
        return {did: (available[did], locked[did]) for did in available}


def _nothing(reading: Reading, said: Envelope) -> Iterator[tuple[str, str]]:
    return iter(())


_CHECKS = {
    "DECIDE": Reading._decide,
    "CLAIM": Reading._claim,
    "COMMIT": Reading._commit,
    "RELEASE": Reading._release,
    "FINALIZE": Reading._finalize,
}
