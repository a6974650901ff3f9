"""One run: a mesh in namespaces, load and nemeses, healing, evidence, verdict."""

import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from swarmd.node.chaos import machine, nemeses, netns, verdict
from swarmd.node.chaos.hosts import SYNC_INTERVAL_S, ChaosCluster, ChaosHosts
from swarmd.node.chaos.load import DEADLINES_S, SHORT_DEADLINES_S, Load
from swarmd.node.chaos.nemeses import Fault
from swarmd.node.chaos.netns import PREFIX, Net
from swarmd.node.chaos.reading import ENDS
from swarmd.node.chaos.verdict import Evidence, NodeEvidence
from swarmd.node.groups import first
from swarmd.node.replay import copy_home
from swarmd.protocol.faults import LocalFault

REPORT_FILE = "chaos.json"
POLL_S = 0.25
EVIDENCE_TRIES = 20
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """`heal_limit_s`: how long after the last fault the nodes may take to end all needs and agree."""

    minutes: float
    nodes: int
    seed: int
    kinds: Sequence[str]
    rate_per_s: float
    heal_limit_s: float = 90.0
    keep: bool = False
    sync_interval_s: float = SYNC_INTERVAL_S

    def command(self) -> str:
        """The command that makes the same schedule again."""
        return (
            f"swarmd chaos run --minutes {self.minutes:g} --nodes {self.nodes} --seed {self.seed}"
            f" --nemesis {','.join(self.kinds)} --rate {self.rate_per_s:g}"
        )


@dataclass(slots=True)
class Run:
    """What a run gathers. `log` is of faults as they began and ended."""

    settings: Settings
    hosts: ChaosHosts
    load: Load
    say: Say
    log: list[dict[str, Any]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    late: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)  # needs posted when all was well again
    heal_s: float | None = None
    nodes: list[NodeEvidence] = field(default_factory=list)
    began_s: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)  # what a kind of run reports beside

    async def main(self, evidence: Path) -> None:
        await self.hosts.formed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hosts.watch)
            await self.chaos()
            self.hosts.heal()
            self.say("nothing goes wrong any more; waiting for the nodes to agree")
            self.heal_s = await self._agreed("after the last fault")
            if self.heal_s is not None:
                self.say(f"all agree after {self.heal_s:g} s; a last need at each")
                self.after = await self.load.after()
                await self._agreed("after the last needs")
            nursery.cancel_scope.cancel()
        await self._gather(evidence)

    async def chaos(self) -> None:
        duration_s = self.settings.minutes * 60
        plan = nemeses.schedule(self.settings.seed, duration_s, self.settings.nodes, self.settings.kinds)
        self.say(f"{len(plan)} faults in {duration_s:g} s; seed {self.settings.seed}")
        self.began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.load.run)
            await nemeses.inflict(self.hosts, plan, self._note)
            await trio.sleep_until(self.began_s + duration_s)
            nursery.cancel_scope.cancel()

    def _note(self, fault: Fault, what: str) -> None:
        at_s = round(trio.current_time() - self.began_s, 1)
        self.faults[fault.kind] += what == "start"
        self.log.append({"at_s": at_s, "nemesis": fault.kind, "do": what, "what": fault.text()})
        self.say(f"{at_s:7.1f} s  {fault.kind:<9} {what:<5} {fault.text()}")

    async def _agreed(self, when: str) -> float | None:
        """Wait until all needs ended and the nodes agree: after how many s. Not in time: None, and a violation."""
        began_s = trio.current_time()
        state = "nothing was asked yet"
        with trio.move_on_after(self.settings.heal_limit_s):
            while state:
                await trio.sleep(POLL_S)
                state = await self._unhealed()
            return round(trio.current_time() - began_s, 1)
        self.late.append(f"{state}, {self.settings.heal_limit_s:g} s {when}")
        return None

    async def _unhealed(self) -> str:
        """What is still not as it should be; "" if all is well."""
        digests = set()
        for node in range(self.settings.nodes):
            try:
                status = await self.hosts.call(node, "status")
            except LocalFault as fault:
                return f"node {node}: {fault.message}"
            going = {state: count for state, count in status["needs"].items() if state not in ENDS}
            if going:
                return f"node {node} has needs that are {', '.join(going)}"
            if status["parked"]:
                return f"node {node} has {status['parked']} envelopes whose causes it lacks"
            digests.add(status["mesh_digest"])
        return "" if len(digests) == 1 else f"{len(digests)} digests of the mesh"

    async def _gather(self, evidence: Path) -> None:
        """Evidence of all nodes, taken again while they still have news for each other (anchors, for one)."""
        for attempt in range(EVIDENCE_TRIES):
            self.nodes = []
            for node, member in enumerate(self.hosts.members):
                try:
                    self.nodes.append(await self._evidence_of(node, evidence / f"{attempt}" / member.name))
                except LocalFault as fault:
                    self.late.append(f"{member.name} gives no evidence: {fault.message}")
            if len({node.mesh_digest for node in self.nodes}) == 1 or self.late:
                return
            if attempt < EVIDENCE_TRIES - 1:
                shutil.rmtree(evidence / f"{attempt}")
                await trio.sleep(POLL_S)

    async def _evidence_of(self, node: int, folder: Path) -> NodeEvidence:
        """A node's journal and what it says of itself at the same moment."""
        member = self.hosts.members[node]
        await trio.Path(folder).mkdir(parents=True)
        for _ in range(EVIDENCE_TRIES):
            before = await self.hosts.call(node, "digest")
            needs = await self.hosts.call(node, "need.list", limit=1_000_000)
            accounts = {}
            for other in self.hosts.members:
                minor = (await self.hosts.call(node, "balance", did=other.did))["minor"]
                accounts[other.did] = (minor["available"], minor["locked"])
            copy_home(member.home, folder)
            # The digest of its state covers its clock and all it was told: it has not moved meanwhile.
            if await self.hosts.call(node, "digest") == before:
                return NodeEvidence(
                    name=member.name,
                    folder=folder,
                    state_digest=before["state_digest"],
                    mesh_digest=before["mesh_digest"],
                    accounts=accounts,
                    needs={row["need"]: row["state"] for row in needs["needs"]},
                )
            (folder / "journal.db").unlink()
            await trio.sleep(POLL_S)
        raise LocalFault("chaos-stuck", f"{member.name} does not come to rest")


