"""Documents of commands about money on the chain."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    ADDRESS,
    ANY,
    AT_S,
    COUNT,
    COUNTS,
    DID,
    DURATION_S,
    HEX,
    TEXT,
    TX,
    USDC,
    YES,
    Schema,
    either,
    many,
    maybe,
    more,
    nullable,
    one_of,
    pattern,
    record,
    report,
    says,
    text,
)

_SENT = record(
    state=text("of the transaction: queued, signed, sent, mined, final or failed"), tx=nullable(TX)
)
_WALLET = record(
    address=ADDRESS,
    chain_id=COUNT,
    gas_wei=pattern(r"^\d+$", "what pays for transactions, in wei"),
    tokens=nullable(USDC),
    token=text("its contract; where there is none, the code that says why"),
)
_STAKE = record(account=ADDRESS, bonded=USDC, unbonding=USDC, ready_at_s=AT_S)
_KEYSTORE = record(address=ADDRESS, keystore=text("the file"))
_EPOCH = record(
    epoch=HEX,
    root=HEX,
    receipts=COUNT,
    moved=USDC,
    deadline_s=AT_S,
    state=TEXT,
    block=nullable(COUNT),
)
_SETTLING = record(
    waiting=COUNT,
    waiting_since_s=nullable(AT_S),
    settled=COUNT,
    min_receipts=COUNT,
    deadline_s=DURATION_S,
    states=COUNTS,
    epochs=many(_EPOCH),
)
_BOUND = many(record(did=DID, address=ADDRESS, made_at_s=AT_S, me=YES))
# Of what needs have come to owe.
_MESH = record(
    waiting=COUNT,
    settled=COUNT,
    states=COUNTS,
    epochs=many(_EPOCH),
    dues=record(open=COUNT, settled=COUNT),
    set_aside=COUNTS,
    publisher=TEXT,
    bound=_BOUND,
    waits_for=maybe(TEXT),
    counters=maybe(COUNTS),
)
_CHAIN = report("how the chain is; only its `state` while the daemon is down", state=TEXT)
_CHANNEL = record(
    channel=TX,
    role=one_of("payer", "payee"),
    state=TEXT,
    payer=ADDRESS,
    payee=ADDRESS,
    deposit=USDC,
    claimed=USDC,
    paid=USDC,
    closes_at_s=AT_S,
)
_CONTRACT = nullable(ADDRESS, "null while it is under way")

DOCUMENTS: Mapping[str, Schema] = {
    "wallet create": _KEYSTORE,
    "wallet import": _KEYSTORE,
    "wallet address": record(address=ADDRESS),
    "wallet show": _WALLET,
    "wallet fund": more(_WALLET, state=_SENT["properties"]["state"], tx=nullable(TX)),
    "wallet bind": record(did=DID, address=ADDRESS, chain_id=COUNT, made_at_s=AT_S),
    "wallet bound": record(bound=_BOUND),
    "stake show": _STAKE,
    **{
        f"stake {what}": more(_STAKE, state=_SENT["properties"]["state"], tx=nullable(TX))
        for what in ("add", "unbond", "withdraw")
    },
    "stake slash": more(
        _SENT,
        who=DID,
        account=ADDRESS,
        amount=USDC,
        offence=HEX,
        signatures=COUNT,
    ),
    "settle status": either(
        more(_SETTLING, chain=_CHAIN, waits_for=TEXT, mesh=maybe(_MESH)),
        record(
            chain=_CHAIN,
            waits_for=says(TEXT, "why the chain can't be asked"),
            waiting={"type": "null"},
            epochs=many(ANY),
        ),
    ),
    "settle now": more(_SETTLING, waits_for=TEXT),
    "settle add": record(added=COUNT, waiting=COUNT),
    "settle deposit": _SENT,
    "settle withdraw": _SENT,
    "settle deploy": record(
        TestUSD=_CONTRACT,
        Settlement=_CONTRACT,
        PaymentChannel=_CONTRACT,
        Escrow=_CONTRACT,
        StakeRegistry=_CONTRACT,
    ),
    "receipt show": record(
        chain_id=COUNT,
        contract=ADDRESS,
        publisher=ADDRESS,
        epoch=TX,
        leaf=pattern("^0x([0-9a-f]{2})+$", "the receipt, as the tree has it"),
        index=COUNT,
        count=COUNT,
        path=many(TX),
    ),
    "receipt verify": record(verified=YES, id=TX, payer=ADDRESS, payee=ADDRESS, amount=USDC, memo=TEXT),
    "channel open": more(_SENT, channel=TX),
    "channel pay": record(voucher=HEX, cumulative=USDC),
    "channel receive": record(channel=TX, paid=USDC, cumulative=USDC),
    "channel topup": _SENT,
    "channel claim": _SENT,
    "channel close": more(_SENT, step=TEXT),
    "channel list": record(
        channels=many(either(_CHANNEL, record(channel=TX, role=TEXT, state=one_of("not on chain yet"))))
    ),
}
