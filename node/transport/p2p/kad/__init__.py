"""A Kademlia of the nodes of one mesh. docs/discovery.md says what it does and where its limits are."""

from swarmd.node.transport.p2p.kad.service import Kademlia

__all__ = ["Kademlia"]
