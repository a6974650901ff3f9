"""The three gates in front of the engine, over one policy at a time: preflight, ingress, commit.

`Gates` also holds the policies that were in force before, so that digests made under them can still be checked,
and switches from one to the next between two turns of the runner.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from swarmd.node.facts import facts_of, projection, result_facts
from swarmd.node.ports import PolicyGate, Verdict
from swarmd.protocol import kinds
from swarmd.protocol.cbor import encode_ordered
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import RemoteFault

MAX_REMEMBERED: Final = 4_096
MAX_FORMER: Final = 8
RosterOf = Callable[[int | None], Collection[str] | None]  # None: the epoch that is on
_COUNTED: Final = {
    (gate, allow): f"{gate}-{'allow' if allow else 'deny'}"
    for gate in ("preflight", "ingress", "commit")
    for allow in (True, False)
}


@dataclass(frozen=True, slots=True)
class Switch:
    """A policy that comes into force once the node's lamport clock is at `at_lamport`."""

    gate: PolicyGate
    at_lamport: int
    done: Callable[[], None]


class Gates:
    """Every question the node has for its policy. `counters`: verdicts by gate, digests checked and false."""

    def __init__(self, gate: PolicyGate, roster_of: RosterOf) -> None:
        """`roster_of`: the verifiers of an epoch, None of one that is not known here."""
        self.active = gate
        self.counters: Counter[str] = Counter()
        self.pending: Switch | None = None
        self._roster_of = roster_of
        self._former: OrderedDict[bytes, PolicyGate] = OrderedDict()
        self._remembered: dict[tuple[Any, ...], Verdict] = {}

    def preflight(self, envelope: Envelope, local: Mapping[str, int] | None = None) -> Verdict:
        """May we say this?

        `local`: what only this node knows (spent_24h in USDC minor units, needs_1h), for needs of its own.
        """
        facts = projection(self._facts(envelope))
        if local is not None:
            facts["local"] = dict(local)
        return self._count("preflight", self._judge("preflight", envelope.kind, facts))

    def ingress(self, envelope: Envelope) -> Verdict:
        """Do we take this in? What its author asked too, and put the digest of into the envelope."""
        return self._count("ingress", self._judge("ingress", envelope.kind, self._facts(envelope)))

    def _judge(self, gate: str, kind: str, facts: dict[str, Any]) -> Verdict:
        """The policy in force on these facts, asked once: what it says follows from them alone, digest and gas too.

        Of NEEDs hardly two are alike. Denials are asked again each time: one may come of a passing fault of this host.
        """
        if kind == kinds.NEED:
            return self.active.evaluate(gate, facts)
        key = tuple(
            facts.values()
        )  # of one kind the same names in the same order; gate and kind are among them
        verdict = self._remembered.get(key)
        if verdict is None:
            verdict = self.active.evaluate(gate, facts)
            if verdict.allow:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = verdict
        return verdict

    def commit(
        self, need: str, worker: str, claimed: Mapping[str, int], actual: Mapping[str, int]
    ) -> Verdict:
        """May this result be attested?"""
        facts = result_facts(need, worker, self._roster_of(None) or (), claimed, actual)
        return self._count("commit", self.active.evaluate("commit", facts))

    def false_digest(self, envelope: Envelope, verdict: Verdict) -> RemoteFault | None:
        """The author's fault if the digest in its envelope is not that of the evaluation it claims.

        `verdict` is our own on it. Under a policy we do not hold nothing can be said; under a former one of ours
        it is evaluated again.
        """
        if self._roster_of(envelope.epoch) is None:
            self.counters["digests-unknown-roster"] += 1
            return None
        if envelope.policy != self.active.policy_hash:
            former = self._former.get(envelope.policy)
            if former is None:
                self.counters["digests-unknown-policy"] += 1
                return None
            verdict = former.evaluate("ingress", self._facts(envelope))
        self.counters["digests-checked"] += 1
        if envelope.eval == verdict.digest:
            return None
        self.counters["digests-false"] += 1
        return RemoteFault(
            "false-digest",
            f"{envelope.kind} in {envelope.thread}: the evaluation of policy {envelope.policy.hex()[:16]} that "
            "it claims gives another digest",
        )

    def _facts(self, envelope: Envelope) -> dict[str, Any]:
        """With the role that its author has in the epoch it writes in; of one that is not known here, as it is now."""
        roster = self._roster_of(envelope.epoch)
        return facts_of(envelope, roster if roster is not None else self._roster_of(None) or ())

    def _count(self, gate: str, verdict: Verdict) -> Verdict:
        self.counters[_COUNTED[gate, verdict.allow]] += 1
        return verdict

    # Switching -----------------------------------------------------------------------------------------

    def hold(self, gate: PolicyGate) -> None:
        """Keep a former policy for checking digests made under it; the oldest of many is let go."""
        self._former[gate.policy_hash] = gate
        self._former.move_to_end(gate.policy_hash)
        while len(self._former) > MAX_FORMER:
            self._former.popitem(last=False)

    def schedule(self, switch: Switch) -> None:
        """Replace the policy at the first turn that begins at or after the lamport time; before any of its input."""
        self.pending = switch

    def advance(self, lamport: int) -> bool:
        """At the beginning of a turn: switch if it is time. True if it was."""
        switch = self.pending
        if switch is None or lamport < switch.at_lamport:
            return False
        self.pending = None
        self.hold(self.active)
        self._former.pop(switch.gate.policy_hash, None)
        self.active = switch.gate
        self._remembered.clear()
        switch.done()
        return True


def recorded(policy: bytes, verdicts: list[Verdict]) -> bytes:
    """What the journal keeps of a batch's verdicts: [policy hash, [gas...], [[position, [reason...]]...]], encoded."""
    denied = [[at, list(each.reasons)] for at, each in enumerate(verdicts) if not each.allow]
    if not denied:
        return _recorded_allowed(policy, tuple([verdict.gas for verdict in verdicts]))
    return encode_ordered([policy, [verdict.gas for verdict in verdicts], denied])


@lru_cache(maxsize=4_096)  # like envelopes take like gas
def _recorded_allowed(policy: bytes, gas: tuple[int, ...]) -> bytes:
    return encode_ordered([policy, list(gas), []])
