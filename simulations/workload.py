"""What a simulated mesh is asked to do: offers, needs, the agents' answers, and the chain that takes anchors."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Any

from swarmd.protocol import cids
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.effects import Arbitrate
from swarmd.simulations.clock import MS_NS, S_NS

CAPABILITIES = ("text.count", "text.split", "image.label", "code.test")
NOBODY_DOES = "nobody.does"
OPENING_BALANCE = 3_000_000
INPUT = b"the input of every simulated task"


@dataclass(frozen=True, slots=True)
class NeedPlan:
    """A need to post: by node `owner`, `at_ns` after the start."""

    owner: int
    at_ns: int
    budget: int
    deadline_s: int
    tasks: tuple[dict[str, Any], ...]


def offers_of(random: Random) -> dict[str, int]:
    """What one node offers: one to three capabilities at about 20,000 minor units."""
    chosen = random.sample(CAPABILITIES, random.randint(1, 3))
    return {name: random.choice((15_000, 20_000, 20_000, 25_000, 60_000)) for name in chosen}


def plan_needs(random: Random, nodes: int, tasks: int, span_ns: int) -> list[NeedPlan]:
    """Needs of one to five tasks each, `tasks` in all, spread over `span_ns`."""
    needs = []
    left = tasks
    while left:
        count = min(left, random.choice((1, 1, 2, 3, 5)))
        left -= count
        specs: list[dict[str, Any]] = []
        for number in range(count):
            specs.append(_task(random, number))
        # A few have less money than the tasks' top prices, a few can wait for nobody.
        slack = random.choice((0, 0, 10_000))
        needs.append(
            NeedPlan(
                owner=random.randrange(nodes),
                at_ns=random.randrange(span_ns),
                budget=sum(spec["max_price"] for spec in specs) + slack,
                deadline_s=random.choice((15, 30, 45)),
                tasks=tuple(specs),
            )
        )
    return sorted(needs, key=lambda need: (need.at_ns, need.owner))


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """Node `payer` pays node `payee`, `at_ns` after the start."""

    payer: int
    payee: int
    amount: int
    at_ns: int


def plan_transfers(random: Random, nodes: int, count: int, span_ns: int) -> list[TransferPlan]:
    """`count` transfers, most of a little, some of much: what an account has not got is refused."""
    plans = []
    for _ in range(count):
        payer, payee = random.sample(range(nodes), 2)
        amount = random.choice((1, 1_000, 50_000, 50_000, OPENING_BALANCE // 2))
        plans.append(TransferPlan(payer, payee, amount, random.randrange(span_ns)))
    return sorted(plans, key=lambda plan: (plan.at_ns, plan.payer))


def _task(random: Random, number: int) -> dict[str, Any]:
    capability = NOBODY_DOES if random.random() < 0.02 else random.choice(CAPABILITIES)
    bindings: dict[str, Any] = {"text": {"cid": Link(cids.raw_cid(INPUT)), "as": "text"}}
    spec: dict[str, Any] = {
        "id": f"t{number}",
        "capability": capability,
        "max_price": random.choice((30_000, 40_000)),
        "input": bindings,
        "verify": {"type": "reexec"},
    }
    if number and random.random() < 0.7:
        parent = f"t{random.randrange(number)}"
        if random.random() < 0.5:
            spec["after"] = [parent]
        else:
            bindings["before"] = {"task": parent, "pointer": "/n"}
    return spec


def right_answer(capability: str, bound: Mapping[str, Mapping[str, Any]]) -> bytes:
    """What an honest agent makes of an input: a function of it, so that running it again shows a lie."""
    plain = [[name, bytes(binding["cid"])] for name, binding in sorted(bound.items())]
    return encode(["answer", capability, plain])


def work_ns(random: Random) -> int:
    """How long an agent works: mostly tens of milliseconds, now and then longer than a lease."""
    luck = random.random()
    if luck < 0.01:
        return 8 * S_NS
    return 20 * MS_NS + int(random.expovariate(1.0) * 120 * MS_NS)


class SimArbiter:
    """etcd as its users see it: one record a need and epoch, the first wins; questions and answers get lost, and now
    and then nobody answers for a while."""

    def __init__(self, random: Random) -> None:
        self.records: dict[tuple[str, int], bytes] = {}
        self.refused = 0  # another plan was recorded before
        self._random = random
        self._away_until_ns = 0

    def delay_ns(self) -> int:
        return self._random.randint(1, 20) * MS_NS

    def patience_ns(self) -> int:
        return self._random.randint(200, 2_000) * MS_NS

    def decide(self, effect: Arbitrate, node_ns: int, now_ns: int) -> bytes | None:
        """The plan on record after the question; None if no answer came, whether or not the question did."""
        if now_ns < self._away_until_ns:
            return None
        luck = self._random.random()
        if luck < 0.02:
            self._away_until_ns = now_ns + 5 * S_NS
        if luck < 0.1:
            return None
        key = (effect.need, effect.epoch)
        if node_ns > effect.until_ns:
            return self.records.get(key, b"")
        winner = self.records.setdefault(key, effect.proposal)
        self.refused += winner != effect.proposal
        return None if luck < 0.2 else winner


class SimChain:
    """A chain that anchors roots: one block a second, each root once, whoever sends it how often."""

    CHAIN_ID = 1337
    CONTRACT = "0x" + "5d" * 20

    def __init__(self) -> None:
        self.anchors: dict[bytes, int] = {}

    def anchor(self, anchor_id: bytes, root: bytes, now_ns: int) -> tuple[bytes, int, int]:
        """(tx hash, block number, the time at which its block is seen)."""
        block = self.anchors.setdefault(anchor_id, now_ns // S_NS + 1)
        tx_hash = sha256(b"tx" + anchor_id + root).digest()
        return tx_hash, block, max(now_ns, block * S_NS) + 50 * MS_NS
