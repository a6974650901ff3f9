"""Bitswap, the block exchange of IPFS: docs/ipfs.md says what it does and where its limits are."""

# First: it imports libp2p with the warnings of libp2p's own imports kept still.
from swarmd.node.transport import p2p as p2p
