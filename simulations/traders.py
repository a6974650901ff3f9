"""Owners who trade by escrows in a simulated mesh: honest ones by their core's commands, liars with words of their own."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from swarmd.protocol.cbor import Link
from swarmd.protocol.cids import raw_cid
from swarmd.protocol.effects import Publish
from swarmd.protocol.envelope import trace_of
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.state import State
from swarmd.simulations.clock import MS_NS, START_NS, Loop
from swarmd.simulations.node import SimNode

NUDGE_MS = 400
ROGUE_SHARE = 0.15
MAX_ROGUE_WORDS = 6  # of one liar in one escrow: a core takes a few words of a stranger, and no more
WORK = Link(raw_cid(b"what a simulated seller delivers"))

_OPS = ("offer", "accept", "fund", "submit", "score", "release", "refund", "dispute", "resolve", "ready")
_WORK = (
    ("seller", "submit"), ("seller", "submit"), ("scorer", "score"), ("scorer", "score"), ("other", "ready"), ("buyer", "release"),
    ("buyer", "dispute"), ("seller", "dispute"), ("seller", "refund"),
)  # fmt: skip
# Where an escrow stands, as who is asked sees it -> who does what then.
_LIKELY: dict[str, tuple[tuple[str, str], ...]] = {
    "offered": (("seller", "accept"), ("seller", "accept"), ("seller", "offer"), ("other", "accept")),
    "negotiating": (("seller", "accept"), ("buyer", "accept"), ("buyer", "offer")),
    "accepted": (("buyer", "fund"),),
    "funded": _WORK,
    "submitted": _WORK,
    "verified": _WORK,
    "disputed": (("judge", "resolve"), ("judge", "resolve"), ("buyer", "release"), ("seller", "dispute")),
}


class Traders:
    """`count` escrows among `nodes`, begun over `span_ns`; each is nudged on by whoever the dice choose, until `stop`."""

    def __init__(
        self, loop: Loop, nodes: Sequence[SimNode], count: int, span_ns: int, random: Random
    ) -> None:
        self._loop = loop
        self._nodes = nodes
        self._random = random
        self._rogue: Counter[tuple[int, str]] = Counter()
        self.counters: Counter[str] = Counter()
        self.stopped = False
        for number in range(count):
            at_ns = START_NS + random.randrange(1, max(2, span_ns))
            loop.at(at_ns, self._begin, number)

    def _begin(self, number: int) -> None:
        dice, nodes = self._random, self._nodes
        buyer, seller, *others = dice.sample(range(len(nodes)), min(6, len(nodes)))
        did = [nodes[index].did for index in others]
        parts = [dice.randrange(1, 40_000) for _ in range(dice.choice((1, 1, 2, 3)))]
        scorers, panel = did[: dice.choice((0, 1, 2))], did[: dice.choice((0, 1, 3))]
        after = [{"name": "it", "by": did[-1]}] if did and dice.random() < 0.2 else []
        terms: dict[str, Any] = {
            "title": f"trade {number}",
            "spec": "",
            "amount": sum(parts),
            "milestones": [{"name": f"m{at}", "amount": amount} for at, amount in enumerate(parts)],
            "deadline_s": dice.choice((6, 15, 40)),
            "review_s": dice.choice((1, 8)),
            "scorers": scorers,
            "score_quorum": len(scorers) // 2 + 1 if scorers else 0,
            "panel": panel,
            "quorum": len(panel) // 2 + 1 if panel else 0,
            "panel_s": dice.choice((1, 8)),
            "undecided_bp": dice.choice((0, 3_333, 10_000)),
            "after": after,
        }
        if dice.random() < 0.8:
            terms["seller"] = nodes[seller].did
        people = [buyer, seller, *others]
        args = {"terms": terms, "expires_s": dice.choice((2, 30)), "key": f"trade {number}"}

        def answered(value: Any) -> None:
            if not isinstance(value, LocalFault):
                self._nudge(value, terms, people, 0)

        if nodes[buyer].up:
            nodes[buyer].command("escrow.create", args, answered)

    def _nudge(self, escrow: str, terms: dict[str, Any], people: Sequence[int], step: int) -> None:
        if self.stopped or step > 60:
            return
        dice = self._random
        node = self._nodes[dice.choice(people)]
        record = node.state.escrows.records.get(escrow)
        likely = _LIKELY.get(record.deal.state if record is not None else "", ())
        chosen = dice.choice(likely) if likely and dice.random() < 0.8 else None
        if chosen is not None:  # who would, does; now and then anybody tries anything
            dids = {"scorer": terms["scorers"], "judge": terms["panel"]}.get(chosen[0], ())
            places = {"buyer": people[:1], "seller": people[1:2], "other": people[2:]}.get(chosen[0], ())
            places = places or [place for place in people if self._nodes[place].did in dids]
            node = self._nodes[dice.choice(places or people)]
        if node.up and escrow not in node.state.escrows.ended:
            op, args = self._what(node, terms, chosen[1] if chosen is not None else "")
            if not node.conduct.honest and dice.random() < ROGUE_SHARE:
                self._lie(node, escrow, op, args)
            else:
                node.command(f"escrow.{op}", {"escrow": escrow, **args}, self._heard)
        self._loop.after(dice.randrange(20, NUDGE_MS) * MS_NS, self._nudge, escrow, terms, people, step + 1)

    def _heard(self, value: Any) -> None:
        """Refused or not: the auditor looks at what came of it."""
        self.counters["escrow: " + (value.code if isinstance(value, LocalFault) else "said")] += 1

    def _what(self, node: SimNode, terms: dict[str, Any], wanted: str) -> tuple[str, dict[str, Any]]:
        dice = self._random
        name = dice.choice(terms["milestones"])["name"]
        op = wanted or dice.choice(_OPS)
        offered = {**terms, "seller": node.did if dice.random() < 0.5 else terms.get("seller", node.did)}
        args: dict[str, dict[str, Any]] = {
            "offer": {"terms": offered, "expires_s": 30, "note": "", "counter": dice.random() < 0.7},
            "accept": {"offer": b""},
            "fund": {"seller": ""},
            "submit": {"milestone": name, "deliverable": bytes(WORK), "note": ""},
            "score": {"milestone": name, "score": dice.choice((40, 79, 80, 100)), "reason": ""},
            "release": {"milestones": dice.choice(([], [name]))},
            "refund": {"reason": ""},
            "dispute": {"reason": "", "evidence": []},
            "resolve": {"seller_bp": dice.choice((0, 5_000, 9_999)), "reason": ""},
            "ready": {"name": "it"},
        }
        return op, args[op]

    def _lie(self, node: SimNode, escrow: str, op: str, args: dict[str, Any]) -> None:
        """Say it past the core, which would refuse it: of the wrong person, at the wrong time, of the wrong amount."""
        if op == "offer" or self._rogue[(node.index, escrow)] >= MAX_ROGUE_WORDS:
            return
        self._rogue[(node.index, escrow)] += 1
        node.say(lambda state: _rogue(state, escrow, op, dict(args)))


def _rogue(state: State, escrow: str, op: str, args: dict[str, Any]) -> Publish | None:
    record = state.escrows.records.get(escrow)
    if record is None:
        return None
    deal = record.deal
    payload: dict[str, Any] = {"op": op, **args}
    refs: tuple[bytes, ...] = (deal.fund,) if deal.fund else (deal.first.id,)
    if op == "accept":
        del payload["offer"]
        refs = (deal.first.id,)
    elif op == "submit":
        payload["deliverable"] = WORK
    elif op == "score":
        del payload["milestone"]
        refs = tuple(each.id for each in deal.submissions.values())[:1] or refs
    elif op == "resolve" and deal.dispute is not None:
        refs = (deal.dispute.id,)
    elif op == "fund":
        amount = min(1_000, state.ledger.account(state.me).available)
        payload = {"op": op, "amount": amount, "fund": {"seq": state.own_seq, "prev": state.own_head}}
        refs = tuple(deal.acceptances)[:1] or refs
    state.lamport += 1
    return Publish(
        kind="ESCROW",
        thread=escrow,
        lamport=state.lamport,
        ts_ns=state.now_ns,
        epoch=state.epoch,
        payload=payload,
        refs=refs,
        trace=trace_of(escrow, state.lamport),
    )
