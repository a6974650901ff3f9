"""What a daemon is told by whoever starts it: `swarmd up` makes it of the configuration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swarmd.node.api.settings import ApiSettings
from swarmd.node.arbiter.settings import EtcdSettings
from swarmd.node.balances.service import BalanceSettings
from swarmd.node.bridges.hybrid import DEFAULT_PREFER_P2P_S
from swarmd.node.chain import RpcSettings
from swarmd.node.checkpoint.pruning import KEEP_EPOCHS, MAX_COLD_BYTES
from swarmd.node.content.network import ContentSettings
from swarmd.node.discovery import DiscoverySettings
from swarmd.node.settling.terms import Terms as SettleTerms
from swarmd.node.spending import SpendingLimits
from swarmd.node.telemetry.service import TelemetrySettings
from swarmd.protocol.limits import DEFAULT_LEASE_S


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon needs of its configuration. Addresses are multiaddrs, times in their unit."""

    home: Path
    listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",)
    peers: Sequence[str] = ()
    chain_id: int = 1337
    rpc: RpcSettings | None = None  # a chain elsewhere in place of the embedded one
    keystore_passphrase: str = field(default="", repr=False)
    policy_path: str = ""
    policy_signers: Sequence[str] = ()
    lease_ttl_s: int = DEFAULT_LEASE_S
    anchor_interval_s: float = 2.0
    sync_interval_s: float = 30.0
    check_everything: bool = False
    state_replica: bool = False
    content_max_bytes: int = 0
    keep_epochs: int = KEEP_EPOCHS
    cold_max_bytes: int = MAX_COLD_BYTES
    attestation_keys: Sequence[str] = ()
    verifier_commands: dict[str, list[str]] = field(default_factory=dict)
    discovery: DiscoverySettings = DiscoverySettings()
    max_connections: int = 100
    allow_peers: Sequence[str] = ()
    deny_peers: Sequence[str] = ()
    only_allowed_peers: bool = False
    nats_url: str = ""
    nats_hold_s: float = DEFAULT_PREFER_P2P_S
    etcd: EtcdSettings = EtcdSettings()
    content: ContentSettings = ContentSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    api: ApiSettings = ApiSettings()
    spending: SpendingLimits = SpendingLimits()
    settlement: SettleTerms = SettleTerms()
    settle_interval_s: float = 15.0
    balances: BalanceSettings = BalanceSettings()
