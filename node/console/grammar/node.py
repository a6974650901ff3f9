"""The node itself: init, up, stop, status, peers, balance."""

import argparse

from swarmd.node.console.grammar.values import positive, watch_flag
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    init = commands.add(
        "init",
        "node:run_init",
        "make a node: its folder, key, swarmd.toml and mesh",
        "swarmd init --genesis genesis.json --peer /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo...",
        "Without --genesis it founds a mesh of its own. To found one with others, each makes a key with "
        "--key-only and the founder names their DIDs with --verifier; all then use the founder's genesis.json.",
    )
    init.add_argument("--name", default="solo", help="the name of a new mesh (default: solo)")
    init.add_argument("--genesis", metavar="FILE", help="join the mesh of this genesis.json")
    init.add_argument("--key-only", action="store_true", help="only make the key, and say its DID")
    init.add_argument(
        "--verifier",
        metavar="DID",
        action="append",
        default=[],
        help="a verifier of a new mesh beside this node; repeatable",
    )
    init.add_argument(
        "--fund",
        metavar="DID=USDC",
        action="append",
        default=[],
        help="an opening balance of a new mesh; DID may be 'me'; repeatable",
    )
    init.add_argument(
        "--quorum-mode",
        choices=("majority", "bft"),
        help="of a new mesh: K of 2K-1 verifiers decide (majority), or 2f+1 of 3f+1, which bears f that lie",
    )
    init.add_argument(
        "--arbiter",
        choices=("committee", "etcd"),
        help="of a new mesh: with etcd, a plan wins that is recorded there first (etcd_endpoints in swarmd.toml)",
    )
    init.add_argument(
        "--challenge-window",
        type=positive,
        metavar="S",
        help="of a new mesh: hold pay and let results be challenged for so long (600 is good; default: not at all)",
    )
    init.add_argument(
        "--listen", metavar="MULTIADDR", action="append", help="written to swarmd.toml; repeatable"
    )
    init.add_argument(
        "--peer",
        dest="peers",
        metavar="MULTIADDR",
        action="append",
        help="written to swarmd.toml; repeatable",
    )

    init.add_argument(
        "--private",
        action="store_true",
        help="a new mesh that only who has its swarm.key can connect to; swarmd invite hands the key on",
    )

    up = commands.add(
        "up",
        "node:run_up",
        "run the node until it is stopped",
        "swarmd up --listen /ip4/0.0.0.0/tcp/4001 --log-format json",
        "Flags go before SWARMD_* variables, and these before swarmd.toml.",
    )
    up.add_argument("--listen", metavar="MULTIADDR", action="append", help="where to listen; repeatable")
    up.add_argument(
        "--peer",
        dest="peers",
        metavar="MULTIADDR",
        action="append",
        help="a node to keep connected to; repeatable",
    )
    up.add_argument(
        "--bootstrap",
        metavar="ADDR|FILE",
        action="append",
        help="where to begin looking for others: a multiaddr, /dnsaddr/NAME or a file of them; repeatable",
    )
    up.add_argument(
        "--init", action="store_true", help="make the node first, as swarmd init does, if there is none"
    )
    up.add_argument("--no-mdns", dest="mdns", action="store_false", default=None, help="leave the LAN alone")
    up.add_argument(
        "--no-api",
        dest="api_enabled",
        action="store_false",
        default=None,
        help="serve no HTTP API, no dashboard",
    )
    up.add_argument(
        "--policy", dest="policy_path", metavar="WASM", help="a compiled policy instead of the one that ships"
    )
    up.add_argument("--lease-ttl-s", type=int, metavar="S", help="how long a claimed task is ours to deliver")
    up.add_argument("--checks", choices=("touched", "full"), help="invariants after each step")
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="how much is logged")
    up.add_argument("--log-format", choices=("text", "json"), help="lines for people or for programs")
    up.add_argument(
        "--log-file", metavar="FILE", help="log there, not to stderr; rotated at 10 MiB, five are kept"
    )
    up.add_argument(
        "-d",
        "--detach",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run in the background, and return once the node is ready",
    )

    invite = commands.add(
        "invite",
        "joining:run_invite",
        "make a ticket with which another host can join this mesh",
        "swarmd invite --ttl 24",
        "The node must be up. The ticket of a private mesh contains its key: pass it on as you would a password.",
    )
    invite.add_argument("--ttl", type=positive, metavar="HOURS", default=168, help="how long it holds (168)")
    invite.add_argument(
        "--addr",
        dest="addrs",
        metavar="MULTIADDR",
        action="append",
        default=[],
        help="where this node is reached, in place of what it knows; repeatable",
    )
    join = commands.add(
        "join",
        "joining:run_join",
        "make a node of the mesh that a ticket invites to",
        "swarmd join swarm1... && swarmd up",
        "It takes the genesis from the inviter and checks it against the ticket. Nothing is made if that fails.",
    )
    join.add_argument("ticket", help="what swarmd invite printed; @FILE reads it, - reads stdin")
    join.add_argument("--genesis", metavar="FILE", help="take the genesis from a file, not from the inviter")
    join.add_argument(
        "--listen", metavar="MULTIADDR", action="append", help="written to swarmd.toml; repeatable"
    )

    seeds = commands.group(
        "seeds", "signed lists of where to begin looking for a mesh's nodes", "swarmd seeds check seeds.json"
    )
    sign = seeds.add(
        "sign",
        "joining:run_seeds_sign",
        "sign a list of addresses as a verifier of the mesh, and print it",
        "swarmd seeds sign /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo... > seeds.json",
        "Others name the file in `bootstrap`. It may come from anywhere: who changes it spoils its signature.",
    )
    sign.add_argument("addrs", metavar="ADDR", nargs="+", help="a multiaddr or /dnsaddr/NAME")
    sign.add_argument("--ttl", type=positive, metavar="DAYS", default=365, help="how long it holds (365)")
    check = seeds.add(
        "check",
        "joining:run_seeds_check",
        "say what a bootstrap list holds, and whether this node takes it",
        "swarmd seeds check seeds.json",
    )
    check.add_argument("file", help="a plain or signed list")

    commands.add("stop", "node:run_stop", "stop the running node", "swarmd stop")
    watch_flag(
        commands.add("status", "node:run_status", "say how the node is", "swarmd status --json | jq .balance")
    )
    commands.add(
        "sync",
        "syncing:run_sync",
        "ask every peer now for what this node lacks",
        "swarmd sync --json",
        "A node does so by itself: when a peer comes, when a gap shows, and every 30 s. "
        "Exit code 1 if no peer answered.",
    )
    balance = commands.add("balance", "node:run_balance", "say what an account has", "swarmd balance --json")
    balance.add_argument("did", nargs="?", help="whose (default: this node's)")
