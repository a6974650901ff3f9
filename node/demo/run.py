"""Running the demo: start the mesh, watch the need, check the outcome against everything that can be known apart."""

import os
import sys
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from swarmd.node.cluster import Cluster, Member
from swarmd.node.demo.scenario import HELPERS, OWNER, PARTS, PRICES, SCRIPTS, expected, need_spec
from swarmd.node.home import socket_path
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.faults import LocalFault

BALANCE = 100_000_000  # 100 USDC of test credit each
WAIT_S = 30.0
Say = Callable[[str, str], None]
Event = Callable[[dict[str, Any]], None]


class Demo:
    """`say(stage, text)` for each stage, `event` for each step of the need."""

    def __init__(self, folder: Path, text: str, *, parts: int, say: Say, event: Event) -> None:
        self._text = text
        self._parts = parts
        self._say = say
        self._event = event
        self._mark = time.monotonic()
        self.stages_ms: dict[str, int] = {}
        self.cluster = Cluster(
            folder,
            (OWNER, *HELPERS),
            verifiers=HELPERS,
            balance=BALANCE,
            mesh="demo",
            # Four verifiers would decide one by one under the default alpha of 0.3; here two of three
            # have to agree on the plan, and two of three on each result.
            alpha_permille=500,
            bootstrap_threshold=4,
        )
        self.owner = self.cluster.members[0]
        self.names = {member.did: member.name for member in self.cluster.members}

    def _stage(self, name: str, text: str) -> None:
        now = time.monotonic()
        self.stages_ms[name] = int(1000 * (now - self._mark))
        self._mark = now
        self._say(name, text)

    def start(self) -> None:
        """Five daemons, connected, their agents offered and known to all."""
        self._stage("homes", f"5 homes, keys and one genesis in {self.cluster.base}")
        self.cluster.start_all()
        self._stage("daemons", "5 daemons run: " + ", ".join(m.name for m in self.cluster.members))
        with as_file(files("swarmd.node.demo").joinpath("agents")) as scripts:
            for member in self.cluster.members[1:]:
                self._add_agents(member, scripts)
        self._until(self._meshed, "the daemons to know each other")
        self._stage("mesh", "all know each other and what each offers")

    def _add_agents(self, member: Member, scripts: Path) -> None:
        for capability, script in SCRIPTS.items():
            agent = {
                "name": capability.removeprefix("text."),
                "kind": "command",
                "capabilities": [{"name": capability, "price": PRICES[member.name][capability]}],
                "argv": [sys.executable, "-I", str(scripts / script)],
            }
            member.call("agent.add", agent=agent, base=str(scripts), path=os.environ.get("PATH", ""))

    def _meshed(self) -> bool:
        for member in self.cluster.members:
            status = member.call("status")
            if status["peers"] < min(2, len(self.cluster.members) - 1) or status["offers"] < len(
                HELPERS
            ) * len(SCRIPTS):
                return False
        return True

    def _until(self, true: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > end:
                raise LocalFault("demo-stuck", f"waited {WAIT_S:g} s for {what}")
            time.sleep(0.05)

    def work(self) -> dict[str, Any]:
        """Post the need, watch it to its end, wait for the anchor; returns `need.show` of the owner."""
        need = self.owner.call("need.post", spec=need_spec(self._text, self._parts))["need"]
        self._stage("post", f"alice posts {need}")
        with LocalClient(socket_path(self.owner.home), timeout_s=WAIT_S) as client:
            stream = client.stream("need.watch", {"need": need})
            for step in stream:
                if "kind" in step:
                    self._event(step)
        shown: dict[str, Any] = self.owner.call("need.show", need=need)
        self._stage("work", f"the need is {shown['state']}")
        if shown["state"] == "FINALIZED":
            self._until(lambda: self._anchored(need), "the anchor")
            shown = self.owner.call("need.show", need=need)
            self._stage("anchor", f"receipt anchored in {shown['anchor']['tx_hash']}")
        return shown

    def _anchored(self, need: str) -> bool:
        """On chain, and the note of it known to all."""
        return all(m.call("need.show", need=need)["anchor_note"] for m in self.cluster.members)

    def check(self, shown: dict[str, Any]) -> dict[str, Any]:
        """The summary: what came out, and what holds of it."""
        self._until(self._agree_or_tired(), "the nodes to agree")
        digests = [member.call("digest")["mesh_digest"] for member in self.cluster.members]
        result = shown["values"].get("merge")
        checks = {
            "result_is_right": result == expected(self._text),
            "money_is_conserved": all(map(self._conserved, self.cluster.members)),
            "nodes_agree": len(set(digests)) == 1,
            "every_signature_verifies": self._verified(shown["need"]),
            "anchored": shown["anchor"] is not None,
        }
        paid: dict[str, int] = {}
        for row in shown["escrow"]["paid"]:
            name = self.names[row["worker"]]
            paid[name] = paid.get(name, 0) + parse_usdc(row["amount"])
        self._stage("check", "checked: " + ", ".join(name for name, holds in checks.items() if holds))
        return {
            "ok": all(checks.values()),
            "need": shown["need"],
            "state": shown["state"],
            "result_cid": shown["result"].get("merge"),
            "words": result.get("words") if isinstance(result, dict) else None,
            "decide_ms": shown["decide_ms"],
            "finalize_ms": shown["finalize_ms"],
            "paid": {name: format_usdc(amount) for name, amount in sorted(paid.items())},
            "returned": shown["escrow"].get("returned"),
            "anchor_tx": shown["anchor"]["tx_hash"] if shown["anchor"] else None,
            "nodes_agree": checks["nodes_agree"],
            "state_digest": digests[0],
            "checks": checks,
            "stages_ms": self.stages_ms,
        }

    def _agree_or_tired(self) -> Callable[[], bool]:
        end = time.monotonic() + WAIT_S / 2

        def agree() -> bool:
            digests = {member.call("digest")["mesh_digest"] for member in self.cluster.members}
            return len(digests) == 1 or time.monotonic() > end

        return agree

    def _conserved(self, member: Member) -> bool:
        """What this node believes each member has adds up to what genesis gave."""
        total = 0
        for other in self.cluster.members:
            minor = member.call("balance", did=other.did)["minor"]
            total += minor["available"] + minor["locked"]
        return total == BALANCE * len(self.cluster.members)

    def _verified(self, need: str) -> bool:
        steps = self.owner.call("why", need=need)["steps"]
        return bool(steps) and all(step["verified"] for step in steps)


def run(
    folder: Path, text: str, *, parts: int = PARTS, say: Say, event: Event, keep: bool = False
) -> tuple[dict[str, Any], dict[str, Any], Demo]:
    """Returns (summary, `why` of the owner, the demo); stops the mesh unless `keep`."""
    demo = Demo(folder, text, parts=parts, say=say, event=event)
    done = False
    try:
        demo.start()
        shown = demo.work()
        summary = demo.check(shown)
        why = demo.owner.call("why", need=shown["need"])
        done = True
        return summary, why, demo
    finally:
        if not (keep and done):
            demo.cluster.stop_all()
