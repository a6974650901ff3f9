"""`swarmd config`: what holds, where it comes from, and whether a daemon could start with it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swarmd.node.config import Config, load_config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import WHOLE, clean, table
from swarmd.protocol.faults import LocalFault

if TYPE_CHECKING:
    from swarmd.node.api.settings import ApiSettings
    from swarmd.node.content.network import ContentSettings


def run_show(ctx: Context) -> int:
    loaded = load_config(ctx.home, ctx.env)
    rows = loaded.rows()
    if ctx.out.as_json:
        settings = {row["name"]: {"value": row["value"], "origin": row["origin"]} for row in rows}
        ctx.out.document({"home": str(ctx.home), "file": str(loaded.file), "settings": settings})
        return OK
    ctx.out.note(f"{clean(loaded.file)}{'' if loaded.file.exists() else ' (not there)'}")
    shown = [(row["name"], _shown(row["value"]), row["origin"], row["doc"]) for row in rows]
    ctx.out.print(table([("setting", WHOLE), "value", "origin", "meaning"], shown))
    return OK


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {' '.join(argv)}" for name, argv in value.items())
    return " ".join(value) if isinstance(value, list) else str(value)


def run_check(ctx: Context) -> int:
    """Everything `up` would refuse, found without starting anything."""
    checks = [_checked(name, check, ctx) for name, check in _CHECKS]
    good = all(each["ok"] for each in checks)
    if ctx.out.as_json:
        ctx.out.document({"ok": good, "checks": checks})
        return OK if good else FAILED
    for each in checks:
        ctx.out.note(f"{'ok  ' if each['ok'] else 'BAD '} {each['name']}: {clean(each['message'])}")
        if not each["ok"] and each["fix"]:
            ctx.out.note(f"     fix: {clean(each['fix'])}")
    return OK if good else FAILED


def _checked(name: str, check: Callable[[Context], str], ctx: Context) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "message": check(ctx), "fix": ""}
    except LocalFault as fault:
        return {"name": name, "ok": False, "message": fault.message, "fix": fault.fix}


def _check_config(ctx: Context) -> str:
    loaded = load_config(ctx.home, ctx.env)
    changed = sum(origin != "default" for origin in loaded.origins.values())
    return f"{changed} settings are not at their default"


def _check_addresses(ctx: Context) -> str:
    from swarmd.bootstrap.lists import check_entry
    from swarmd.node.transport.p2p.access import AccessList
    from swarmd.node.transport.p2p.addresses import parse_listen, parse_peer

    config = load_config(ctx.home, ctx.env).config
    for text in config.listen:
        parse_listen(text)
    for text in config.peers:
        parse_peer(text)
    AccessList(config.allow_peers, config.deny_peers)
    for entry in config.bootstrap:
        check_entry(entry)
    for text in config.content_ipfs_peers:
        parse_peer(text)
    return f"{len(config.listen)} to listen on, {len(config.peers)} peers, {len(config.bootstrap)} bootstrap entries"


def _check_key(ctx: Context) -> str:
    from swarmd.node.keys import load_key

    return load_key(ctx.home).did


def _check_genesis(ctx: Context) -> str:
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    genesis = load_genesis(ctx.home / GENESIS_FILE)
    return f"mesh {genesis.name}, {len(genesis.roster)} verifiers"


def _check_arbiter(ctx: Context) -> str:
    from swarmd.node.arbiter.settings import EtcdSettings, open_arbiter
    from swarmd.node.setup import GENESIS_FILE, load_genesis

    config = load_config(ctx.home, ctx.env).config
    settings = EtcdSettings(config.etcd_endpoints, config.etcd_ca, config.etcd_cert, config.etcd_key)
    arbiter = open_arbiter(settings, load_genesis(ctx.home / GENESIS_FILE), lambda: 0)
    if arbiter is None:
        return "none: the committee's signatures decide"
    arbiter.client.close()
    return f"etcd at {', '.join(config.etcd_endpoints)}"


def _check_swarm_key(ctx: Context) -> str:
    from swarmd.bootstrap.swarmkey import load_psk

    return "an open mesh" if load_psk(ctx.home) is None else "a private mesh"


def _check_policy(ctx: Context) -> str:
    from swarmd.node.daemon import Settings, make_capsules
    from swarmd.node.keys import load_key

    config = load_config(ctx.home, ctx.env).config
    settings = Settings(ctx.home, policy_path=config.policy_path, policy_signers=config.policy_signers)
    return make_capsules(settings, load_key(ctx.home).did).in_force().policy_hash.hex()


_CHECKS = (
    ("settings", _check_config),
    ("addresses", _check_addresses),
    ("key", _check_key),
    ("genesis", _check_genesis),
    ("arbiter", _check_arbiter),
    ("swarm key", _check_swarm_key),
    ("policy", _check_policy),
)


def content_settings(config: Config) -> "ContentSettings":
    """What the daemon needs of `[content]`. LocalFault for what cannot be meant."""
    from swarmd.node.content.network import ContentSettings
    from swarmd.node.content.pinning import PinStrategy

    return ContentSettings(
        config.content_backend,
        config.content_kubo_addr,
        PinStrategy(config.content_pin, config.content_pin_keep_s, config.content_pin_max_bytes),
        config.content_bitswap,
        config.content_ipfs_peers,
    )


def api_settings(config: Config) -> "ApiSettings":
    """What the daemon needs of `[api]`. LocalFault `bad-config` for what would be unsafe."""
    from swarmd.node.api.settings import ApiSettings

    found = ApiSettings(
        config.api_enabled,
        config.api_host,
        config.api_port,
        config.api_tls_cert,
        config.api_tls_key,
        config.api_hosts,
        config.api_cors_origins,
        config.api_rate_per_s,
        config.api_max_body_bytes,
    )
    found.check()
    return found
