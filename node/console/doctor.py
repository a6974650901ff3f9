"""`swarmd doctor net|content`: asks the daemon what is wrong, or finds out itself while that is down."""

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
    try:
        with ctx.client(TIMEOUT_S) as client:
            found: dict[str, Any] = client.call("doctor.net", {})
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
        found = offline(ctx)
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        show(ctx, found)
    return OK if found["ok"] else FAILED


def run_content(ctx: Context) -> int:
    try:
        with ctx.client(TIMEOUT_S) as client:
            found: dict[str, Any] = client.call("doctor.content", {})
    except LocalFault as fault:
        if fault.code != "daemon-not-running":
            raise
        found = _content_offline(ctx)
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        show(ctx, found)
    return OK if found["ok"] else FAILED


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
    if found["dials"]:
        rows = [
            (
                clean(dial["addr"]),
                dial["origin"],
                "-" if dial["rtt_ms"] is None else f"{dial['rtt_ms']:.1f} ms",
                "answers" if dial["ok"] else clean(dial["error"]),
                clean(dial["fix"]),
            )
            for dial in found["dials"]
        ]
        out.print(table([("address", WHOLE), "from", ("tcp", RIGHT), "dialed", "fix"], rows))


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
