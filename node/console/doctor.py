"""`swarmd doctor`: all that may be wrong with a node; `doctor net`, `content` and `chain` in depth. It asks the daemon what is wrong, or finds out itself while that is down."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import RIGHT, WHOLE, clean, table
from swarmd.protocol.faults import LocalFault

TIMEOUT_S = 180.0
ELSEWHERE = ("/ip4/0.0.0.0/tcp/0",)
_MARKS = {True: "ok  ", False: "BAD ", None: "?   "}
_STYLES = {True: "green", False: "red", None: "yellow"}


def run_net(ctx: Context) -> int:
    return _run(ctx, "doctor.net", offline)


def run_content(ctx: Context) -> int:
    return _run(ctx, "doctor.content", _content_offline)


def run_chain(ctx: Context) -> int:
    return _run(ctx, "doctor.chain", _chain_offline)


def _run(ctx: Context, op: str, alone: Callable[[Context], dict[str, Any]]) -> int:
    """What the daemon finds, or `alone` finds while it is down."""
    try:
        with ctx.client(TIMEOUT_S) as client:
            found: dict[str, Any] = client.call(op, {})
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
        found = alone(ctx)
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        show(ctx, found)
    return OK if found["ok"] else FAILED


def _chain_offline(ctx: Context) -> dict[str, Any]:
    """Open the chain as the daemon would, and say what that meets."""
    from swarmd.node.console.money import ask
    from swarmd.node.doctor import Diagnosis

    found = Diagnosis("down")
    try:
        wallet = ask(ctx, "wallet")
        found.add("chain", True, f"chain {wallet['chain_id']} answers, the account is {wallet['address']}")
    except LocalFault as fault:
        found.add(f"chain {fault.code}", False, fault.message, fault.fix)
    return found.document()


def _content_offline(ctx: Context) -> dict[str, Any]:
    from swarmd.node.config import load_config
    from swarmd.node.console.settings import content_settings
    from swarmd.node.content.host import examine
    from swarmd.node.groups import run

    settings = content_settings(load_config(ctx.home, ctx.env).config)
    return run(lambda: examine(settings, None))


def show(ctx: Context, found: dict[str, Any]) -> None:
    out = ctx.out
    if found["daemon"] == "down":
        out.note("the daemon is down: this is what it would meet", "yellow")
    for check in found["checks"]:
        out.line(
            f"{_MARKS[check['ok']]} {clean(check['name'])}: {clean(check['message'])}", _STYLES[check["ok"]]
        )
        if check["fix"]:
            out.note(f"     fix: {clean(check['fix'])}")
    _show_dials(ctx, found["dials"])


def _show_dials(ctx: Context, dials: Sequence[Mapping[str, Any]]) -> None:
    if dials and not ctx.out.quiet:
        rows = [
            (
                clean(dial["addr"]),
                dial["origin"],
                "-" if dial["rtt_ms"] is None else f"{dial['rtt_ms']:.1f} ms",
                "answers" if dial["ok"] else clean(dial["error"]),
                clean(dial["fix"]),
            )
            for dial in dials
        ]
        ctx.out.print(table([("address", WHOLE), "from", ("tcp", RIGHT), "dialed", "fix"], rows))


# All of it ------------------------------------------------------------------------------------------------


def run_all(ctx: Context) -> int:
    """The home, and the daemon if it runs. FAILED if a finding is bad."""
    found = diagnose(ctx)
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        show_findings(ctx, found)
    return OK if found["ok"] else FAILED


def diagnose(ctx: Context) -> dict[str, Any]:
    """The document of `swarmd doctor`."""
    from swarmd.node.health import live, offline
    from swarmd.node.health.findings import Finding, good
    from swarmd.node.home_lock import running_pid
    from swarmd.node.version import version

    pid = running_pid(ctx.home)
    found = offline.examine(offline.Ground(ctx.home, ctx.env, pid))
    asked: dict[str, Any] = {}
    try:
        with ctx.client(TIMEOUT_S) as client:
            for op, args in _ASKED.items():
                asked[op] = client.call(op, args)
        found += live.examine(asked)
        theirs = asked["status"]["version"]
        if theirs != version():
            fix = "swarmd down && swarmd up -d"
            found.append(Finding("versions", "warning", f"the daemon is swarmd {theirs} still", fix))
    except LocalFault as fault:
        if fault.code == "daemon-not-running" and pid is None:
            found.append(Finding("daemon", "unknown", "no daemon runs on this home", "swarmd up --detach"))
        else:
            found.append(Finding("daemon", "bad", fault.message, fault.fix or "see swarmd logs"))
    return {
        "ok": good(found),
        "daemon": "up" if "status" in asked else "down",
        "home": str(ctx.home),
        "findings": [each.document() for each in found],
        "dials": asked.get("doctor.net", {}).get("dials", []),
    }


_ASKED: Mapping[str, dict[str, Any]] = {
    "status": {},
    "doctor.net": {},
    "doctor.content": {},
    "agent.list": {},
    "need.list": {"limit": 1_000},
}
_LEVELS = {
    "ok": ("ok  ", "green"),
    "warning": ("WARN", "yellow"),
    "bad": ("BAD ", "red"),
    "unknown": ("?   ", "dim"),
}


def show_findings(ctx: Context, found: dict[str, Any]) -> None:
    out = ctx.out
    for each in found["findings"]:
        mark, style = _LEVELS[each["status"]]
        if out.quiet and each["status"] != "bad":
            continue
        out.line(f"{mark} {each['code']}: {clean(each['message'])}", style)
        if each["fix"]:
            out.note(f"     fix: {clean(each['fix'])}")
        if each["docs"]:
            out.note(f"     see: {each['docs']}", "dim")
    _show_dials(ctx, found["dials"])
    bad = sum(each["status"] == "bad" for each in found["findings"])
    out.note("nothing is wrong" if not bad else f"{bad} findings are bad", "bold")


def offline(ctx: Context) -> dict[str, Any]:
    """With the daemon's settings, key and book, on the addresses it would listen on."""
    from swarmd.bootstrap.swarmkey import load_psk
    from swarmd.node.config import load_config
    from swarmd.node.discovery import DiscoverySettings, Membership
    from swarmd.node.groups import run
    from swarmd.node.keys import load_key
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    home: Path = ctx.home
    config = load_config(home, ctx.env).config
    genesis = load_genesis(home / GENESIS_FILE)
    settings = DiscoverySettings(
        bootstrap=config.bootstrap, mdns=config.mdns, dht=config.dht, nat=config.nat, target_peers=0
    )
    membership = Membership(genesis.mesh_name, genesis.roster)
    parts = (home, load_key(home).seed, load_psk(home), membership, config.listen, config.peers, settings)
    return run(lambda: _examine(*parts))


async def _examine(
    home: Path, seed: bytes, psk: bytes | None, membership: Any, listen: Any, peers: Any, settings: Any
) -> dict[str, Any]:
    import trio
    from swarmd.node.discovery import Discovery
    from swarmd.node.doctor import examine
    from swarmd.node.joining import Visitor
    from swarmd.node.transport.p2p import P2PTransport
    from swarmd.node.transport.p2p.addresses import parse_listen, require_free

    trouble: list[LocalFault] = []
    for text in listen:
        try:
            addr = parse_listen(text)
            if addr.value_for_protocol("tcp") != "0":
                require_free(addr)
        except LocalFault as fault:
            trouble.append(fault)
    transport = P2PTransport(seed, membership.mesh, ELSEWHERE if trouble else listen, psk=psk)
    discovery = Discovery(home, transport, settings, membership, tuple)
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run, Visitor())
        nursery.start_soon(discovery.run)
        await discovery.settle()
        found = await examine(
            "down",
            transport,
            [*((addr, "peers") for addr in peers), *discovery.known_addrs()],
            discovery.report(),
            lambda: discovery.reach(ask=True),
        )
        for each in trouble:
            found.add("listen", False, each.message, each.fix)
        nursery.cancel_scope.cancel()
    return found.document()
