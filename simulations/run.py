"""One run: a mesh of simulated nodes, a workload, a schedule of faults, a judgement. All of it from the seed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any

from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import COMMITTEE, MAJORITY, Genesis
from swarmd.simulations.agents import Conduct
from swarmd.simulations.auditor import Auditor
from swarmd.simulations.challenges import LOOSE, Challenger
from swarmd.simulations.checkpoints import Makers
from swarmd.simulations.clock import MS_NS, S_NS, START_NS, Loop, dice
from swarmd.simulations.liars import Liar
from swarmd.simulations.nemesis import ALL, LYING, NEMESES, Fault, Field, behaviours_of, schedule, unleash
from swarmd.simulations.network import Network
from swarmd.simulations.node import Mesh, SimNode
from swarmd.simulations.pools import STAKE, Joiners
from swarmd.simulations.traders import Traders
from swarmd.simulations.wire import Wire, keys_of
from swarmd.simulations.workload import (
    OPENING_BALANCE,
    NeedPlan,
    SimArbiter,
    SimChain,
    TransferPlan,
    offers_of,
    plan_needs,
    plan_transfers,
)

LEASE_S = 6
CLAIM_TIMEOUT_S = 3
EXPIRY_GRACE_S = 5
EPOCH_S = 12  # so short that a run passes several
CHAIN_EPOCHS = 3
WARM_UP_MS = 1_000
JAILING_THRESHOLD = 4
EVENTS_PER_TASK = 1_000  # a task of a mesh of 20 makes about 50 events a node
EXAMINE_EVERY_NS = 5 * S_NS


@dataclass(frozen=True, slots=True)
class Config:
    """What a run is. `keep_faults` and `keep_needs` leave out all others, by number (a shrunk schedule)."""

    seed: int
    nodes: int = 20
    tasks: int = 100
    nemeses: tuple[str, ...] = ALL
    active_s: int = 30
    liar_permille: int = 200
    sync_every_s: int = 5
    keep_faults: tuple[int, ...] | None = None
    keep_needs: tuple[int, ...] | None = None
    everything: bool = False
    share: bool = True  # among nodes, what follows from the bytes alone: parsed frames, snapshots
    replay: bool = True
    quorum_mode: str = MAJORITY
    arbiter: str = COMMITTEE
    epoch_s: int = EPOCH_S
    chain_epochs: int = (
        CHAIN_EPOCHS  # as genesis has it: short, as epochs are, so that a run gets to see chains closed
    )
    transfers: int = 0  # of money, beside the needs; liars spend theirs twice
    # Then first committees judge by the form alone, and honest nodes challenge lies; with epochs, checkpoints end windows.
    challenge_window_s: int = 0
    escrows: int = 0  # between owners, beside the needs
    joins: int = (
        0  # so many nodes are no founders: they join the pool of verifiers, and some of them leave again
    )

    def __post_init__(self) -> None:
        unknown = [name for name in self.nemeses if name not in NEMESES]
        if unknown:
            raise LocalFault("unknown-nemesis", unknown[0], fix="one of " + ", ".join(NEMESES))
        if self.chain_epochs < 0 or self.chain_epochs == 1:
            raise LocalFault("bad-run", "chains of two epochs or more stay open, or 0: of all")
        if self.epoch_s < 0:
            raise LocalFault("bad-run", "an epoch lasts 1 s or more, or 0: for ever")
        if self.joins and (not 0 < self.joins < self.nodes or not self.epoch_s or self.challenge_window_s):
            raise LocalFault(
                "bad-run", "some nodes join, others have founded; with epochs, and without challenge windows"
            )
        if self.challenge_window_s < 0:
            raise LocalFault("bad-run", "a challenge window lasts 1 s or more, or 0: there is none")
        if self.escrows and (self.nodes < 3 or self.escrows < 0):
            raise LocalFault("bad-run", "escrows take three nodes or more")
        if self.nodes < 1 or self.tasks < 0 or self.active_s < 2:
            raise LocalFault("bad-run", "at least one node, no fewer than 0 tasks, 2 s or more of faults")

    @property
    def jails(self) -> bool:
        """Do checkpoints put workers of reversed results into jail? Then no roster must fall back to one judge."""
        return self.challenge_window_s > 0 and self.epoch_s > 0


@dataclass(slots=True)
class Report:
    """What came of a run. `to_map` is the same for every run of a seed and commit."""

    config: Config
    violations: list[dict[str, Any]]
    properties: dict[str, dict[str, int]]
    faults: dict[str, int]
    needs: dict[str, int]
    counters: dict[str, int]
    envelopes: int
    admissions: int
    simulated_s: float
    state_digest: str
    schedule: list[Fault] = field(default_factory=list)
    plans: list[NeedPlan] = field(default_factory=list)

    def to_map(self) -> dict[str, Any]:
        return {
            "seed": self.config.seed,
            "nodes": self.config.nodes,
            "tasks": self.config.tasks,
            "nemeses": list(self.config.nemeses),
            "violations": self.violations,
            "properties": self.properties,
            "faults": self.faults,
            "needs": self.needs,
            "counters": self.counters,
            "envelopes": self.envelopes,
            "admissions": self.admissions,
            "simulated_s": self.simulated_s,
            "state_digest": self.state_digest,
        }


def safe_liars(genesis: Genesis) -> int:
    """How many members may lie in committees so that no committee, however drawn, has a quorum of them."""
    count = len(genesis.roster)
    share = count * genesis.alpha_permille // 1000
    k_plan = max(1, min(genesis.k_target, share))
    k_result = 1 if count < genesis.bootstrap_threshold else min(genesis.k_target, max(2, share))
    return min(k_plan, k_result) - 1


class Simulation:
    """A run in the making: `run` it once. Tests reach into `nodes`, `network` and `auditor`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        seed, count = config.seed, config.nodes
        keys = [keys_of(seed, f"node-{index}") for index in range(count)]
        self.genesis = Genesis(
            f"sim-{seed}",
            tuple(sorted(did for did, _ in keys[: count - config.joins])),
            {did: OPENING_BALANCE for did, _ in keys},
            claim_timeout_s=CLAIM_TIMEOUT_S,
            expiry_grace_s=EXPIRY_GRACE_S,
            quorum_mode=config.quorum_mode,
            arbiter=config.arbiter,
            epoch_s=config.epoch_s,
            chain_epochs=config.chain_epochs,
            challenge_window_s=config.challenge_window_s,
        )
        if config.joins:
            self.genesis = replace(self.genesis, verifier_stake=STAKE)
        if config.jails:
            self.genesis = replace(self.genesis, bootstrap_threshold=JAILING_THRESHOLD)
        self.loop = Loop()
        self.auditor = Auditor(self.genesis, self.loop)
        self.network = Network(self.loop, dice(seed, "network"), count)
        self.mesh = Mesh(
            self.genesis,
            self.loop,
            self.network,
            Wire(self.genesis.mesh_id, share=config.share),
            SimChain(),
            SimArbiter(dice(seed, "arbiter")),
            self.auditor,
            LEASE_S,
            config.sync_every_s * S_NS,
            Makers(self.genesis, share=config.share and not config.everything),
            {did: index for index, (did, _) in enumerate(keys)},
            config.everything,
        )
        wanted = count * config.liar_permille // 1000
        every = schedule(seed, config.nemeses, config.active_s * 1000, wanted)
        self.schedule = [f for f in every if config.keep_faults is None or f.number in config.keep_faults]
        conducts = self._conducts([did for did, _ in keys])
        self.nodes = [
            SimNode(
                self.mesh,
                index,
                did,
                sign,
                dice(seed, f"node/{index}"),
                offers_of(dice(seed, f"offers/{index}")),
                conducts[index],
            )
            for index, (did, sign) in enumerate(keys)
        ]
        self.honest = [node for node in self.nodes if node.conduct.honest]
        self.network.endpoints.extend(self.nodes)
        self.auditor.meet(self.nodes)
        span_ns = config.active_s * S_NS - WARM_UP_MS * MS_NS
        plans = plan_needs(dice(seed, "needs"), count, config.tasks, span_ns)
        kept = config.keep_needs
        self.plans = [plan for number, plan in enumerate(plans) if kept is None or number in kept]
        self.transfers = plan_transfers(dice(seed, "transfers"), count, config.transfers, span_ns)
        self.posts: Counter[str] = Counter()
        self._examining = dice(seed, "examine")
        self.joiners = Joiners(
            self.loop,
            self.nodes[count - config.joins :],
            START_NS + WARM_UP_MS * MS_NS,
            span_ns,
            dice(seed, "joins"),
        )
        self.traders = Traders(self.loop, self.nodes, config.escrows, span_ns, dice(seed, "escrows"))

    def _conducts(self, dids: list[str]) -> list[Conduct]:
        kind = Challenger if self.config.challenge_window_s else Conduct
        conducts = [kind() for _ in dids]
        liars: dict[int, Fault] = {}
        for fault in self.schedule:
            if fault.name in LYING:
                free = [index for index in range(len(dids)) if index not in liars]
                liars[free[int(Random(fault.seed).random() * len(free))]] = fault
        fellows = frozenset(dids[index] for index in liars)
        safe = safe_liars(self.genesis)
        if self.config.jails:
            safe = min(safe, 1)  # rosters shrink, and K with them to 2
        for place, (index, fault) in enumerate(liars.items()):
            behaviours = behaviours_of(fault, place < safe)
            conducts[index] = Liar(behaviours, fellows, Random(fault.seed + 1))
        return conducts

    # Running -------------------------------------------------------------------------------------------

    def run(self) -> Report:
        loop, config = self.loop, self.config
        for node in self.nodes:
            loop.after(node.random.randrange(500 * MS_NS), node.boot)
        for plan in self.plans:
            loop.at(START_NS + WARM_UP_MS * MS_NS + plan.at_ns, self._post, plan)
        for number, transfer in enumerate(self.transfers):
            loop.at(START_NS + WARM_UP_MS * MS_NS + transfer.at_ns, self._transfer, number, transfer)
        unleash(Field(loop, self.network, self.nodes), self.schedule, START_NS)
        loop.after(EXAMINE_EVERY_NS, self._examine)
        end_ns = START_NS + (config.active_s + 1) * S_NS
        while loop.now_ns < end_ns and not self._runs_away():
            loop.run_until(loop.now_ns + S_NS)
        self._heal()
        # Deadlines, grace, the stagger of those who may say "expired", clocks that were ahead, and some.
        patience_s = 45 + EXPIRY_GRACE_S + 5 * (config.nodes + 1) + 20 + 60
        while loop.now_ns < end_ns + patience_s * S_NS and not self._runs_away():
            loop.run_until(loop.now_ns + S_NS)
            if self.auditor.settled(self.honest):
                loop.run_until(loop.now_ns + 3 * S_NS)
                if self.auditor.settled(self.honest):
                    break
        while any(node.writing for node in self.nodes):
            loop.run_until(
                loop.now_ns + MS_NS // 4
            )  # between a turn and its commit a state is ahead of its disk
        self.auditor.judge_end(self.honest, replay=config.replay)
        return self._report()

    def _runs_away(self) -> bool:
        """Has the mesh more to say than any work can explain? Then end here, and judge it as it stands."""
        config = self.config
        return self.loop.events > EVENTS_PER_TASK * config.nodes * (config.tasks + 50)

    def _post(self, plan: NeedPlan) -> None:
        node = self.nodes[plan.owner]
        if not node.up:
            self.loop.after(S_NS, self._post, plan)
            return

        def answered(value: Any) -> None:
            if isinstance(value, LocalFault):
                self.posts[value.code] += 1
                if value.code == "disk-full":
                    self.loop.after(S_NS, self._post, plan)
            else:
                self.posts["acknowledged"] += 1
                self.auditor.acknowledged(node, value)

        loose = {"verify": LOOSE} if self.config.challenge_window_s else {}
        args = {
            "title": "simulated",
            "budget": plan.budget,
            "deadline_s": plan.deadline_s,
            "tasks": [{**task, **loose} for task in plan.tasks],
            "inline": [],
        }
        node.command("need.post", args, answered)

    def _transfer(self, number: int, plan: TransferPlan) -> None:
        node = self.nodes[plan.payer]
        if not node.up:
            self.loop.after(S_NS, self._transfer, number, plan)
            return

        def answered(value: Any) -> None:
            self.posts["transfer " + (value.code if isinstance(value, LocalFault) else "said")] += 1
            if isinstance(value, LocalFault) and value.code == "disk-full":
                self.loop.after(S_NS, self._transfer, number, plan)

        args = {
            "to": self.nodes[plan.payee].did,
            "amount": plan.amount,
            "key": f"sim{number}",
            "memo": "",
            "max_amount": 0,
            "max_per_day": 0,
        }
        node.command("money.transfer", args, answered)

    def _examine(self) -> None:
        node = self._examining.choice(self.honest)
        # Between a turn and its commit the state is ahead of the disk: look at it another time.
        if node.up and not node.writing:
            self.auditor.examine(node)
        self.loop.after(EXAMINE_EVERY_NS, self._examine)

    def _heal(self) -> None:
        """The faults have ended; see to it that nothing of them is left."""
        self.traders.stopped = True
        for node in self.nodes:
            node.clock.heal()
            node.disk.full = False
            node.disk.slowness = 1
            node.restart()
            node.poke()
            if isinstance(node.conduct, Liar):
                node.conduct.active = False

    # Reporting -----------------------------------------------------------------------------------------

    def _report(self) -> Report:
        auditor = self.auditor
        digest = sha256(b"swarmd/sim/1\0")
        for node in self.nodes:
            digest.update(node.state_digest())
        counters: Counter[str] = Counter()
        for node in self.nodes:
            counters.update(node.counters)
        counters.update({"post: " + code: count for code, count in self.posts.items()})
        counters["proofs of equivocation"] = auditor.proofs
        counters.update(self.traders.counters)
        if self.config.joins:
            counters.update({"verifiers joined": self.joiners.joined, "verifiers left": self.joiners.left})
        counters.update(f"escrow {end}" for end, *_ in auditor.rulings.latest.dealt.values())
        faults = Counter(fault.name for fault in self.schedule)
        faults.update(self.network.faults)
        return Report(
            config=self.config,
            violations=[violation.to_map() for violation in auditor.violations],
            properties={
                name: {"checks": auditor.checks[name], "violations": auditor.broken[name]}
                for name in auditor.checks
            },
            faults=_sorted(faults),
            needs=_sorted(Counter(auditor.outcomes(self.honest[0]))),
            counters=_sorted(counters),
            envelopes=len(auditor.oracle.seen),
            admissions=auditor.admissions,
            simulated_s=round((self.loop.now_ns - START_NS) / S_NS, 3),
            state_digest=digest.hexdigest(),
            schedule=self.schedule,
            plans=self.plans,
        )


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}


def run(seed: int, *, nodes: int = 20, tasks: int = 100, nemeses: Sequence[str] = ALL, **more: Any) -> Report:
    """One run from its seed; `more` are fields of `Config`."""
    return Simulation(Config(seed, nodes, tasks, tuple(nemeses), **more)).run()
