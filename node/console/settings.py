"""`swarmd config`: what holds, where it comes from, and whether a daemon could start with it."""

from typing import TYPE_CHECKING, Any

from swarmd.node.config import Config, load_config
from swarmd.node.console.context import Context
from swarmd.node.console.outcome import FAILED, OK
from swarmd.node.console.output import WHOLE, clean, table

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
    """Everything `up` would refuse, found without starting anything: the findings of `swarmd doctor` without a daemon."""
    from swarmd.node.console.doctor import show_findings
    from swarmd.node.health.findings import good
    from swarmd.node.health.offline import Ground, examine
    from swarmd.node.home_lock import running_pid

    found = examine(Ground(ctx.home, ctx.env, running_pid(ctx.home)))
    document = {"ok": good(found), "home": str(ctx.home), "findings": [each.document() for each in found]}
    if ctx.out.as_json:
        ctx.out.document(document)
    else:
        show_findings(ctx, {**document, "dials": []})
    return OK if document["ok"] else FAILED


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
