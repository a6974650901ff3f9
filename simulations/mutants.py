"""Mutants: known bugs, planted in the core one at a time. A net that does not catch them is no net.

Each is a change of source text that must fit exactly once. `python -m swarmd.simulations.mutants NAME` runs
simulations with that core until one breaks a property; without a name, all of them, each in a process of its
own, with the results as a table. What the runs miss must be caught by a test of tests/protocol (looked for in the
working directory), or it is a gap.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

# (seed, nodes, tasks, nemeses): small runs first, from no faults to all.
ALL_FAULTS = "partition,slow,kill,skew,reorder,duplicate,corrupt,loss,disk,liar"
ATTEMPTS = (
    (1, 5, 12, ""),
    (2, 11, 12, "liar"),
    (3, 11, 16, "partition,slow,loss"),
    *((seed, 11, 16, ALL_FAULTS) for seed in range(4, 12)),
    *((seed, 11, 30, "liar,kill") for seed in range(12, 20)),
    *((seed, 11, 30, ALL_FAULTS + ",split") for seed in range(20, 26)),
)

# And with challenges, whose windows checkpoints end.
WINDOWED_ATTEMPTS = (
    (1, 16, 14, ""),
    (3, 16, 14, "liar,kill,partition,reorder"),
    (4, 14, 12, "loss,duplicate,skew,split,disk,corrupt,slow,partition,liar,kill,reorder"),
)
# And with verifiers that join and leave.
JOINING_ATTEMPTS = (
    (1, 12, 12, ""),
    (2, 14, 14, "liar,kill,partition,loss"),
)
# And with chains that are closed soon.
CLOSING_ATTEMPTS = (
    (1, 5, 12, ""),
    (13, 11, 30, ALL_FAULTS),
    (21, 11, 30, ALL_FAULTS),
    (30, 11, 30, ALL_FAULTS + ",split"),
)
CLOSING = ("checkpoint.closing", "stale-words-stand", "closed-chains-in-cuts")  # modules and mutants
WINDOWED = (
    "checkpoint.settling",
    "work.challenging",
    "bonds",
    "reviewing",
)  # modules: their mutants meet these first


@dataclass(frozen=True, slots=True)
class Mutant:
    """In `module` (of swarmd.protocol), `before` becomes `after`."""

    what: str
    module: str
    before: str
    after: str


MUTANTS: dict[str, Mutant] = {
    "decide-quorum-off-by-one": Mutant(
        "a decision stands with one vote too few",
        "consensus.ballot",
        "if len(voters) < quorum:",
        "if len(voters) < quorum - 1:",
    ),
    "result-quorum-off-by-one": Mutant(
        "a result stands with one judge too few",
        "work.committees",
        "if len(by_judge) < drawn.quorum:",
        "if len(by_judge) < drawn.quorum - 1:",
    ),
    "votes-of-any-proposal": Mutant(
        "votes for another proposal count",
        "consensus.ballot",
        "is not None and vote[1] == proposal.id",
        "is not None",
    ),
    "rejects-count-as-accepts": Mutant(
        "an attest counts whatever its verdict",
        "work.committees",
        "        and attest.verdict == verdict\n        and attest.judge in drawn.members",
        "        and attest.judge in drawn.members",
    ),
    "attests-of-another-result": Mutant(
        "an attest of another result counts",
        "work.committees",
        "        and attest.commit == commit.id\n        and attest.verdict == verdict",
        "        and attest.verdict == verdict",
    ),
    "strangers-decide": Mutant(
        "who is not in the committee may speak in it",
        "work.void",
        "if did not in committee.members:",
        "if False:",
    ),
    "strangers-judge": Mutant(
        "attests of strangers count in a certificate",
        "work.committees",
        "        and attest.verdict == verdict\n        and attest.judge in drawn.members",
        "        and attest.verdict == verdict",
    ),
    "worker-judges-itself": Mutant(
        "the worker sits in the committee about its own result",
        "work.committees",
        "draw, (need.owner, worker), abstained",
        "draw, (need.owner,), abstained",
    ),
    "even-committee": Mutant(
        "committees have 2K members, so two halves can each decide",
        "consensus.committee",
        "else 2 * k - 1",
        "else 2 * k",
    ),
    "half-is-a-quorum": Mutant(
        "half of a committee decides",
        "consensus.committee",
        "(size + liars_borne(size, mode)) // 2 + 1",
        "(size + liars_borne(size, mode)) // 2",
    ),
    "bft-by-majority": Mutant(
        "in quorum mode bft a majority of 3f+1 decides",
        "consensus.committee",
        "(size + liars_borne(size, mode)) // 2 + 1",
        "size // 2 + 1",
    ),
    "before-the-arbiter": Mutant(
        "a member decides without the arbiter",
        "consensus.arbitration",
        "    need.waiting_for = WAITING\n    return False\n",
        "    return True\n",
    ),
    "review-quorum-off-by-one": Mutant(
        "a result is reversed with one reviewer too few",
        "work.challenging",
        "if not drawn.members or len(by_judge) < drawn.quorum:",
        "if not drawn.members or len(by_judge) < drawn.quorum - 1:",
    ),
    "reviewers-say-anything": Mutant(
        "a review counts whatever its verdict",
        "work.challenging",
        "        and review.verdict == verdict\n",
        "",
    ),
    "judges-review-themselves": Mutant(
        "who accepted a result is asked again",
        "work.challenging",
        "challenger, *final.judges}",
        "challenger}",
    ),
    "reversed-results-stand": Mutant(
        "a reversed result still counts",
        "work.need",
        "            return fact.commit in self.fallen\n",
        "            return False\n",
    ),
    "made-from-a-lie": Mutant(
        "what was made from a reversed result stands",
        "work.need",
        "            return not self.fallen.isdisjoint(fact.basis)\n",
        "            return False\n",
    ),
    "paid-in-the-window": Mutant(
        "results are paid while they can be challenged",
        "work.need",
        "return {} if self.held() else self.earned()",
        "return self.earned()",
    ),
    "no-window": Mutant(
        "a checkpoint ends a window that it has only just found",
        "checkpoint.settling",
        "if since_ns is None or at_ns < since_ns + window_ns:",
        "if False:",
    ),
    "window-begins-again": Mutant(
        "each checkpoint finds a result for the first time",
        "checkpoint.settling",
        "return {ref: need.found.get(ref, at_ns) for ref in refs}",
        "return dict.fromkeys(refs, at_ns)",
    ),
    "no-reward": Mutant(
        "who has a result reversed earns nothing",
        "checkpoint.settling",
        "        if amount > 0:\n",
        "        if False:\n",
    ),
    "bound-by-the-quickest": Mutant(
        "the first to ask for a round of a checkpoint bind it to a snapshot that nobody can make",
        "checkpoint.ballots",
        "    if _refused(ballot, values) and _more_to_come(state, ballot, drawn, round_, out):\n        return\n",
        "",
    ),
    "frivolity-is-free": Mutant(
        "a bond comes home though the result was right",
        "bonds",
        '            state.ledger.settle(challenge.bond, {"bond": (worker, bond.entry.amount)}, FORFEITED)\n',
        "            state.ledger.settle(challenge.bond, {}, RETURNED if worker else FORFEITED)\n",
    ),
    "judged-by-form-again": Mutant(
        "a challenged result is judged as its owner asked",
        "reviewing",
        'verify={"type": "reexec"},',
        "verify=spec.verify,",
    ),
    "lease-never-ends": Mutant(
        "a result after the end of the lease is taken",
        "work.working",
        "    if envelope.ts_ns > claim.until_ns:\n",
        "    if False:\n",
    ),
    "work-after-the-lease": Mutant(
        "a worker commits though its lease is over",
        "work.returns",
        "    if state.now_ns > claim.until_ns:\n        return\n",
        "",
    ),
    "release-before-expiry": Mutant(
        "a lease that holds can be released as expired",
        "work.working",
        "if envelope.ts_ns < claim.until_ns:",
        "if False:",
    ),
    "unclaimed-too-early": Mutant(
        "no time to claim",
        "work.working",
        "if envelope.ts_ns < since + terms.genesis.claim_timeout_s * S_NS:",
        "if False:",
    ),
    "anyone-claims": Mutant(
        "another than the planned worker claims",
        "work.working",
        "    proposal, task, attempt, worker = _attempt_of(need, envelope)\n    if worker != envelope.sender:",
        "    proposal, task, attempt, worker = _attempt_of(need, envelope)\n    if False:",
    ),
    "anyone-commits": Mutant(
        "a result under another's lease is taken",
        "work.working",
        'if claim.worker != envelope.sender or claim.task != payload["task"]:',
        'if claim.task != payload["task"]:',
    ),
    "anyone-yields": Mutant(
        "another's lease can be yielded",
        "work.working",
        '        if claim.worker != envelope.sender:\n            raise Void("the lease is another\'s")',
        '        if False:\n            raise Void("the lease is another\'s")',
    ),
    "attempt-not-fenced": Mutant(
        "an attempt starts though the one before has not ended",
        "work.working",
        "    if attempt > 0 and not any(",
        "    if attempt > 99 and not any(",
    ),
    "expired-at-once": Mutant(
        "a need can be called expired before its deadline",
        "work.judging",
        "if envelope.ts_ns < need.deadline_ns + terms.genesis.expiry_grace_s * S_NS:",
        "if False:",
    ),
    "refund-with-candidates-left": Mutant(
        "a need is refunded though candidates are left",
        "work.judging",
        "if ending.task != task or ending.attempt + 1 < len(proposal.plan[task]):",
        "if ending.task != task:",
    ),
    "over-the-top-price": Mutant(
        "a plan may cost more than the owner offers",
        "work.deciding",
        "if top > specs[task].max_price:",
        "if False:",
    ),
    "conservation-slip": Mutant(
        "a payment takes one unit too few from the escrow",
        "ledger.accounts",
        "            escrow.held -= amount\n",
        "            escrow.held -= amount - 1\n",
    ),
    "lost-change": Mutant(
        "what is left of an escrow does not come back",
        "ledger.accounts",
        "            owner.available += escrow.held\n",
        "",
    ),
    "paid-twice": Mutant(
        "a result that was paid is paid again",
        "ledger.accounts",
        "            if task in escrow.paid:\n                continue\n",
        "",
    ),
    "overdraft": Mutant(
        "an entry applies though the money is not there",
        "ledger.accounts",
        "if entry.amount > account.available:",
        "if False:",
    ),
    "locked-stays": Mutant(
        "the lock of a closed escrow stays",
        "ledger.accounts",
        "            owner.locked -= escrow.held\n",
        "",
    ),
    "no-rebuild": Mutant(
        "payments of a lost decision stay",
        "ledger.accounts",
        "            self.rebuild()\n            return\n        self._pay(need)",
        "            self._pay(need)\n            return\n        self._pay(need)",
    ),
    "tie-break-by-arrival": Mutant(
        "of two results the one that came first to this node stands",
        "work.need",
        "run.final = min(finals, key=lambda f: (-f.epoch, f.lamport, f.id))",
        "run.final = finals[0]",
    ),
    "closing-by-arrival": Mutant(
        "of two closings the one that came first to this node stands",
        "work.need",
        "min(self.closings.values(), key=lambda c: (c.ts_ns, c.id), default=None)",
        "next(iter(self.closings.values()), None)",
    ),
    "late-results-count": Mutant(
        "a result after the closing is paid where it is heard first",
        "work.need",
        " and not (self.closed and self.closed.ts_ns < f.ts_ns)]",
        "]",
    ),
    "causes-ignored": Mutant(
        "an envelope is judged before what it refers to is here",
        "engine",
        "        if missing is not None:",
        "        if False:",
    ),
    "forgets-the-parked": Mutant(
        "what waited is not taken when its cause comes",
        "engine",
        "        _apply(state, need, envelope, out)\n        todo.extend(_unpark(state, thread, envelope.id))",
        "        _apply(state, need, envelope, out)",
    ),
    "votes-twice": Mutant(
        "a member votes for every proposal of a round",
        "planning",
        "if proposal.round < need.promised or proposal.round in need.voted:",
        "if proposal.round < need.promised or proposal.id in need.voted.values():",
    ),
    "votes-below-its-skip": Mutant(
        "a member votes in a round below the one it asked for",
        "planning",
        "if proposal.round < need.promised or proposal.round in need.voted:",
        "if proposal.round in need.voted:",
    ),
    "skip-hides-the-vote": Mutant(
        "a member that asks for the next round does not show its vote",
        "planning",
        "(need.envelope, latest) if latest else (need.envelope,)",
        "(need.envelope,)",
    ),
    "anyone-proposes": Mutant(
        "who is not the round's proposer may propose in it",
        "work.deciding",
        'if committee.proposer(payload["round"]) != envelope.sender:',
        "if False:",
    ),
    "round-unasked": Mutant(
        "a round opens with one skip too few",
        "consensus.ballot",
        "if len(skips) < quorum:",
        "if len(skips) < quorum - 1:",
    ),
    "plan-not-carried": Mutant(
        "the next round may decide another plan than the one that was voted for",
        "work.deciding",
        "if repeated is not None and (repeated.plan",
        "if False and (repeated.plan",
    ),
    "repeated-is-new": Mutant(
        "a plan that is proposed again counts as another",
        "work.deciding",
        "value=repeated.id if repeated is not None else envelope.id,",
        "value=envelope.id,",
    ),
    "gap-skipped": Mutant(
        "a batch is taken though earlier ones are missing",
        "chains",
        """        if batch.seq > seq:
            self._keep(chain, batch)
            known = min(early for early in self._early[chain] if early > seq)
            return [], Gap(chain, seq, known - 1)
        if batch.prev != prev:
