"""What the local socket answers: the operations of every room of a daemon, in one table."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from swarmd.node.analytics.ops import analytics_ops
from swarmd.node.backup.ops import backup_ops
from swarmd.node.checkpoint.ops import checkpoint_ops
from swarmd.node.consensus.ops import ConsensusOps
from swarmd.node.content.ops import ContentOps
from swarmd.node.content.roots import roots_of_needs
from swarmd.node.dashboard.ops import DashboardOps
from swarmd.node.escrow.ops import EscrowOps
from swarmd.node.invoices import InvoiceOps
from swarmd.node.local_api import LocalApi, Op
from swarmd.node.network_ops import NetworkOps
from swarmd.node.peer_ops import PeerOps
from swarmd.node.pool.ops import VerifierOps
from swarmd.node.proof_ops import proof_ops
from swarmd.node.settling.ops import slash_ops
from swarmd.node.state.ops import state_ops
from swarmd.node.telemetry.collect import metrics_ops

if TYPE_CHECKING:
    from swarmd.node.daemon import Daemon


def make_api(daemon: "Daemon") -> LocalApi:
    """The local API of a daemon whose rooms are all there."""
    peers = PeerOps(daemon.p2p, daemon.runner)
    api = LocalApi(
        daemon.runner,
        daemon.transport,
        daemon.agents,
        daemon.content,
        daemon.chain,
        daemon.sync,
        daemon.stop,
        {**_mesh_ops(daemon, peers), **_work_ops(daemon), **_money_ops(daemon)},
        peers.network,
        daemon.silence.status,
    )
    api.checkpoints = daemon.checkpoints.status
    api.archive = daemon.checkpoints.archive
    api.http = daemon.http.status
    if daemon.bridge is not None:
        api.bridge = daemon.bridge.status
    if daemon.arbiter is not None:
        api.arbiter = daemon.arbiter.status
    return api


def _mesh_ops(daemon: "Daemon", peers: PeerOps) -> dict[str, Op]:
    """The node itself, its peers, and what it is looked at through."""
    network = NetworkOps(
        daemon.identity,
        daemon.genesis,
        daemon.transport,
        daemon.discovery,
        daemon.settings.home,
        daemon.settings.peers,
    )
    dashboard = DashboardOps(
        daemon.runner, daemon.transport, peers, daemon.agents, daemon.chain, daemon.checkpoints.archive
    )
    return {
        **network.ops(),
        **peers.ops(),
        **backup_ops(daemon.settings.home, daemon.chain),
        **daemon.silence.ops(),
        **analytics_ops(daemon.analytics, daemon.runner),
        **metrics_ops(lambda: daemon.metrics),
        **daemon.http.ops(),
        **dashboard.ops(),
    }


def _work_ops(daemon: "Daemon") -> dict[str, Op]:
    """Needs, what they refer to, and who agrees on them."""

    def content_roots() -> Iterator[bytes]:
        yield from roots_of_needs(daemon.runner.state)
        yield from daemon.capsules.content()

    content = ContentOps(
        daemon.blocks,
        content_roots,
        lambda cid: daemon.content.ensure(cid, ()),
        daemon.content_host.on_here,
    )
    arbiter = daemon.arbiter
    consensus = ConsensusOps(
        daemon.runner,
        daemon.transport,
        arbiter.status if arbiter else lambda: None,
        arbiter.on_record if arbiter else None,
    )
    return {
        **daemon.capsules.ops(),
        **content.ops(),
        **daemon.content_host.ops(),
        **state_ops(daemon.runner, daemon.replica.status),
        **checkpoint_ops(daemon.checkpoints, daemon.runner),
        **proof_ops(daemon.runner),
        **consensus.ops(),
        **slash_ops(daemon.settling, consensus.against),
        **VerifierOps(daemon.runner, daemon.attestation).ops(),
    }


def _money_ops(daemon: "Daemon") -> dict[str, Op]:
    invoices = InvoiceOps(daemon.runner, lambda: daemon.checkpoints.archive, daemon.settling.settlement_of)
    return {
        **daemon.money.ops(),
        **daemon.balances.ops(),
        **invoices.ops(),
        **EscrowOps(daemon.runner).ops(),
    }
