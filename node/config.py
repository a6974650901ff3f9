"""The node's configuration: defaults, `swarmd.toml` in the home, SWARMD_* variables, flags; the later wins.

Each value remembers where it came from. What a file or variable says that is not understood is an error with
its place and, for a misspelt name, the nearest known one: a setting that is silently ignored costs an evening.
"""

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from swarmd.node import config_checks as valid
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import DEFAULT_LEASE_S, MAX_LEASE_S

CONFIG_FILE = "swarmd.toml"
PREFIX = "SWARMD_"
# Variables that are no settings: where the home is, what an agent's run is told, and passphrases.
NOT_SETTINGS = frozenset(
    ("SWARMD_HOME", "SWARMD_JOB", "SWARMD_BACKUP_PASSPHRASE", "SWARMD_KEYSTORE_PASSPHRASE")
)

# Tables that may be written in the place of a prefix: `[content] backend = ...`.
_FAMILIES = ("content", "telemetry", "log", "api")

Origin = Literal["default", "file", "env", "flag"]


def _setting(default: Any, check: Callable[[object], Any], doc: str) -> Any:
    return field(default=default, metadata={"check": check, "doc": doc})


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. Times in seconds; addresses are multiaddrs."""

    listen: tuple[str, ...] = _setting(
        ("/ip4/0.0.0.0/tcp/4001",), valid.texts, "Where other nodes reach this one."
    )
    peers: tuple[str, ...] = _setting(
        (), valid.texts, "Nodes to keep connected to: multiaddrs that end in /p2p/PEER_ID."
    )
    bootstrap: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Where to begin looking for others: multiaddrs, /dnsaddr/NAME, or files of them, plain or signed.",
    )
    mdns: bool = _setting(
        True, valid.boolean, "Find the nodes of this mesh on the local network, and be found."
    )
    dht: bool = _setting(
        True, valid.boolean, "Find the nodes of this mesh through those it knows (Kademlia)."
    )
    nat: bool = _setting(
        True, valid.boolean, "Ask peers whether they can dial this node, and dial them back when they ask."
    )
    relay: bool = _setting(
        True,
        valid.boolean,
        "Be reached through relays while behind a NAT, and relay for members that are (needs nat).",
    )
    target_peers: int = _setting(
        16,
        valid.integer(0, 90),
        "Dial found nodes until connected to so many; 0: dial only those in `peers`.",
    )
    max_connections: int = _setting(
        100,
        valid.integer(8, 10_000),
        "Connections at most; a quarter of them is kept for those this node dials.",
    )
    allow_peers: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Peers (peer id or did:key) and networks that are never cut off, as swarmd peers allow.",
    )
    deny_peers: tuple[str, ...] = _setting(
        (), valid.texts, "Peers and networks that are never let in, as swarmd peers deny."
    )
    only_allowed_peers: bool = _setting(False, valid.boolean, "Let in only who is on the allow list.")
    nats_url: str = _setting(
        "",
        valid.text,
        "A NATS server to bridge frames over beside P2P, as nats://host:4222 (pip: swarmd[nats]).",
    )
    nats_hold_s: float = _setting(
        0.1, valid.seconds(0, 60), "How long a frame from NATS waits for P2P to bring it first."
    )
    chain_kind: str = _setting(
        "embedded", valid.choice("embedded", "rpc"), "The chain that payments are anchored and settled on."
    )
    chain_id: int = _setting(1337, valid.integer(1, (1 << 31) - 1), "The EVM chain id.")
    chain_rpc: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "JSON-RPC endpoints of the chain (chain_kind rpc): the first that is in step is asked.",
    )
    chain_confirmations: int = _setting(
        5, valid.integer(1, 1_000), "Blocks on top of a transaction until it is final (chain_kind rpc)."
    )
    chain_max_fee_gwei: int = _setting(
        200, valid.integer(1, 1_000_000), "The most that is ever bid for a unit of gas, in gwei."
    )
    chain_max_head_age_s: float = _setting(
        600.0, valid.seconds(0.0, 86_400), "An endpoint whose newest block is older is behind; 0: never."
    )
    chain_contracts: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Contracts on the chain: SettlementAnchor=0x..., Settlement=0x..., TestUSD=0x... (any USDC).",
    )
    chain_vault: str = _setting(
        "",
        valid.text,
        "The account (0x...) that deposits of the mesh go to and withdrawals come from; empty: this node's own.",
    )
    transfer_max: str = _setting(
        "0", valid.text, "The most that this node pays in one transfer, in USDC; 0: no limit."
    )
    transfer_max_per_day: str = _setting(
        "0", valid.text, "The most that this node pays by transfers in 24 hours, in USDC; 0: no limit."
    )
    withdraw_delay_s: float = _setting(
        600.0, valid.seconds(0, 30 * 86_400), "How old a withdrawal must be before the vault's node pays it."
    )
    spending_per_need: str = _setting(
        "", valid.usdc, "The most that one need of this node may cost, in USDC."
    )
    spending_per_day: str = _setting(
        "", valid.usdc, "The most that needs of this node may cost in 24 hours, in USDC; empty: no limit."
    )
    spending_per_agent: tuple[str, ...] = _setting(
        (),
        valid.shares,
        'The same for each agent (swarmd need post --agent): "planner=5"; "*=1" for any other.',
    )
    spending_per_capability: tuple[str, ...] = _setting(
        (),
        valid.shares,
        'The same for what is asked for, by the most its tasks may cost: "text.summarize=20".',
    )
    policy_path: str = _setting(
        "",
        valid.text,
        "A policy that ships (such as standard), or a compiled one (wasm) with its data.json beside it. Empty: base.",
    )
    policy_signers: tuple[str, ...] = _setting(
        (), valid.dids, "Whose signed policies (capsules) this node takes, besides its own: did:key of each."
    )
    etcd_endpoints: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Where the arbiter is, in a mesh whose genesis names etcd: http://host:2379 or https://.",
    )
    etcd_ca: str = _setting(
        "", valid.text, "A PEM file of who signs etcd's certificate; empty: as the system has it."
    )
    etcd_cert: str = _setting(
        "", valid.text, "A PEM file of this node's certificate, where etcd asks for one."
    )
    etcd_key: str = _setting("", valid.text, "A PEM file of its key.")
    etcd_keep_s: int = _setting(
        30 * 86_400,
        valid.integer(3_600, 365 * 86_400),
        "How long etcd keeps a decision after the need's deadline.",
    )
    lease_ttl_s: int = _setting(
        DEFAULT_LEASE_S, valid.integer(1, MAX_LEASE_S), "How long a claimed task is ours to deliver."
    )
    anchor_interval_s: float = _setting(
        2.0, valid.seconds(0.0, 86_400), "How long receipts gather before their root goes on chain."
    )
    sync_interval_s: float = _setting(
        30.0, valid.seconds(0.1, 86_400), "How often each peer is asked for what gossip lost."
    )
    state_replica: bool = _setting(
        False,
        valid.boolean,
        "Keep Automerge documents of all batches in a process of its own (docs/state.md).",
    )
    content_max_bytes: int = _setting(
        0,
        valid.integer(0, 1 << 50),
        "Bytes of content kept at most, what is fetched and added; 0: as the disk has room.",
    )
    keep_epochs: int = _setting(
        10,
        valid.integer(1, 10_000),
        "Epochs whose batches stay in the journal; older ones go into content blocks.",
    )
    cold_max_bytes: int = _setting(
        1 << 30,
        valid.integer(0, 1 << 50),
        "Bytes of those blocks at most; then the oldest are dropped, and with them what `why` could tell of that time.",
    )
    content_backend: str = _setting(
        "embedded",
        valid.choice("embedded", "kubo"),
        "Where content is kept; kubo: in this host's kubo as well, which serves it to IPFS (docs/ipfs.md).",
    )
    content_kubo_addr: str = _setting(
        "/ip4/127.0.0.1/tcp/5001", valid.text, "Where the HTTP API of that kubo is, as a multiaddr."
    )
    content_pin: str = _setting(
        "all",
        valid.choice("all", "recent", "size"),
        "What kubo pins of the content of this node: all, what is recent, or the latest up to a size.",
    )
    content_pin_keep_s: int = _setting(
        30 * 86_400, valid.integer(60, 10 * 365 * 86_400), "How long recent content stays pinned."
    )
    content_pin_max_bytes: int = _setting(
        10 * (1 << 30), valid.integer(1, 1 << 50), "How much content stays pinned by size."
    )
    content_bitswap: bool = _setting(
        True, valid.boolean, "Exchange blocks by Bitswap, with nodes and with IPFS peers that connect."
    )
    content_ipfs_peers: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "IPFS peers to stay connected to and fetch from: multiaddrs that end in /p2p/PEER_ID.",
    )
    attestation_keys: tuple[str, ...] = _setting(
        (), valid.dids, "DIDs of attesters whose software quotes this node vouches for (docs/verifiers.md)."
    )
    api_enabled: bool = _setting(True, valid.boolean, "Serve the HTTP API and the dashboard (docs/api.md).")
    api_host: str = _setting(
        "127.0.0.1",
        valid.text,
        "Where the HTTP API listens. Anything but loopback needs api_tls_cert and api_tls_key.",
    )
    api_port: int = _setting(
        0, valid.integer(0, 65_535), "The port of the HTTP API; 0: 4280, or a free one where that is taken."
    )
    api_tls_cert: str = _setting("", valid.text, "A PEM file of the HTTP API's certificate and its chain.")
    api_tls_key: str = _setting("", valid.text, "A PEM file of its key.")
    api_hosts: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Names, with their port unless it is the usual one, under which the HTTP API is reached.",
    )
    api_cors_origins: tuple[str, ...] = _setting(
        (),
        valid.texts,
        "Web pages that may ask the HTTP API with a token: https://host or https://host:port.",
    )
    api_rate_per_s: float = _setting(
        500.0, valid.seconds(0.1, 100_000), "Requests a second that one token may make, on average."
    )
    api_max_body_bytes: int = _setting(
        1_048_576, valid.integer(1_024, 16 * 1_048_576), "Bytes that one request to the HTTP API may have."
    )
    checks: str = _setting(
        "touched",
        valid.choice("touched", "full"),
        "Invariants after each step: of what it touched, or of everything.",
    )
    log_level: str = _setting(
        "info", valid.choice("debug", "info", "warning", "error"), "How much is logged, to stderr."
    )
    log_format: str = _setting(
        "text", valid.choice("text", "json"), "Lines for people, or one JSON object each."
    )
    telemetry_otlp_endpoint: str = _setting(
        "",
        valid.url,
        "An OpenTelemetry collector to send traces and metrics to, as http://127.0.0.1:4318; empty: none.",
    )
    telemetry_sample_ratio: float = _setting(
        1.0, valid.share, "The share of needs that are traced, where their owner's node does not say; 0 to 1."
    )
    telemetry_metrics_interval_s: float = _setting(
        15.0, valid.seconds(1.0, 3_600), "How often metrics go to the collector."
    )
    verifier_commands: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict,
        metadata={
            "check": valid.commands,
            "doc": 'Programs that judge results: name = ["program", "argument"].',
        },
    )


NAMES = tuple(each.name for each in fields(Config))
_DOC: Mapping[str, str] = {each.name: each.metadata["doc"] for each in fields(Config)}
_CHECK: Mapping[str, Callable[[object], Any]] = {each.name: each.metadata["check"] for each in fields(Config)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and, for each name, the origin of its value."""

    config: Config
    origins: Mapping[str, Origin]
    file: Path

    def rows(self) -> list[dict[str, Any]]:
        """name, value, origin and what it means, in the order of the class."""
        return [
            {"name": n, "value": _plain(getattr(self.config, n)), "origin": self.origins[n], "doc": _DOC[n]}
            for n in NAMES
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: list(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def load_config(home: Path, env: Mapping[str, str], flags: Mapping[str, Any] | None = None) -> Loaded:
    """The configuration of the node in `home`. LocalFault `bad-config` names the key, the value and its origin.

    `flags` are typed values by setting name; None means not given. Lists of flags replace lower ones.
    """
    path = home / CONFIG_FILE
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = dict.fromkeys(NAMES, "default")
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    sources: tuple[tuple[Origin, str, Mapping[str, Any]], ...] = (
        ("file", str(path), _read_file(path)),
        ("env", "the environment", _read_env(env)),
        ("flag", "the command line", given),
    )
    for origin, place, found in sources:
        for name, value in found.items():
            if name not in _CHECK:
                raise _unknown(name, place, origin)
            try:
                values[name] = _CHECK[name](value)
            except ValueError as error:
                shown = json.dumps(value, default=str)
                raise LocalFault(
                    "bad-config", f"{name} = {shown} (from {place}): {error}", fix=_meant(name, origin)
                ) from None
            origins[name] = origin
    return Loaded(Config(**values), origins, path)


def _meant(name: str, origin: Origin) -> str:
    """What a setting is for, and how it is written."""
    if name == "verifier_commands":
        return _DOC[name]
    default = getattr(Config(), name)
    if origin == "env":
        text = ",".join(default) if isinstance(default, tuple) else json.dumps(default).strip('"')
        return f"{_DOC[name]} Default: {PREFIX}{name.upper()}={text}"
    return f"{_DOC[name]} Default: {name} = {_toml(default)}"


def _unknown(name: str, place: str, origin: Origin) -> LocalFault:
    shown = PREFIX + name.upper() if origin == "env" else name
    known = NAMES if origin == "env" else (*NAMES, *(f"[{family}]" for family in _FAMILIES))
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, 1, 0.6)
    nearest = PREFIX + near[0].upper() if near and origin == "env" else "".join(near)
    fix = f"did you mean {nearest}?" if near else "swarmd config show lists all there are"
    return LocalFault("bad-config", f"{shown} (from {place}) is no setting of swarmd", fix=fix)


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        return _flat(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalFault("bad-config", f"{path}: {error.strerror}", fix="make it readable") from None
    except UnicodeDecodeError as error:
        message = f"{path} is no UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}"
        raise LocalFault("bad-config", message, fix="save it as UTF-8") from None
    except ValueError as error:
        raise LocalFault("bad-config", f"{path} is not TOML: {error}", fix="mend that line") from None


def _flat(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """`[content] backend = ...` is another spelling of `content_backend = ...`."""
    found = dict(document)
    for family in _FAMILIES:
        table = found.get(family)
        if isinstance(table, dict):
            del found[family]
            found |= {f"{family}_{name}": value for name, value in table.items()}
    return found


def _read_env(env: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        name.removeprefix(PREFIX).lower(): _from_env(name.removeprefix(PREFIX).lower(), text)
        for name, text in sorted(env.items())
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
    }


def _from_env(name: str, text: str) -> Any:
    """The typed value of a variable: lists are separated by commas, tables are JSON."""
    if name in _CHECK and isinstance(Config.__dataclass_fields__[name].default, tuple):
        return [part.strip() for part in text.split(",") if part.strip()]
    default = Config.__dataclass_fields__[name].default if name in _CHECK else ""
    if name == "verifier_commands" or type(default) in (int, float, bool):
        try:
            return json.loads(text)
        except ValueError:
            return text  # its check says what it should have been
    return text


def config_text(settings: Mapping[str, Any] | None = None) -> str:
    """A `swarmd.toml` with every setting explained: those of `settings` in force, the rest commented out."""
    given = settings or {}
    lines = [
        "# The configuration of this swarmd node. Variables (SWARMD_LISTEN=...) and flags go before it;",
        "# `swarmd config show` says what holds and where it comes from.",
    ]
    for name in NAMES:
        if name == "verifier_commands":
            continue
        value = given.get(name, getattr(Config(), name))
        lines += ["", f"# {_DOC[name]}", f"{'' if name in given else '# '}{name} = {_toml(value)}"]
    # A table goes last: in TOML all that follows its heading is in it.
    commands = given.get("verifier_commands", {})
    off = "" if commands else "# "
    lines += ["", f"# {_DOC['verifier_commands']}", f"{off}[verifier_commands]"]
    lines += [f"{json.dumps(name)} = {_toml(argv)}" for name, argv in commands.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """TOML of the types that settings have; its strings are JSON strings."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
