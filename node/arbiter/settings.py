"""Where this node reaches the arbiter that genesis names. gRPC is loaded only by meshes that have one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarmd.protocol.faults import LocalFault
from swarmd.protocol.genesis import ETCD, Genesis

if TYPE_CHECKING:
    from swarmd.node.arbiter.etcd import EtcdArbiter

KEEP_S = 30 * 86_400


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """`endpoints`: http:// or https:// with host and port; the rest are PEM files."""

    endpoints: Sequence[str] = ()
    ca: str = ""
    cert: str = ""
    key: str = ""
    keep_s: int = KEEP_S


def open_arbiter(
    settings: EtcdSettings, genesis: Genesis, clock_ns: Callable[[], int]
) -> "EtcdArbiter | None":
    """The arbiter of the mesh; None if its genesis names none. LocalFault `no-arbiter`, `bad-config`.

    Whether etcd answers is not asked: needs wait until it does.
    """
    if genesis.arbiter != ETCD:
        return None
    if not settings.endpoints:
        raise LocalFault(
            "no-arbiter",
            "this mesh decides by etcd, and etcd_endpoints is empty",
            fix='set etcd_endpoints = ["http://host:2379"] in swarmd.toml, the same etcd as the other members',
        )
    from swarmd.node.arbiter.client import EtcdClient, Tls
    from swarmd.node.arbiter.etcd import EtcdArbiter

    client = EtcdClient(settings.endpoints, Tls(settings.ca, settings.cert, settings.key))
    return EtcdArbiter(client, genesis.mesh_name, clock_ns, settings.keep_s)