""",
        "        if batch.seq == seq and batch.prev != prev:\n",
    ),
    "any-future": Mutant(
        "a clock may be ahead by any amount",
        "chains",
        "if envelope.ts_ns > latest_ns:",
        "if False:",
    ),
    "unsigned-batches": Mutant(
        "a bad signature is let through",
        "batch",
        "    except (nacl.exceptions.BadSignatureError, ValueError):\n"
        '        raise RemoteFault("bad-signature", f"not signed by {author} for this mesh") from None',
        "    except (nacl.exceptions.BadSignatureError, ValueError):\n        return",
    ),
    "nobody-expires": Mutant(
        "a need past its deadline stays open",
        "duties",
        '    if need.once("expired"):',
        "    if False:",
    ),
    "nobody-releases": Mutant(
        "a lease whose worker is gone is never released",
        "duties",
        '    if state.due(need, at_ns, out, task) and need.once("released", task, claim.attempt, *claim.basis):',
        "    if False:",
    ),
    "fence-skipped": Mutant(
        "what is said late about a closed need is kept for it as if it were open",
        "engine",
        "            if thread in state.closed or _fenced(state, envelope):",
        "            if False:",
    ),
    "closed-need-stays": Mutant(
        "a node keeps needs that a checkpoint closed",
        "checkpoint.adopting",
        "        if name not in snapshot.open and need.fund_seq < applied.get(need.owner, 0)",
        "        if False",
    ),
    "redraw-skipped": Mutant(
        "a need that two checkpoints found undecided keeps its old committee",
        "checkpoint.making",
        "            draws = (*draws, epoch)  # the second checkpoint that finds it so",
        "            pass",
    ),
    "redraw-at-once": Mutant(
        "the first checkpoint that finds a need undecided draws it anew",
        "checkpoint.making",
        "            undecided = epoch\n",
        "            undecided, draws = epoch, (*draws, epoch)\n",
    ),
    "orphans-stand": Mutant(
        "what an older committee decides still counts after another was drawn",
        "work.deciding",
        "    if proposal.draw != need.draw:\n",
        "    if False:\n",
    ),
    "not-derived-anew": Mutant(
        "a node keeps the decision that another committee took over from",
        "checkpoint.adopting",
        "any(decide.epoch < max(record.draws) for decide in need.decides.values())",
        "False",
    ),
    "votes-unseen": Mutant(
        "a member votes for a checkpoint that it comes to another snapshot of",
        "checkpoint.ballots",
        "    if not given.same:\n",
        "    if False:\n",
    ),
    "checkpoint-quorum-off-by-one": Mutant(
        "a certificate of a checkpoint stands with one vote too few",
        "checkpoint.ballots",
        "    if len(voters) < drawn.quorum:\n",
        "    if len(voters) < drawn.quorum - 1:\n",
    ),
    "votes-of-strangers-certify": Mutant(
        "votes of who does not sit in the committee certify a checkpoint",
        "checkpoint.ballots",
        "        and vote.refs == (proposal.id,)\n        and vote.sender in drawn.members\n",
        "        and vote.refs == (proposal.id,)\n",
    ),
    "fixed-decision-ignored": Mutant(
        "a decision that a checkpoint found can lose to another",
        "work.need",
        "best: Decide | None = self.decides.get(self.fixed_decision)",
        "best: Decide | None = None",
    ),
    "fixed-result-ignored": Mutant(
        "a result that a checkpoint found can fall to an earlier closing",
        "work.need",
        "if fixed is not None and fixed.commit not in self.fallen",
        "if False",
    ),
    "unbalanced-checkpoint": Mutant(
        "a checkpoint that makes money is adopted",
        "ledger.accounts",
        "        self.rebuild()\n        self.check_all()\n",
        "        self.rebuild()\n",
    ),
    "ahead-at-once": Mutant(
        "what is said in an epoch that has not begun here is taken at once",
        "engine",
        "        if envelope.epoch > state.epoch:\n",
        "        if False:\n",
    ),
    "ahead-forgotten": Mutant(
        "what waited for its epoch is not taken when that begins",
        "checkpoint.adopting",
        "    done.todo += _due(state)\n",
        "",
    ),
    "woken-by-nothing": Mutant(
        "what waited for a need that the snapshot brings waits on",
        "checkpoint.adopting",
        "    done.todo += _woken(state)\n",
        "",
    ),
    "votes-twice-for-checkpoints": Mutant(
        "a member votes for a checkpoint in a round below the one it asked for",
        "checkpoint.ballots",
        "    if proposal.round < ballot.promised or proposal.round in ballot.voted:\n        return\n    # Two votes",
        "    # Two votes",
    ),
    "parked-not-carried": Mutant(
        "a snapshot leaves out what waits for its causes",
        "checkpoint.making",
        "            parked=parked,\n",
        "            parked={},\n",
    ),
    "cut-into-the-future": Mutant(
        "a cut has chains of epochs that have not begun",
        "checkpoint.making",
        "for chain, head in heads.items() if chain[1] < epoch and not is_over(over, chain)}",
        "for chain, head in heads.items() if not is_over(over, chain)}",
    ),
    "silence-costs-nothing": Mutant(
        "a verifier that is gone for good keeps its seat",
        "pool.folding",
        "if missed >= MISSED_EPOCHS:",
        "if False:",
    ),
    "nobody-is-slashed": Mutant(
        "who votes twice keeps seat and stake",
        "pool.folding",
        "if did in guilty and member.state != EXPELLED:",
        "if False:",
    ),
    "stake-home-at-once": Mutant(
        "who leaves has its stake back before it can be slashed for what it did",
        "pool.folding",
        "    if member.state == LEAVING and epoch >= member.until:\n",
        "    if member.state == LEAVING:\n",
    ),
    "left-and-seated": Mutant(
        "who left keeps its seat",
        "pool.folding",
        "active = [member for member in members.values() if member.state == ACTIVE]",
        "active = [member for member in members.values() if member.state in (ACTIVE, LEAVING)]",
    ),
    "joins-for-nothing": Mutant(
        "a verifier needs no stake",
        "pool.taking",
        'if payload["op"] == "join" and payload["amount"] < state.genesis.verifier_stake:',
        "if False:",
    ),
    "strangers-release": Mutant(
        "anybody releases the money of an escrow",
        "escrow.machine",
        '    if said.sender != deal.buyer:\n        raise Void("not the buyer")\n    names',
        "    names",
    ),
    "strangers-accept": Mutant(
        "who was not asked accepts an offer",
        "escrow.machine",
        'if offer.to not in ("", said.sender):',
        "if False:",
    ),
    "offers-for-ever": Mutant(
        "an offer that has expired is accepted",
        "escrow.machine",
        "if said.ts_ns > offer.expires_ns:",
        "if False:",
    ),
    "score-above-eighty": Mutant(
        "a score of 80 releases nothing",
        "escrow.machine",
        "if submission.score >= RELEASE_SCORE:",
        "if submission.score > RELEASE_SCORE:",
    ),
    "panel-quorum-off-by-one": Mutant(
        "a panel decides with one vote too few",
        "escrow.machine",
        "if alike >= terms.quorum:",
        "if alike >= terms.quorum - 1:",
    ),
    "split-loses-a-unit": Mutant(
        "a unit of what a panel splits is nobody's",
        "escrow.machine",
        'deal.home["split"] = left - deal.split',
        'deal.home["split"] = left - deal.split - 1',
    ),
    "paid-without-what-it-waits-for": Mutant(
        "an escrow pays before all is ready",
        "escrow.machine",
        "    if not deal.awaited():\n",
        "    if True:\n",
    ),
    "released-and-refunded": Mutant(
        "what was released can be given back",
        "escrow.machine",
        "    RELEASED: {},",
        '    RELEASED: {"refund": (REFUNDED,)},',
    ),
    "reviews-by-the-sellers-clock": Mutant(
        "a review begins when the seller says so",
        "escrow.machine",
        "if at_ns >= submission.found_ns + _terms(deal)",
        "if at_ns >= submission.ts_ns + _terms(deal)",
    ),
    "escrow-by-arrival": Mutant(
        "words about an escrow count in the order in which they come",
        "escrow.machine",
        "sorted(said, key=lambda e: (e.lamport, e.id))",
        "list(said)",
    ),
    "fee-rounded-up": Mutant(
        "a fee takes the part of a unit that is the seller's",
        "escrow.fees",
        "return amount * FEE_BP // 10_000",
        "return -(-amount * FEE_BP // 10_000)",
    ),
    "unclaimed-money-stays": Mutant(
        "what no escrow claims stays locked",
        "escrow.settling",
        '            ledger.settle(name, {}, "returned")\n',
        "            pass\n",
    ),
    "a-release-is-nobodys-merit": Mutant(
        "what a seller settled well is not remembered",
        "escrow.settling",
        "for did in (deal.buyer, deal.seller) if deal.state == RELEASED else ():",
        "for did in (deal.buyer,) if deal.state == RELEASED else ():",
    ),
    "draws-without-beacon": Mutant(
        "a key can be made for a seat in a committee to come",
        "consensus.committee",
        '\\0{task}\\0{epoch}\\0".encode() + beacon',
        '\\0{task}\\0{epoch}\\0".encode()',
    ),
    "money-quorum-off-by-one": Mutant(
        "a transfer is final with one signature too few",
        "shadow.taking",
        "if len(voters) == drawn.quorum:\n            state.ledger.certify",
        "if len(voters) == drawn.quorum - 1:\n            state.ledger.certify",
    ),
    "deposit-quorum-off-by-one": Mutant(
        "a deposit counts with one member too few",
        "shadow.taking",
        "if len(voters) == drawn.quorum:\n        _seen_on_chain",
        "if len(voters) == drawn.quorum - 1:\n        _seen_on_chain",
    ),
    "strangers-sign-transfers": Mutant(
        "who is not in the committee makes transfers final",
        "shadow.taking",
        'if envelope.sender not in drawn.members:\n        return "void-confirm"',
        'if not envelope.sender:\n        return "void-confirm"',
    ),
    "transfers-apply-unsigned": Mutant(
        "a transfer moves money before anybody has signed it",
        "ledger.accounts",
        "free = sure or [entry for entry in fitting if entry.hash not in self.gated]",
        "free = sure or fitting",
    ),
    "certified-is-nothing-special": Mutant(
        "of two entries of one number the smaller hash stands, certified or not",
        "ledger.accounts",
        "sure = [entry for entry in fitting if entry.hash in self.certified]",
        "sure = fitting if any(entry.hash in self.certified for entry in fitting) else []",
    ),
    "members-sign-double-spends": Mutant(
        "a member signs one of two entries of one number",
        "shadow.acting",
        "if len(known) != 1 and len(sure) != 1:",
        "if len(known) > 2 and len(sure) != 1:",
    ),
    "members-sign-overdrafts": Mutant(
        "a member signs what the account cannot pay",
        "shadow.acting",
        "if entry.prev != head or entry.amount > left:",
        "if entry.prev != head:",
    ),
    "two-needs-lock-money": Mutant(
        "of two NEEDs under one entry both lock money where both were heard, though a checkpoint has one",
        "checkpoint.adopting",
        "    _withdraw(state, need)\n    if record.escrow is None:",
        "    if record.escrow is None:",
    ),
    "first-need-undoes-what-is-final": Mutant(
        "of two NEEDs under one entry the first stands, though something final comes after the other",
        "checkpoint.making",
        "swapped = self._state, rivals.to_swap(self._state, self._raws)",
        "swapped = self._state, {}",
    ),
    "signs-after-two-needs": Mutant(
        "a member signs what comes after one of two NEEDs that it knows of",
        "shadow.acting",
        "if doubtful is not None and seq > doubtful:",
        "if False:",
    ),
    "promises-have-no-roots": Mutant(
        "a member agrees to a checkpoint with another entry before the one that it signed",
        "shadow.keeping",
        "                promises[at] = name\n",
        "                pass\n",
    ),
    "promises-bind-for-ever": Mutant(
        "what too few have signed stops checkpoints for good",
        "shadow.keeping",
        "state.ledger.certified if round_ >= GIVE_WAY_ROUND else None",
        "None",
    ),
    "deposits-count-twice": Mutant(
        "a checkpoint forgets which deposits were credited before the last one",
        "shadow.keeping",
        "credited = {*shadow.credited, *ledger.credits}",
        "credited = {*ledger.credits}",
    ),
    "checkpoints-drop-withdrawals": Mutant(
        "a checkpoint forgets withdrawals that are not paid",
        "shadow.keeping",
        "if spend.name in payouts or not _passed(ledger.accounts, spend.owner, spend.seq)\n    ]",
        "if not _passed(ledger.accounts, spend.owner, spend.seq)\n    ]",
    ),
    "promises-do-not-bind": Mutant(
        "a member agrees to a checkpoint with another entry than the one that it signed",
        "shadow.keeping",
        "if promises.get(at, applied) != applied:",
        "if at < 0:",
    ),
    "closed-chains-count": Mutant(
        "what is said in a chain that a checkpoint closed counts where it is heard",
        "chains",
        "        if self.is_over(chain):\n            raise RemoteFault(CLOSED",
        "        if False:\n            raise RemoteFault(CLOSED",
    ),
    "stale-words-stand": Mutant(
        "who heard what is in no cut before its chain was closed goes on with it",
        "checkpoint.adopting",
        "before = closing.drop(state, stale)",
        "before = closing.drop(state, ())",
    ),
    "closed-an-epoch-early": Mutant(
        "a chain is closed though its author was present once too few since",
        "checkpoint.closing",
        "max(over.get(author, -1), epochs[-chain_epochs] - 1)",
        "max(over.get(author, -1), epochs[-chain_epochs])",
    ),
    "absent-and-closed": Mutant(
        "an author's late words of an epoch count as its having been present at the end of it",
        "checkpoint.closing",
        "for author, said, _ in cut if said == epoch - 1}",
        "for author, said, _ in cut}",
    ),
    "stale-money-stays-locked": Mutant(
        "what words in closed chains lock stays locked",
        "checkpoint.closing",
        "    _unlock(state, locks)\n",
        "",
    ),
    "closed-chains-in-cuts": Mutant(
        "a cut goes on with chains that the one before closed",
        "checkpoint.making",
        "for chain, head in base.cut.items() if not is_over(base.over, chain)}",
        "for chain, head in base.cut.items()}",
    ),
}


# What the simulator misses, a test of the core must catch.
_SUITE = """
import sys
from swarmd.simulations.mutants import plant
plant(sys.argv[1])
import pytest
sys.exit(pytest.main([sys.argv[2], "-x", "-q", "--no-header"]))
"""


class Planter(MetaPathFinder):
    """Finds one module of the core and gives its source changed; fails loudly if the change does not fit."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = "swarmd.protocol." + mutant.module
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> Any:
        # Past the cache of compiled files: it holds the true module.
        source = self.get_data(self.path).decode()
        return compile(planted(self._mutant, source), self.path, "exec", dont_inherit=True)


