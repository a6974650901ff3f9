"""The chain room: an embedded EVM, the outbox that gets transactions onto it, and the `Chain` port over both.

Light to import: the EVM, the ABI codec and the signer (about 50 MB and half a second) are loaded in a worker
thread when the chain starts.
"""

from swarmd.node.chain.rpc_service import RpcChainService, RpcSettings, make_chain
from swarmd.node.chain.service import ChainService, EmbeddedChain

__all__ = ["ChainService", "EmbeddedChain", "RpcChainService", "RpcSettings", "make_chain"]
