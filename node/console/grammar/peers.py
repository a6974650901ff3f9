"""`swarmd peers` and below."""

import argparse

from swarmd.node.console.grammar.values import duration_s, seconds
from swarmd.node.console.parser import Commands

_PEER = "12D3KooW..."


def add(commands: Commands) -> None:
    peers = commands.group(
        "peers",
        "the connected nodes, and whom this one lets in",
        "swarmd peers --watch",
        run="peers:run_list",
    )
    _watching(peers.parent)
    _watching(
        peers.add("list", "peers:run_list", "list the connected nodes", "swarmd peers list --watch --json")
    )
    score = peers.add(
        "score",
        "peers:run_score",
        "say what this node thinks of a peer",
        f"swarmd peers score {_PEER}",
        "Without a peer: all that something is held against, worst first. The score is 1.0 at best; faults, slow "
        "and missing answers lower it. Faults are forgotten by half every two minutes.",
    )
    score.add_argument("peer", nargs="?", help="its peer id or did:key")
    ban = peers.add(
        "ban",
        "peers:run_ban",
        "cut a peer off for a time",
        f"swarmd peers ban {_PEER} --for 24h --reason 'sends rubbish'",
        "It holds over restarts.",
    )
    ban.add_argument("peer", help="its peer id or did:key")
    ban.add_argument(
        "--for",
        dest="for_s",
        type=duration_s,
        metavar="TIME",
        default=86_400.0,
        help="90s, 10m, 24h or 7d (default: 24h)",
    )
    ban.add_argument("--reason", default="operator", help="kept with the ban")
    unban = peers.add(
        "unban",
        "peers:run_unban",
        "let a banned peer come back, and forget its faults",
        f"swarmd peers unban {_PEER}",
    )
    unban.add_argument("peer", help="its peer id or did:key")
    for verdict, text, more in (
        (
            "allow",
            "put a peer or network on the allow list",
            "It is never cut off, scored out or rotated out.",
        ),
        ("deny", "put a peer or network on the deny list", "It is cut off, and never let in or dialed."),
    ):
        parser = peers.add(
            verdict,
            "peers:run_access",
            text,
            f"swarmd peers {verdict} 192.0.2.0/24",
            f"{more} Without an entry the list is shown. The lists hold over restarts; swarmd.toml has "
            f"{verdict}_peers too.",
        )
        parser.add_argument("entry", nargs="?", help="a peer id, did:key, IP address or network")
        parser.add_argument("--remove", action="store_true", help="take it off the list")
        parser.set_defaults(verdict=verdict)


def _watching(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: `peers` and `peers list` both have them, and an absent one must not hide the other's.
    parser.add_argument(
        "--watch", action="store_true", default=argparse.SUPPRESS, help="again and again, until Ctrl-C"
    )
    parser.add_argument(
        "--interval", type=seconds, metavar="S", default=argparse.SUPPRESS, help="so often (default: 1)"
    )
