"""What this node says: drafts become envelopes by its own gates, envelopes become signed batches of its chains."""

import logging
from collections import deque
from typing import Any

from swarmd.node.journal import Journal
from swarmd.node.policy.gates import Gates, recorded
from swarmd.node.ports import Verdict
from swarmd.node.sealing import seal
from swarmd.node.spending import DAY_NS, Spending, SpendingLimits
from swarmd.node.telemetry.tracing import Tracer
from swarmd.protocol import kinds
from swarmd.protocol.batch import Sign
from swarmd.protocol.chains import Chains
from swarmd.protocol.effects import Publish
from swarmd.protocol.envelope import Envelope, bucket_of, evaluated
from swarmd.protocol.faults import LocalFault

log = logging.getLogger("swarmd.runner")


class PreflightDenied(LocalFault):
    """Our policy denies a need of ours, a stake, or a word about an escrow. Its account entry must not be used up, so the turn is taken back."""

    def __init__(self, reasons: str) -> None:
        super().__init__("denied-by-policy", reasons, fix="change the need, or the policy of this node")


class OverBudget(PreflightDenied):
    """A need of ours would go over what the operator lets this node spend."""

    def __init__(self, why: str) -> None:
        LocalFault.__init__(
            self, "over-budget", why, fix="ask for less, wait, or raise the spending limits in swarmd.toml"
        )


class Voice:
    """`unsealed`: said and on record, and not in a batch yet. Follows the runner's transactions and restores."""

    def __init__(self, mesh_id: bytes, me: str, sign: Sign, gates: Gates, journal: Journal) -> None:
        self._mesh_id = mesh_id
        self._me = me
        self._sign = sign
        self._gates = gates
        self._journal = journal
        self.tracer: Tracer | None = None
        self.limits = SpendingLimits()
        self.unsealed: list[Envelope] = []
        # What our own ingress gate said of our unsealed envelopes, until their batch is journalled.
        self._verdicts: dict[bytes, Verdict] = {}
        self._spending = Spending(me)
        self._needs: deque[Envelope] = deque()  # ours since the last checkpoint

    def remembered(self, now_ns: int) -> list[Envelope]:
        """Of what we said since the last checkpoint, what a restart must know of: needs, for the limits on spending, and
        what is not sealed yet. In the order in which we said it."""
        self._forget(now_ns)
        unsealed = {each.id for each in self.unsealed}
        return [each for each in self._needs if each.id not in unsealed] + self.unsealed

    def settle(self) -> tuple[list[bytes], bytes]:
        """At a checkpoint, for `restore`: what is not sealed yet, and what the needs of a day come to. Not those needs
        themselves: a busy owner has a million a day."""
        self._needs = deque(each for each in self.unsealed if each.kind == kinds.NEED)
        spent = self._spending.dump(each.id for each in self._needs)
        return [each.raw for each in self.unsealed], spent

    def spending(self, now_ns: int) -> dict[str, Any]:
        """As `Spending.report`."""
        return self._spending.report(now_ns, self.limits)

    def _forget(self, now_ns: int) -> None:
        while self._needs and self._needs[0].ts_ns <= now_ns - DAY_NS:
            self._needs.popleft()

    def _note(self, envelope: Envelope, *, counted: bool = False) -> None:
        if not counted:
            self._spending.add(envelope)
        if envelope.kind == kinds.NEED:
            self._needs.append(envelope)
            self._forget(envelope.ts_ns)

    def restore(self, said: list[Envelope], chains: Chains, spent: bytes | None = None) -> None:
        """Go on from what the journal has: `settle` of the last checkpoint, and all that we said since, in order."""
        self._spending = Spending(self._me)
        counted = self._spending.load(spent) if spent is not None else frozenset()
        self._needs.clear()
        for envelope in said:
            self._note(envelope, counted=envelope.id in counted)
        self.unsealed = [each for each in said if not self._left_behind(each, chains)]
        self._verdicts = {
            each.id: self._verdicts[each.id] for each in self.unsealed if each.id in self._verdicts
        }

    def _left_behind(self, envelope: Envelope, chains: Chains) -> bool:
        """Is it sealed, or has our chain gone on without it? Then others would see time going back in it, and it is not said
        any more: in a home that was restored from a backup, where of what it had said but not sealed then, most comes
        back in the batches that it sealed later.
        """
        chain = (self._me, envelope.epoch, bucket_of(envelope.thread))
        if chains.is_over(chain):
            return True  # we have spoken in many an epoch since: it would fork what others hold of us
        head = chains.heads.get(chain)
        return head is not None and head.lamport >= envelope.lamport

    def leave_behind(self, chains: Chains) -> None:
        """A checkpoint has closed chains: what waits to be sealed in one of ours is not said any more."""
        gone = [each for each in self.unsealed if self._left_behind(each, chains)]
        for each in gone:
            log.warning("not said any more: %s in %s, of epoch %d", each.kind, each.thread, each.epoch)
        if gone:
            self.unsealed = [each for each in self.unsealed if each not in gone]

    def author(self, draft: Publish) -> Envelope | None:
        """Pass a draft through the preflight gate and make it an envelope; None if our own policy denies it.

        The digest it carries is that of our own ingress evaluation: who runs the same policy checks it by the
        evaluation that it makes anyway.
        """
        # Nothing where nothing is recorded: a span that nobody can find would only break the tree.
        trace, saying = "", None
        if self.tracer is not None:
            saying = self.tracer.saying(draft)
            trace = saying.traceparent if saying is not None else self.tracer.opting_out(draft)
        envelope = draft.envelope(self._me, self._gates.active.policy_hash, bytes(32), trace)
        if draft.kind == kinds.NEED and (why := self._spending.refusal(envelope, self.limits)):
            raise OverBudget(why)
        local = self._spending.facts(draft.ts_ns) if draft.kind == kinds.NEED else None
        verdict = self._gates.preflight(envelope, local)
        if verdict.allow:
            verdict = self._gates.ingress(envelope)
        if verdict.allow:
            envelope = evaluated(envelope, verdict.digest)
        if saying is not None and self.tracer is not None:
            self.tracer.said(saying, envelope if verdict.allow else None, draft, verdict)
        if verdict.allow:
            self._verdicts[envelope.id] = verdict
            self._note(envelope)
            return envelope
        log.warning("our own policy denies %s in %s: %s", draft.kind, draft.thread, verdict.reasons)
        if draft.kind in (kinds.NEED, kinds.ESCROW) or draft.payload.get("op") == "join":
            raise PreflightDenied(", ".join(verdict.reasons))
        return None

    def seal(self, chains: Chains) -> list[bytes]:
        """Sign what we have said since the last flush and make it durable; returns the frames for after the commit."""
        frames = []
        for frame, batches in seal(self._mesh_id, self._me, chains, self.unsealed, self._sign):
            for batch in batches:
                verdicts = [
                    self._verdicts.pop(each.id) for each in batch.envelopes if each.id in self._verdicts
                ]
                policies = {each.policy for each in batch.envelopes}
                # Not known of what an earlier life had said, nor kept where the policy changed in between.
                known = len(verdicts) == len(batch.envelopes) and len(policies) == 1
                self._journal.add_batch(batch, recorded(policies.pop(), verdicts) if known else None)
                chains.accept(batch)
            frames.append(frame)
        self.unsealed = []
        return frames
