"""The command `swarmd bench gossip`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from swarmd.node.bench import gossip
from swarmd.node.bench.local_socket import local_socket
from swarmd.node.bench.machine import machine
from swarmd.node.bench.streams import idle, stream
from swarmd.node.console.output import Output, facts
from swarmd.protocol.faults import LocalFault

PARTS = ("gossip", "stock", "local", "stream", "idle")
# What libp2p as it ships bears on two cores. At lower rates its fixed costs would flatter us in the ratio.
_STOCK_DELIVERIES_PER_S = 400
_CLIENTS = 20
_LOCAL_RATE = 10_000
_STREAM_S = 3
_IDLE_DAEMONS = 3
_IDLE_S = 10


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=5, metavar="N", help="processes (default 5)")
    parser.add_argument(
        "--rate", type=float, default=1_000, metavar="R", help="envelopes/s of all together (default 1000)"
    )
    parser.add_argument("--publishers", type=int, metavar="N", help="nodes that publish (default: all)")
    parser.add_argument("--size", type=int, default=500, metavar="BYTES", help="of an envelope (default 500)")
    parser.add_argument("--seconds", type=float, default=5, metavar="S", help="how long (default 5)")
    parser.add_argument(
        "--stock-rate", type=float, metavar="R", help="for libp2p as it ships (default: what it bears)"
    )
    parser.add_argument(
        "--parts",
        default=",".join(PARTS),
        metavar="LIST",
        help=f"what to measure, of {','.join(PARTS)} (default: all)",
    )


def main(args: Namespace, out: Output) -> int:
    """0 if every envelope arrived everywhere."""
    publishers = args.nodes if args.publishers is None else args.publishers
    parts = args.parts.split(",")
    if not (2 <= args.nodes <= 64 and 1 <= publishers <= args.nodes and args.rate > 0 and args.seconds >= 1):
        raise LocalFault("usage", "2 to 64 nodes, 1 to --nodes publishers, a rate above 0, at least 1 second")
    if unknown := [part for part in parts if part not in PARTS]:
        raise LocalFault("usage", f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    stock_rate = args.stock_rate or min(args.rate, _STOCK_DELIVERIES_PER_S / (args.nodes - 1))
    common = {"nodes": args.nodes, "size_bytes": args.size, "publishers": publishers, "seconds": args.seconds}

    async def ours() -> dict[str, Any]:
        return await gossip.gossip(gossip.OURS, rate=args.rate, **common)

    async def stock() -> dict[str, Any]:
        return {"stock": await stock_figures(stock_rate, **common)}

    async def local() -> dict[str, Any]:
        return {
            "local_socket": await local_socket(
                clients=_CLIENTS, rate=_LOCAL_RATE, size_bytes=args.size, seconds=args.seconds
            )
        }

    async def streams() -> dict[str, Any]:
        return {"stream": await stream(seconds=_STREAM_S)}

    async def idling() -> dict[str, Any]:
        return {"idle": await idle(nodes=_IDLE_DAEMONS, seconds=_IDLE_S)}

    measures: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "gossip": ours,
        "stock": stock,
        "local": local,
        "stream": streams,
        "idle": idling,
    }
    figures: dict[str, Any] = {
        "nodes": args.nodes,
        "publishers": publishers,
        "rate": args.rate,
        "size_bytes": args.size,
        "seconds": args.seconds,
    }
    for part in parts:
        out.progress(f"measuring: {part}")
        figures.update(trio.run(measures[part]))
    if "gossip" in parts and "stock" in parts:
        figures["ratio"] = ratio(figures)
    figures.update(machine())
    if out.as_json:
        out.document(figures)
    else:
        out.print(facts(list(figures.items())))
    return 0 if figures.get("delivered_ratio", 1.0) == 1.0 else 1


async def stock_figures(rate: float, **common: Any) -> dict[str, Any]:
    """Those of libp2p as it ships. With ten nodes and more on few cores it may not come through: `failed` says so then, and our
    own figures stand without a ratio."""
    try:
        return {"rate": rate, **await gossip.gossip(gossip.STOCK, rate=rate, **common)}
    except LocalFault as fault:
        if fault.code != "bench-stuck":
            raise
        return {"rate": rate, "cpu_us_per_delivery": None, "failed": fault.message}


def ratio(figures: dict[str, Any]) -> float | None:
    """How much more CPU stock gossipsub takes to bring one envelope to one node."""
    ours, stock = figures["cpu_us_per_delivery"], figures["stock"]["cpu_us_per_delivery"]
    return round(stock / ours, 1) if ours and stock else None
