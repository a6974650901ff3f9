"""Commands about the node itself: init, up, status, balance, version, stop.

What only some of them need they import themselves: `swarmd status` is asked often, and answers quickly.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, UsageFault
from swarmd.node.console.output import clean, facts
from swarmd.node.console.settings import api_settings, content_settings
from swarmd.node.console.verifiers import bootstrap_text
from swarmd.protocol.amounts import parse_usdc
from swarmd.protocol.faults import LocalFault


def run_version(ctx: Context) -> int:
    import platform

    from swarmd.node.version import version

    found = {"version": version(), "python": platform.python_version(), "platform": platform.platform()}
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        ctx.out.line(f"swarmd {found['version']} (Python {found['python']}, {found['platform']})")
    return OK


# init ------------------------------------------------------------------------------------------------------


def run_init(ctx: Context) -> int:
    from swarmd.node import setup

    args, home = ctx.args, ctx.home
    if args.private and args.genesis:
        raise UsageFault("--private makes the key of a new mesh; with --genesis the mesh exists")
    new = args.verifier or args.fund or args.quorum_mode or args.arbiter or args.challenge_window
    if args.genesis and new:
        raise UsageFault(
            "--genesis is a mesh that exists; --verifier, --fund, --quorum-mode, --arbiter and --challenge-window "
            "describe a new one"
        )
    genesis = setup.load_genesis(Path(args.genesis)) if args.genesis else None
    if args.key_only:
        did = setup.create_home(home).did
        write_config(home, _given(args))
        return _made(ctx, {"home": str(home), "did": did})
    if new:
        if (home / setup.GENESIS_FILE).exists():
            raise setup.home_exists(home)
        own = setup.create_home(home).did
        chosen = {name: getattr(args, name) for name in ("quorum_mode", "arbiter") if getattr(args, name)}
        if args.challenge_window:
            chosen["challenge_window_s"] = args.challenge_window
        genesis = setup.found_mesh(args.name, [*args.verifier, own], _funds(args.fund, own), **chosen)
    if args.private and not (home / setup.GENESIS_FILE).exists():
        from swarmd.bootstrap.swarmkey import new_psk, write_psk

        setup.create_home(home)
        write_psk(home, new_psk())
    identity, genesis = setup.init_home(home, genesis, name=args.name)
    write_config(home, _given(args))
    mesh = {"id": genesis.mesh_name, "name": genesis.name}
    return _made(ctx, {"home": str(home), "did": identity.did, "mesh": mesh})


def _funds(texts: Sequence[str], own: str) -> dict[str, int]:
    """DID=AMOUNT texts as opening balances; without any the founder gets the usual test credit."""
    from swarmd.node.setup import FOUNDER_BALANCE

    if not texts:
        return {own: FOUNDER_BALANCE}
    found: dict[str, int] = {}
    for text in texts:
        did, equals, amount = text.rpartition("=")
        if not equals:
            raise UsageFault(f"--fund {text}: not DID=AMOUNT", fix="such as --fund did:key:z6Mk...=100")
        found[own if did == "me" else did] = parse_usdc(amount)
    return found


def _given(args: Any) -> dict[str, Any]:
    return {name: value for name in ("listen", "peers") if (value := getattr(args, name))}


def write_config(home: Path, given: dict[str, Any]) -> None:
    """A commented swarmd.toml (0600) unless there is one: what an operator wrote is never written over."""
    from swarmd.node.config import CONFIG_FILE, config_text
    from swarmd.node.private_file import create_private

    try:
        create_private(home / CONFIG_FILE, config_text(given).encode())
    except FileExistsError:
        pass


def _made(ctx: Context, found: dict[str, Any]) -> int:
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        out.line(found["did"])
        return OK
    mesh = found.get("mesh")
    out.note(f"made a node in {clean(found['home'])}")
    out.note(f"  DID   {found['did']}")
    if mesh:
        out.note(f"  mesh  {clean(mesh['name'])} ({mesh['id']})")
        named = f" --home {shlex.quote(ctx.args.home)}" if ctx.args.home else ""
        out.note(f"start it with: swarmd{named} up")
    else:
        out.note("  mesh  none yet: give this DID to the founder, then run swarmd init --genesis FILE")
    return OK


# up --------------------------------------------------------------------------------------------------------


def ensure_home(ctx: Context) -> None:
    """For `up --init`: a node and a mesh of its own, unless the home is one already."""
    from swarmd.node import setup

    if not (ctx.home / setup.GENESIS_FILE).exists():
        setup.init_home(ctx.home, None, name="solo")
        write_config(ctx.home, {})


def _can_begin(ctx: Context) -> None:
    """What is told at once, before all of the node is loaded."""
    from swarmd.node.home_lock import already_running, running_pid

    if not ctx.home.is_dir():
        fix = "make a node there and start it: swarmd up --init --detach"
        raise LocalFault("no-home", f"{ctx.home} does not exist", fix=fix)
    pid = running_pid(ctx.home)
    if pid is not None:
        raise already_running(ctx.home, pid)


def run_up(ctx: Context) -> int:
    if ctx.args.init:
        ensure_home(ctx)
    _can_begin(ctx)
    if ctx.args.detach:
        from swarmd.node.console.lifecycle import run_detached

        return run_detached(ctx)
    from swarmd.node.config import load_config

    config = load_config(ctx.home, ctx.env, config_flags(ctx)).config
    from swarmd.node import lean

    lean.install()
    # Late: all of libp2p, py-evm and wasmtime comes with it.
    from swarmd.node import up
    from swarmd.node.arbiter.settings import EtcdSettings
    from swarmd.node.chain.keystore import PASSPHRASE_VARIABLE
    from swarmd.node.console.balances import balance_settings
    from swarmd.node.console.money import rpc_settings
    from swarmd.node.discovery import DiscoverySettings
    from swarmd.node.settings import Settings
    from swarmd.node.settling.terms import Terms as SettleTerms
    from swarmd.node.spending import SpendingLimits, parse_limit, parse_limits
    from swarmd.node.telemetry.service import TelemetrySettings

    log_file = Path(ctx.args.log_file).absolute() if ctx.args.log_file else None
    up.set_up_logging(config.log_level, config.log_format, log_file)
    settings = Settings(
        home=ctx.home,
        listen=config.listen,
        peers=config.peers,
        chain_id=config.chain_id,
        rpc=rpc_settings(config),
        keystore_passphrase=ctx.env.get(PASSPHRASE_VARIABLE, ""),
        settlement=SettleTerms(has_vault=bool(config.chain_vault)),
        spending=SpendingLimits(
            parse_limit(config.spending_per_need),
            parse_limit(config.spending_per_day),
            parse_limits(config.spending_per_agent),
            parse_limits(config.spending_per_capability),
        ),
        policy_path=config.policy_path,
        policy_signers=config.policy_signers,
        lease_ttl_s=config.lease_ttl_s,
        anchor_interval_s=config.anchor_interval_s,
        sync_interval_s=config.sync_interval_s,
        check_everything=config.checks == "full",
        state_replica=config.state_replica,
        content_max_bytes=config.content_max_bytes,
        keep_epochs=config.keep_epochs,
        cold_max_bytes=config.cold_max_bytes,
        attestation_keys=config.attestation_keys,
        verifier_commands={name: list(argv) for name, argv in config.verifier_commands.items()},
        discovery=DiscoverySettings(
            bootstrap=config.bootstrap,
            mdns=config.mdns,
            dht=config.dht,
            nat=config.nat,
            relay=config.relay,
            target_peers=config.target_peers,
        ),
        max_connections=config.max_connections,
        allow_peers=config.allow_peers,
        deny_peers=config.deny_peers,
        only_allowed_peers=config.only_allowed_peers,
        nats_url=config.nats_url,
        nats_hold_s=config.nats_hold_s,
        content=content_settings(config),
        etcd=EtcdSettings(
            config.etcd_endpoints, config.etcd_ca, config.etcd_cert, config.etcd_key, config.etcd_keep_s
        ),
        telemetry=TelemetrySettings(
            config.telemetry_otlp_endpoint,
            config.telemetry_sample_ratio,
            config.telemetry_metrics_interval_s,
        ),
        api=api_settings(config),
        balances=balance_settings(config),
    )
    up.run(settings, lambda ready: _announce(ctx, ready))
    return OK


def config_flags(ctx: Context) -> dict[str, Any]:
    """The settings that flags of this command give."""
    names = (
        "listen",
        "peers",
        "bootstrap",
        "log_level",
        "log_format",
        "lease_ttl_s",
        "policy_path",
        "checks",
    )
    found = {name: getattr(ctx.args, name, None) or None for name in names}
    switches = {name: getattr(ctx.args, name, None) for name in ("mdns", "api_enabled")}
    return {**found, **switches}


def _announce(ctx: Context, ready: dict[str, Any]) -> None:
    out = ctx.out
    if out.as_json:
        out.document(ready)
        return
    from swarmd.node.version import version

    out.note(f"swarmd {version()} is up: {ready['did']}")
    out.note(f"  mesh    {clean(ready['mesh']['name'])} ({ready['mesh']['id']})")
    for addr in ready["addrs"]:
        out.note(f"  reach   {addr}")
    home = f" --home {ctx.args.home}" if ctx.args.home else ""
    if ready.get("api"):
        out.note(f"  see     {ready['api']} (swarmd{home} dashboard)")
    out.note(f"  ask     swarmd{home} status")
    out.note("Ctrl-C stops it")


def run_stop(ctx: Context) -> int:
    found = ctx.ask("shutdown")
    if ctx.out.as_json:
        ctx.out.document(found)
    else:
        ctx.out.note("the daemon stops")
    return OK


# status, balance -------------------------------------------------------------------------------------------


def run_status(ctx: Context) -> int:
    found = ctx.ask("status")
    out = ctx.out
    if out.as_json:
        out.document(found)
        return OK
    if out.quiet:
        out.line(found["did"])
        return OK
    out.print(facts(_status_lines(found)))
    for hint in _status_hints(found):
        out.note(hint, "yellow")
    return OK


def _status_lines(found: dict[str, Any]) -> list[tuple[str, object]]:
    chain, journal = found["chain"], found["journal"]
    needs = ", ".join(f"{n} {state}" for state, n in sorted(found["needs"].items())) or "none"
    chain_state = f"{chain.get('kind', '')} {chain.get('chain_id', '')}, {chain.get('state', '')}"
    return [
        ("version", found["version"]),
        ("did", found["did"]),
        ("peer id", found["peer_id"]),
        ("addresses", " ".join(found["addrs"])),
        ("mesh", f"{found['mesh']['name']} ({found['mesh']['id']})"),
        ("epoch", found["epoch"]),
        ("up", duration(found["uptime_s"])),
        ("peers", found["peers"]),
        ("needs", needs),
        ("agents", found["agents"]),
        ("roles", ", ".join(found["roles"]) or "none"),
        ("balance", f"{found['balance']} USDC"),
        ("quorum", f"{found['k_plan']} for a plan, {found['k_result']} for a result"),
        ("mode", bootstrap_text(found["pool"]["bootstrap"])),
        ("verifier", found["pool"]["mine"]),
        ("chain", f"{chain_state}, block {chain.get('head', '-')}, {chain.get('pending', 0)} pending"),
        ("policy", found["policy_hash"]),
        ("journal", f"{journal['inputs']} inputs, {size(journal['bytes'])}"),
        ("lamport", found["lamport"]),
        ("mesh digest", found["mesh_digest"]),
        ("state digest", found["state_digest"]),
    ]


def _status_hints(found: dict[str, Any]) -> list[str]:
    """What an operator would otherwise have to guess."""
    hints = []
    arbiter = found.get("arbiter")
    if arbiter and arbiter["state"] not in ("idle", "up"):
        hints.append(
            f"etcd is {arbiter['state']}, {arbiter['pending']} needs wait: {clean(arbiter['error'])}"
        )
    if found.get("trouble"):
        hints.append(f"trouble: {clean(found['trouble'])}")
    if restored := found.get("restored"):
        how = "its journal was lost" if restored["backup_ns"] is None else "restored from a backup"
        heard = f"{restored['heard']} of {restored['needed']} verifiers"
        hints.append(f"{how}: listens before it speaks, has heard {heard} (docs/backup.md)")
    if found["chain"].get("error"):
        hints.append(f"chain: {clean(found['chain']['error'])}")
    if not found["peers"] and found.get("roster", 1) > 1:
        hints.append("no peers: see swarmd doctor net")
    return hints


def run_balance(ctx: Context) -> int:
    found = ctx.ask("balance", **({"did": ctx.args.did} if ctx.args.did else {}))
    out = ctx.out
    if out.as_json:
        out.document(found)
    elif out.quiet:
        out.line(found["available"])
    else:
        names = ("available", "pending", "locked", "earned", "spent")
        out.print(facts([("did", found["did"]), *((n, f"{found[n]} USDC") for n in names if n in found)]))
        if found.get("double_spends"):
            out.note(f"this account spent {found['double_spends']} entries twice", "red")
    return OK


def duration(seconds: float) -> str:
    """`3 s`, `12 min`, `5 h 2 min`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"


def size(count: int) -> str:
    """Bytes in the largest unit that keeps a digit before the point."""
    if count < 1_024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1_024
        if value < 1_024 or unit == "GiB":
            break
    return f"{value:.1f} {unit}"
