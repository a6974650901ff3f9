"""The `Chain` port over JSON-RPC endpoints, and the choice between it and the embedded EVM. Light to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmd.node.chain.outbox import Outbox
from swarmd.node.chain.service import ChainService, EmbeddedChain

if TYPE_CHECKING:
    from swarmd.node.chain.anchoring import AnchorMachine


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """A chain behind endpoints. `contracts`: name -> 20-byte address of what is deployed there."""

    urls: tuple[str, ...]
    chain_id: int
    confirmations: int = 5
    max_fee_wei: int = 200 * 10**9
    bump_after_blocks: int = 3
    max_head_age_s: float = 0.0
    poll_s: float = 2.0
    contracts: Mapping[str, bytes] = field(default_factory=dict)


class RpcChainService(ChainService):
    """A chain elsewhere, through JSON-RPC. The account's key lies encrypted in `chain/keystore.json`."""

    kind = "rpc"
    _modules = ("eth_abi.abi", "eth_account", "web3", "swarmd.node.chain.anchoring", "swarmd.node.chain.rpc")

    def __init__(self, home: Path, settings: RpcSettings, passphrase: str) -> None:
        super().__init__(home, settings.chain_id)
        self._settings = settings
        self._passphrase = passphrase
        self.poll_s = settings.poll_s

    def _open(self, outbox: Outbox) -> "AnchorMachine":
        from swarmd.node.chain.account import LocalSigner
        from swarmd.node.chain.anchoring import AnchorMachine, Terms
        from swarmd.node.chain.client import FeePolicy
        from swarmd.node.chain.keystore import unlock
        from swarmd.node.chain.rpc import RpcChain

        settings = self._settings
        client = RpcChain(settings.urls, settings.chain_id, max_head_age_s=settings.max_head_age_s)
        client.refresh()
        self._client = client
        terms = Terms(
            confirmations=settings.confirmations,
            fees=FeePolicy(settings.max_fee_wei, settings.bump_after_blocks),
            contracts=settings.contracts,
            is_ours_alone=False,
        )
        signer = LocalSigner(unlock(self._folder, self._passphrase))
        return AnchorMachine(client, signer, outbox, terms)

    def _turn(self, machine: "AnchorMachine") -> tuple[str, int]:
        self._client.refresh()  # a new view for each round
        return super()._turn(machine)

    def status(self) -> Mapping[str, Any]:
        endpoints = [each.report() for each in self._client.endpoints] if hasattr(self, "_client") else []
        return {**super().status(), "confirmations": self._settings.confirmations, "endpoints": endpoints}


def make_chain(home: Path, chain_id: int, rpc: RpcSettings | None, passphrase: str = "") -> ChainService:
    """The chain that the configuration asks for: the embedded one unless `rpc` is given."""
    return EmbeddedChain(home, chain_id) if rpc is None else RpcChainService(home, rpc, passphrase)
