"""The transport between hosts: libp2p (TCP, noise, yamux, gossipsub 1.1), fast and hardened.

docs/transport.md says what it does and where its limits are.
"""

import warnings

# libp2p 0.8.1 imports parts of websockets that are deprecated; neither we nor our users can act on it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import libp2p as libp2p

from swarmd.node.transport.p2p.config import P2PLimits
from swarmd.node.transport.p2p.transport import P2PTransport

__all__ = ["P2PLimits", "P2PTransport"]