def planted(mutant: Mutant, source: str) -> str:
    """`source` with the bug in it; ValueError unless the change fits exactly once."""
    if source.count(mutant.before) != 1:
        raise ValueError(f"{mutant.what}: found {source.count(mutant.before)} times in {mutant.module}")
    return source.replace(mutant.before, mutant.after)


def plant(name: str) -> None:
    """Have this process import the core with the bug in it, for good."""
    planter = Planter(MUTANTS[name])
    if planter.name in sys.modules:
        raise RuntimeError(f"{planter.name} is loaded already: the bug would have no effect")
    sys.meta_path.insert(0, planter)


def hunt(name: str) -> str:
    """Which property, in which run, gives the mutant away; "" if none does. Once in a process: it stays planted."""
    plant(name)
    from swarmd.simulations.run import run

    plain: dict[str, int] = {"active_s": 12, "liar_permille": 300, "epoch_s": 5}
    plain["escrows"] = 20 if MUTANTS[name].module.startswith("escrow.") else 0
    windowed = {"active_s": 15, "liar_permille": 200, "epoch_s": 4, "challenge_window_s": 6}
    joining = {"active_s": 20, "liar_permille": 200, "epoch_s": 3, "joins": 4}
    closing: dict[str, int] = {
        "active_s": 30,
        "liar_permille": 300,
        "epoch_s": 4,
        "chain_epochs": 2,
        "escrows": 10,
    }
    attempts = [
        (each, more, label)
        for these, more, label in (
            (ATTEMPTS, plain, ""),
            (WINDOWED_ATTEMPTS, windowed, ", windows"),
            (JOINING_ATTEMPTS, joining, ", joins"),
            (CLOSING_ATTEMPTS, closing, ", chains closed soon"),
        )
        for each in these
    ]
    module = MUTANTS[name].module
    first = windowed if module in WINDOWED else joining if module.startswith("pool.") else plain
    first = closing if module in CLOSING or name in CLOSING else first
    attempts.sort(key=lambda attempt: attempt[1] is not first)
    for (seed, nodes, tasks, faults), more, label in attempts:
        names = tuple(fault for fault in faults.split(",") if fault)
        try:
            report = run(seed, nodes=nodes, tasks=tasks, nemeses=names, **more)
        except Exception as error:  # a mutant may break anything, the simulator's assumptions too
            return f"{type(error).__name__}, seed {seed}"
        if report.violations:
            under = ("all faults" if faults == ALL_FAULTS else faults or "no faults") + label
            return f"{report.violations[0]['property']}, seed {seed}, {nodes} nodes, {under}"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(MUTANTS))
    args = parser.parse_args(argv)
    if args.name:
        found = hunt(args.name)
        print(found or "survived")
        return 0 if found else 1
    survivors = 0
    suite = Path("tests/protocol")
    for name, mutant in MUTANTS.items():
        command = [sys.executable, "-m", "swarmd.simulations.mutants", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        lines = (done.stdout or done.stderr).strip().splitlines()
        if done.returncode and suite.is_dir():
            done = subprocess.run(
                [sys.executable, "-c", _SUITE, name, str(suite)],
                capture_output=True,
                text=True,
                check=False,
                timeout=900,
            )
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            # pytest's status 1 is a failed test; anything else did not get that far.
            done.returncode = 0 if done.returncode == 1 and failed else 1
            lines = [failed[0].split(" - ")[0].removeprefix("FAILED ")] if failed else ["survived"]
        print(f"| {name} | {mutant.what} | {lines[-1] if lines else 'no output'} |", flush=True)
        survivors += done.returncode != 0
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} caught", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
