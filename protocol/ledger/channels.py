"""Payment channels as their payee sees them: cumulative vouchers, each worth all before it.

Pure: the chain's facts (deposit, claimed, closing) come in from outside, signatures are checked through the port
`Recover`. The contract is contracts/src/PaymentChannel.sol, which takes the newest voucher and no older one.

    open --startClose--> closing --challenge period--> closed
     +-------------------- close by the payee ----------^
"""

from dataclasses import dataclass, replace

from swarmd.protocol.cbor import decode, encode
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.eip712 import (
    SIGNATURE_BYTES,
    Domain,
    Recover,
    address,
    keccak,
    require_signer,
    uint,
)
from swarmd.protocol.limits import MAX_AMOUNT

CHANNEL_ID_BYTES = 32
_VOUCHER_TYPE = keccak(b"Voucher(bytes32 channel,uint256 cumulative)")
_WIRE_VERSION = 1
MAX_VOUCHER_BYTES = 512


def channel_domain(chain_id: int, contract: bytes) -> Domain:
    """The domain of the PaymentChannel at the 20-byte address."""
    return Domain("swarmd PaymentChannel", "1", chain_id, contract)


def channel_id(chain_id: int, contract: bytes, payer: bytes, payee: bytes, salt: bytes) -> bytes:
    """The id that the contract gives: 32 bytes. A salt (32 bytes) opens one channel, ever."""
    return keccak(uint(chain_id) + address(contract) + address(payer) + address(payee) + salt)


def voucher_digest(domain: Domain, channel: bytes, cumulative: int) -> bytes:
    """What the payer signs to have paid `cumulative` minor units in all."""
    return domain.digest(keccak(_VOUCHER_TYPE + channel + uint(cumulative)))


@dataclass(frozen=True, slots=True)
class Voucher:
    """`cumulative` minor units paid in all through `channel`, signed by its payer."""

    chain_id: int
    contract: bytes  # 20 bytes
    channel: bytes  # 32 bytes
    cumulative: int
    signature: bytes  # 65 bytes

    def to_bytes(self) -> bytes:
        return encode(
            [_WIRE_VERSION, self.chain_id, self.contract, self.channel, self.cumulative, self.signature]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Voucher":
        """RemoteFault `bad-voucher` for anything but what `to_bytes` makes."""
        if len(data) > MAX_VOUCHER_BYTES:
            raise RemoteFault("bad-voucher", f"{len(data)} bytes")
        fields = decode(data)
        if not isinstance(fields, list) or len(fields) != 6 or fields[0] != _WIRE_VERSION:
            raise RemoteFault("bad-voucher", "not a voucher of version 1")
        _, chain_id, contract, channel, cumulative, signature = fields
        for value, size in ((contract, 20), (channel, CHANNEL_ID_BYTES), (signature, SIGNATURE_BYTES)):
            if not isinstance(value, bytes) or len(value) != size:
                raise RemoteFault("bad-voucher", f"a field of {size} bytes is not")
        for number in (chain_id, cumulative):
            if type(number) is not int or not 0 < number <= MAX_AMOUNT:
                raise RemoteFault("bad-voucher", "a number is not positive")
        return cls(chain_id, contract, channel, cumulative, signature)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel by the facts of the chain, and the best voucher its payee has."""

    domain: Domain
    id: bytes
    payer: bytes
    payee: bytes
    deposit: int
    claimed: int = 0  # paid out on chain
    closes_at_s: int = 0  # 0: not closing
    is_closed: bool = False
    best: Voucher | None = None

    @property
    def state(self) -> str:
        """open | closing | closed"""
        return "closed" if self.is_closed else "closing" if self.closes_at_s else "open"

    @property
    def paid(self) -> int:
        """What the payer has signed for, or the chain has paid: minor units."""
        return max(self.claimed, 0 if self.best is None else self.best.cumulative)

    @property
    def unclaimed(self) -> int:
        """What the best voucher would still bring."""
        return self.paid - self.claimed


def accept(
    channel: Channel, voucher: Voucher, recover: Recover, *, now_s: int, margin_s: int = 0
) -> tuple[Channel, int]:
    """The channel with `voucher` as its best, and how much that pays: more than 0 minor units.

    `margin_s`: how long before the end of a challenge period no voucher is taken any more, since it may come too late.
    Raises RemoteFault: `wrong-channel`, `channel-closed`, `channel-closing`, `stale-voucher`, `exceeds-deposit`,
    `bad-signature`. The channel is as it was then.
    """
    domain = channel.domain
    if (voucher.chain_id, voucher.contract) != (domain.chain_id, domain.contract):
        raise RemoteFault("wrong-channel", f"a voucher for chain {voucher.chain_id} or another contract")
    if voucher.channel != channel.id:
        raise RemoteFault("wrong-channel", f"a voucher of 0x{voucher.channel.hex()}")
    if channel.is_closed:
        raise RemoteFault("channel-closed", "a voucher of a closed channel is worth nothing")
    if channel.closes_at_s and now_s >= channel.closes_at_s - margin_s:
        raise RemoteFault("channel-closing", "it could not be claimed in time")
    if voucher.cumulative <= channel.paid:
        raise RemoteFault("stale-voucher", f"{voucher.cumulative} is not more than {channel.paid}")
    if voucher.cumulative > channel.deposit:
        raise RemoteFault("exceeds-deposit", f"{voucher.cumulative} of a deposit of {channel.deposit}")
    digest = voucher_digest(domain, channel.id, voucher.cumulative)
    require_signer(recover, digest, voucher.signature, channel.payer)
    return replace(channel, best=voucher), voucher.cumulative - channel.paid


def next_cumulative(channel: Channel, signed: int, amount: int) -> int:
    """What a payer that has signed for `signed` signs next to pay `amount` more.

    Raises LocalFault: `bad-amount`, `channel-not-open`, `exceeds-deposit`.
    """
    if amount <= 0:
        raise LocalFault("bad-amount", f"{amount}", fix="pay more than nothing")
    if channel.state != "open":
        raise LocalFault("channel-not-open", f"it is {channel.state}", fix="open another channel")
    cumulative = max(signed, channel.claimed) + amount
    if cumulative > channel.deposit:
        spare = channel.deposit - max(signed, channel.claimed)
        raise LocalFault("exceeds-deposit", f"{amount}, and {spare} are left", fix="swarmd channel topup")
    return cumulative
