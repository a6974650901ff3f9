"""`swarmd top`: a live view of the node in the terminal.

Textual runs on asyncio, in this process only: it talks to the daemon as every other command does, over the local
socket, from a thread (docs/style.md).
"""

import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.needs import waiting_text
from swarmd.node.console.node import duration, size
from swarmd.node.console.outcome import OK
from swarmd.node.console.output import clean, short_did
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.faults import LocalFault

NEEDS_SHOWN = 100
ASK_TIMEOUT_S = 10.0

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the daemon answered at one moment; `fault` if it did not."""

    status: dict[str, Any] = field(default_factory=dict)
    peers: list[dict[str, Any]] = field(default_factory=list)
    needs: list[dict[str, Any]] = field(default_factory=list)
    agents: list[dict[str, Any]] = field(default_factory=list)
    balance: dict[str, Any] = field(default_factory=dict)
    fault: str = ""

    def document(self) -> dict[str, Any]:
        names = ("status", "peers", "needs", "agents", "balance")
        return {name: getattr(self, name) for name in names}


def ask(client: LocalClient) -> Snapshot:
    return Snapshot(
        client.call("status"),
        client.call("peers")["peers"],
        client.call("need.list", {"limit": NEEDS_SHOWN})["needs"],
        client.call("agent.list"),
        client.call("balance"),
    )


# What is shown ---------------------------------------------------------------------------------------------


def headline(seen: Snapshot) -> str:
    if seen.fault:
        return f" {seen.fault}"
    status = seen.status
    trouble = f"  TROUBLE: {clean(status['trouble'])}" if status["trouble"] else ""
    return (
        f" {clean(status['mesh']['name'])}  {short_did(status['did'])}  up {duration(status['uptime_s'])}  "
        f"epoch {status['epoch']}  {status['peers']} peers  lamport {status['lamport']}{trouble}"
    )


PEER_COLUMNS = ("peer", "state", "rtt ms", "score", "in", "out", "for", "offers")


def peer_rows(seen: Snapshot) -> list[Row]:
    return [
        (
            short_did(each["did"]),
            clean(each["state"]),
            "-" if each["rtt_ms"] is None else f"{each['rtt_ms']:.1f}",
            f"{each['score']:.1f}",
            size(each["bytes_in"]),
            size(each["bytes_out"]),
            duration(each["connected_s"]),
            clean(", ".join(each["offers"])),
        )
        for each in seen.peers
    ]


NEED_COLUMNS = ("need", "state", "tasks", "budget", "paid", "title", "waits for")


def need_rows(seen: Snapshot) -> list[Row]:
    return [
        (
            clean(each["need"]),
            clean(each["state"]),
            f"{each['done']}/{each['tasks']}",
            clean(each["budget"]),
            clean(each["paid"]),
            clean(each["title"]),
            clean(waiting_text(each["waiting_for"])) if each["state"] != "FINALIZED" else "",
        )
        for each in seen.needs
    ]


AGENT_COLUMNS = ("agent", "state", "running", "done", "failed", "offers")


def agent_rows(seen: Snapshot) -> list[Row]:
    return [
        (
            clean(each["name"]),
            "off" if not each["enabled"] else "ready" if each["available"] else "away",
            f"{each['running']}/{each['concurrency']}",
            str(each["done"]),
            clean(", ".join(f"{count} {code}" for code, count in sorted(each["failed"].items()))),
            clean(", ".join(f"{offer['name']} {offer['price']}" for offer in each["capabilities"])),
        )
        for each in seen.agents
    ]


FACT_COLUMNS = ("what", "value")


def money_rows(seen: Snapshot) -> list[Row]:
    if not seen.status:
        return []
    chain, balance = seen.status["chain"], seen.balance
    names = ("available", "pending", "locked", "earned", "spent")
    rows = [(name, f"{balance[name]} USDC") for name in names if name in balance]
    rows += [
        ("chain", f"{chain['kind']} {chain['chain_id']}, {chain['state']}, block {chain['head']}"),
        ("not final yet", str(chain["pending"])),
    ]
    return [*rows, *([("chain trouble", clean(chain["error"]))] if chain["error"] else [])]


def gate_rows(seen: Snapshot) -> list[Row]:
    """Verdicts of the policy by gate, what was dropped on the way in, and the time on the bus."""
    if not seen.status:
        return []
    status = seen.status
    rows: list[Row] = [(clean(name), str(count)) for name, count in sorted(status["gates"].items())]
    rows += [
        (f"refused: {clean(code)}", str(count)) for code, count in sorted(status["ingress"]["faults"].items())
    ]
    rows += [
        ("frames dropped", str(status["ingress"]["dropped"])),
        ("parked", str(status["parked"])),
        ("bus p95", f"{status['bus_ms']['p95']} ms"),
        ("policy", clean(status["policy_hash"])[:16]),
    ]
    return rows


# The command -----------------------------------------------------------------------------------------------


def run_top(ctx: Context) -> int:
    """The view until it is quit; with --json, or where there is no terminal, one snapshot."""
    if ctx.out.as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        with ctx.client() as client:
            seen = ask(client)
        if ctx.out.as_json:
            ctx.out.document(seen.document())
        else:
            _print(ctx, seen)
        return OK
    from swarmd.node.console.top_app import Top

    return Top(Feed(ctx), ctx.args.interval).run() or OK


def _print(ctx: Context, seen: Snapshot) -> None:
    from swarmd.node.console.output import table

    ctx.out.note(headline(seen).strip())
    for columns, rows in (
        (PEER_COLUMNS, peer_rows(seen)),
        (NEED_COLUMNS, need_rows(seen)),
        (AGENT_COLUMNS, agent_rows(seen)),
        (FACT_COLUMNS, money_rows(seen)),
        (FACT_COLUMNS, gate_rows(seen)),
    ):
        ctx.out.print(table(columns, rows))


class Feed:
    """Asks the daemon from a thread, on one connection; comes back when the daemon does."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._client: LocalClient | None = None
        self._lock = threading.Lock()  # one call at a time: the refresh, and a detail somebody asked for

    def snapshot(self) -> Snapshot:
        try:
            with self._lock:
                return ask(self._connected())
        except LocalFault as fault:
            self.close()
            return Snapshot(fault=f"{clean(fault.message)}  fix: {clean(fault.fix)}")

    def why(self, need: str) -> list[str]:
        """The steps of a need, a line each."""
        try:
            with self._lock:
                found = self._connected().call("why", {"need": need})
        except LocalFault as fault:
            return [clean(fault.message), clean(fault.fix)]
        steps = found["steps"]
        began = min((step["at_ns"] for step in steps), default=0)
        lines = [f"{clean(found['need'])}  {clean(found['title'])}  {clean(found['state'])}", ""]
        for step in steps:
            mark = "✓" if step["verified"] else "✗"
            passed = (step["at_ns"] - began) / 1e9
            who = short_did(step["sender"])
            lines.append(f"{mark} {passed:8.3f} s  {clean(step['kind']):<12} {who:<13} {clean(step['text'])}")
        money = found["money"]
        return [*lines, "", f"money: {clean(money.get('amount', '0'))} USDC, escrow {clean(money['state'])}"]

    def _connected(self) -> LocalClient:
        if self._client is None:
            self._client = self._ctx.client(ASK_TIMEOUT_S)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
