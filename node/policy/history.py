"""A candidate policy against what this node has recorded: which verdicts would be others."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swarmd.node.facts import facts_of
from swarmd.node.policy.host import WasmGate
from swarmd.node.replay import Recording
from swarmd.protocol.cids import cid_text
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.inputs import Admitted, Authored


@dataclass(frozen=True, slots=True)
class Flip:
    """An envelope whose verdict would be another: `was` and `would` are the rules hit, () for allow."""

    envelope: Envelope
    at_ns: int
    was: tuple[str, ...]
    would: tuple[str, ...]

    def to_map(self) -> dict[str, Any]:
        envelope = self.envelope
        return {
            "id": cid_text(envelope.id),
            "kind": envelope.kind,
            "need": envelope.thread,
            "sender": envelope.sender,
            "at_ns": self.at_ns,
            "was": {"allow": not self.was, "reasons": list(self.was)},
            "would": {"allow": not self.would, "reasons": list(self.would)},
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """`changed`: denied before and after, by other rules."""

    envelopes: int
    flips: tuple[Flip, ...]
    changed: int
    gas_max: int


def try_against(taken: Recording, gate: WasmGate, since_ns: int = 0) -> Trial:
    """Every envelope taken in or said since `since_ns`, at the ingress gate of the candidate."""
    roster = frozenset(taken.genesis.roster)
    flips = []
    count = changed = gas_max = 0
    for envelope, at_ns, was in _judged(taken):
        if at_ns < since_ns:
            continue
        count += 1
        verdict = gate.evaluate("ingress", facts_of(envelope, roster))
        would = () if verdict.allow else verdict.reasons or ("denied",)
        gas_max = max(gas_max, verdict.gas)
        if bool(was) != bool(would):
            flips.append(Flip(envelope, at_ns, was, would))
        elif was != would:
            changed += 1
    return Trial(count, tuple(flips), changed, gas_max)


def _judged(taken: Recording) -> Iterator[tuple[Envelope, int, tuple[str, ...]]]:
    """Each envelope, when it was taken in, and the rules recorded against it."""
    for given in taken.inputs():
        match given:
            case Authored(envelope, at_ns):
                yield envelope, at_ns, ()
            case Admitted(envelopes, denied, at_ns):
                for position, envelope in enumerate(envelopes):
                    yield envelope, at_ns, tuple(filter(None, denied.get(position, "").split(", ")))