def run(settings: Settings, say: Say, kind: type[Run] = Run) -> dict[str, Any]:
    """The report of a run; its `violations` are empty if everything held. LocalFault if it cannot be done here."""
    machine.preflight(settings.kinds)
    machine.trial(settings.kinds)
    started = time.monotonic()
    net = Net(settings.nodes, seed=settings.seed)
    folder = Path(tempfile.mkdtemp(prefix=f"{net.run}-"))
    keep = True
    try:
        found = _mesh(settings, net, folder, say, kind)
        say("judging the journals")
        judged = verdict.judge(found.evidence, settings.seed)
        report = {
            "seed": settings.seed,
            "minutes": settings.minutes,
            "nodes": settings.nodes,
            "nemesis": list(settings.kinds),
            "slow_by": net.slow_by,
            **verdict.summary_of(judged),
            "acknowledged": len(found.run.load.acknowledged),
            "unanswered": len(found.run.load.unanswered),
            "refused": dict(found.run.load.refused),
            "faults": dict(found.run.faults),
            "heal_s": found.run.heal_s,
            **found.run.measured,
            "digests": {
                node.name: {"state": node.state_digest, "mesh": node.mesh_digest} for node in found.run.nodes
            },
            "wall_s": round(time.monotonic() - started, 1),
            "log": found.run.log,
        }
        keep = settings.keep or bool(judged.violations)
        if keep:
            report["homes"] = str(folder)
            report["again"] = [
                settings.command(),
                *(f"swarmd replay {node.folder} --reorder {settings.seed}" for node in found.run.nodes),
            ]
            (folder / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        return report
    except KeyboardInterrupt:
        keep = settings.keep
        raise
    except LocalFault as fault:
        # Without a report; what there is in their logs may say why.
        keep = any(folder.glob("*/daemon.log"))
        if keep:
            fault.fix = f"{fault.fix or 'see daemon.log in the homes'}; the homes are kept: {folder}"
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class _Found:
    run: Run
    evidence: Evidence


def _mesh(settings: Settings, net: Net, folder: Path, say: Say, kind: type[Run]) -> _Found:
    """The part with daemons: whatever happens, at its end there is none and no namespace."""
    hosts = None
    try:
        net.up(slow="slow" in settings.kinds)
        say(f"{settings.nodes} network namespaces" + (f", slowed by {net.slow_by}" if net.slow_by else ""))
        skewed = "skew" in settings.kinds
        hosts = ChaosHosts(ChaosCluster(folder, net, skewed=skewed, sync_interval_s=settings.sync_interval_s))
        hosts.start()
        short = settings.minutes * 60 < nemeses.FULL_LENGTH_S
        deadlines_s = SHORT_DEADLINES_S if short else DEADLINES_S
        load = Load(hosts, settings.seed, settings.rate_per_s, deadlines_s)
        run = kind(settings, hosts, load, say)
        try:
            trio.run(run.main, folder / "evidence")
        except* LocalFault as group:
            raise first(group) from None
    finally:
        codes = hosts.stop() if hosts is not None else []
        net.down()
    deaths = list(hosts.deaths)
    for member, code in zip(hosts.members, codes, strict=True):
        if code != 0:
            deaths.append(f"{member.name} ended with code {code} when it was told to stop")
    evidence = Evidence(
        nodes=run.nodes,
        acknowledged=load.acknowledged,
        unanswered=frozenset(load.unanswered),
        deaths=deaths,
        late=run.late,
        after=run.after,
        accusations=hosts.accusations(),
    )
    return _Found(run, evidence)


def clean() -> dict[str, list[str]]:
    """Remove what killed runs left: namespaces, what runs in them, and homes without a report to look at."""
    removed = {"namespaces": netns.clean(), "homes": []}
    for path in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if path.is_dir() and not netns.alive(path.name) and not (path / REPORT_FILE).exists():
            if path.stat().st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)
                removed["homes"].append(str(path))
    return removed
