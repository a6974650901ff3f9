"""What the outbox bids for its transactions: within the operator's cap, within the balance, and higher when they wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from swarmd.node.chain.client import ChainClient, FeePolicy, Fees, Rejected, Signer
from swarmd.node.chain.requests import Attempt, Builder, Change, Request


@dataclass(slots=True)
class Signed:
    """What is to be written before any of it is broadcast, and what stood in the way of more."""

    changes: list[Change] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    trouble: list[Rejected] = field(default_factory=list)


def _base_wei(market: Fees) -> int:
    """The base fee behind a bid of twice of it and the tip, as `ChainClient.fees` makes them."""
    return (market.max_fee_wei - market.priority_fee_wei) // 2


def sign_queued(
    queued: Sequence[Request],
    first_nonce: int,
    client: ChainClient,
    signer: Signer,
    build: Builder,
    policy: FeePolicy,
    *,
    committed_wei: int,
) -> Signed:
    """Sign `queued` in order from `first_nonce` on. None gets a nonce that the account can't pay for beside the
    `committed_wei` of those under way: it would block those after it. Trouble: `fee-above-cap`, `out-of-gas`."""
    made = Signed()
    market = client.fees()
    base_wei = _base_wei(market)
    if base_wei + min(market.priority_fee_wei, 1) > policy.max_fee_wei:
        text = f"gas costs {base_wei} wei and the most allowed is {policy.max_fee_wei}"
        made.trouble.append(Rejected("fee-above-cap", text))
        return made
    fees = policy.capped(market)
    spare_wei = client.balance(signer.account) - committed_wei
    head = client.head()
    for nonce, request in enumerate(queued, start=first_nonce):
        call = build(request)
        cost_wei = call.gas * fees.max_fee_wei
        if cost_wei > spare_wei:
            text = f"the next transaction may cost {cost_wei} wei, the account can spare {max(0, spare_wei)}"
            made.trouble.append(Rejected("out-of-gas", text))
            break
        spare_wei -= cost_wei
        raw, tx_hash = signer.sign(call, nonce=nonce, fees=fees, chain_id=client.chain_id)
        after = replace(request, state="signed", reason="", nonce=nonce, target=call.to, tx_hash=tx_hash)
        made.changes.append((request, after))
        made.attempts.append(Attempt(tx_hash, request.seq, raw, fees, head))
    return made


def bid_up(
    live: Sequence[Request],
    newest: Mapping[int, tuple[Fees, int]],
    client: ChainClient,
    signer: Signer,
    build: Builder,
    policy: FeePolicy,
) -> Signed:
    """Sign higher bids for what waits too long: the oldest, and whatever bids less than gas costs by now.

    `live`: in nonce order. `newest`: seq -> the last bid, and the newest block when it was made. Trouble: `stuck`.
    """
    made = Signed()
    head = client.head()
    market = client.fees()
    base_wei = _base_wei(market)
    for position, request in enumerate(live):
        old, since = newest.get(request.seq, (Fees(0, 0), head))
        if head - since < policy.bump_after_blocks or (position and old.max_fee_wei >= base_wei):
            continue
        fees = policy.bumped(old, market)
        if fees is None:
            text = f"nonce {request.nonce} waits since block {since}, and the most allowed is bid already"
            made.trouble.append(Rejected("stuck", text))
            break
        nonce = request.nonce
        assert nonce is not None  # only what has one is signed or sent
        raw, tx_hash = signer.sign(build(request), nonce=nonce, fees=fees, chain_id=client.chain_id)
        made.changes.append((request, replace(request, state="signed", tx_hash=tx_hash)))
        made.attempts.append(Attempt(tx_hash, request.seq, raw, fees, head))
    return made
