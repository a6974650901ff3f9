"""Asking a peer who it is (libp2p identify): where it listens, and as whom it sees us."""

from collections.abc import Iterable
from dataclasses import dataclass

from libp2p.custom_types import TProtocol
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]
from swarmd.bootstrap.addresses import peer_of, worth_dialing
from swarmd.node.transport.p2p.host import MeshHost
from swarmd.node.transport.p2p.rpc import ask

PROTOCOL = TProtocol("/ipfs/id/1.0.0")
MAX_BYTES = 16_384
MAX_ADDRS = 16
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What a peer says of itself. `addrs` end in its peer id; `observed` is our address as it sees it, or ""."""

    addrs: tuple[str, ...]
    observed: str
    protocols: frozenset[str]


async def identify(host: MeshHost, peer: ID) -> Identity:
    """PeerGone if it does not answer, RemoteFault if with rubbish."""
    said = await ask(host, peer, PROTOCOL, None, Identify, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S)
    try:
        observed = str(Multiaddr(said.observed_addr)) if said.observed_addr else ""
    except Exception:
        # multiaddr raises many unrelated types on bad bytes.
        observed = ""
    return Identity(
        tuple(readable(peer, said.listen_addrs)), observed, frozenset(str(p)[:128] for p in said.protocols)
    )


def readable(peer: ID, packed: Iterable[bytes]) -> list[str]:
    """Dialable addresses of `peer`, ending in its id, from multiaddr bytes of a stranger's choosing."""
    found: list[str] = []
    for raw in list(packed)[:MAX_ADDRS]:
        try:
            text = str(Multiaddr(bytes(raw)))
            if not text.endswith(f"/p2p/{peer}"):
                text += f"/p2p/{peer}"
            if peer_of(text) == str(peer) and worth_dialing(text) and text not in found:
                found.append(text)
        except Exception:
            # multiaddr raises many unrelated types on bad bytes; peer_of, a LocalFault on what cannot be dialed.
            continue
    return found
