"""`swarmd bench money`: what a voucher costs to check, and how much gas netting saves beside the same payments as ERC-20
transfers, both executed on the EVM inside the daemon in one run.

The payments are random pairs of the parties. Deposits are made before and counted apart: a party makes one and settles
many epochs from it. Figures of the whole mesh (local_transfers_per_s, mesh_final_per_s, mesh_final_p99_ms) come from
`MORE`.
"""

import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from swarmd.node.bench.transfers import LOCAL, transfers
from swarmd.node.console.output import RIGHT, Output, facts, table
from swarmd.protocol.faults import LocalFault

CURVE = (10, 25, 50, 100, 250, 500, 1_000)
MAX_PARTIES = 64
TRANSFER_GAS = 80_000
BATCH = 200
NOW_S = 1_800_000_000

# Other rooms' figures of the same bench: called after ours, each returns more keys.
MORE: list[Callable[[Namespace], Mapping[str, Any]]] = [transfers]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--payments", type=int, default=1_000, metavar="N", help="payments (default 1000)")
    parser.add_argument("--parties", type=int, default=20, metavar="M", help="among so many (default 20)")
    parser.add_argument(
        "--vouchers", type=int, default=4_000, metavar="N", help="vouchers checked (default 4000)"
    )
    parser.add_argument(
        "--transfers",
        type=int,
        default=LOCAL,
        metavar="N",
        help=f"transfers in the mesh, by daemons of this host (default {LOCAL}; 0: none)",
    )


def main(args: Namespace, out: Output) -> int:
    if (
        not 2 <= args.parties <= MAX_PARTIES
        or not 10 <= args.payments <= 20_000
        or args.vouchers < 1
        or not 0 <= args.transfers <= 10**6
    ):
        raise LocalFault("usage", f"2 to {MAX_PARTIES} parties, 10 to 20000 payments, at least 1 voucher")
    figures: dict[str, Any] = {**vouchers(args.vouchers)}
    out.progress("vouchers checked; now the same payments twice on an EVM")
    with tempfile.TemporaryDirectory() as folder:
        figures |= gas(Path(folder), args.payments, args.parties)
    for more in MORE:
        figures |= more(args)
    if out.as_json:
        out.document(figures)
        return 0
    curve = figures.pop("curve")
    out.print(facts(list(figures.items())))
    rows = [
        (str(e["payments"]), str(e["transfers_gas"]), str(e["settled_gas"]), f"{e['saved']:.2%}")
        for e in curve
    ]
    columns = [(name, RIGHT) for name in ("payments", "gas as transfers", "gas settled", "saved")]
    out.print(table(columns, rows))
    return 0


def vouchers(count: int) -> dict[str, Any]:
    """One channel, `count` vouchers one after the other, checked as a payee does: without the disk."""
    from swarmd.node.chain.evm_signatures import address_of, recover, sign_digest
    from swarmd.protocol.ledger.channels import Channel, Voucher, accept, channel_domain, voucher_digest

    payer, payee = _key(0), _key(1)
    domain = channel_domain(1_337, b"\xc0" * 20)
    channel = Channel(domain, sha256(b"bench").digest(), address_of(payer), address_of(payee), deposit=count)
    made = []
    begun = time.perf_counter()
    for paid in range(1, count + 1):
        signature = sign_digest(payer, voucher_digest(domain, channel.id, paid))
        made.append(Voucher(domain.chain_id, domain.contract, channel.id, paid, signature).to_bytes())
    signed_s = time.perf_counter() - begun
    begun = time.perf_counter()
    for data in made:
        channel, _ = accept(channel, Voucher.from_bytes(data), recover, now_s=0)
    checked_s = time.perf_counter() - begun
    if channel.paid != count:
        raise LocalFault("failed", f"{channel.paid} of {count} were paid")
    return {"vouchers_per_s": round(count / checked_s), "vouchers_signed_per_s": round(count / signed_s)}


def gas(folder: Path, count: int, parties: int) -> dict[str, Any]:
    """The same payments as transfers and netted, and whether both left everybody with the same money."""
    from swarmd.node.chain.anchoring import open_embedded
    from swarmd.node.chain.desk import SETTLEMENT, TOKEN, Desk
    from swarmd.node.chain.evm_signatures import address_of
    from swarmd.node.chain.outbox import Outbox
    from swarmd.node.chain.requests import CALL
    from swarmd.node.chain.settlement import Settlements
    from swarmd.protocol.ledger.netting import PaymentReceipt

    keys = {address_of(_key(n)): _key(n) for n in range(parties)}
    rng = random.Random(count * 1_000 + parties)
    receipts = []
    for n in range(count):
        payer, payee = rng.sample(sorted(keys), 2)
        receipts.append(PaymentReceipt(sha256(b"bench/%d" % n).digest(), payer, payee, rng.randint(1, 1_000)))
    outbox = Outbox(folder / "outbox.sqlite")
    desk = Desk(open_embedded(folder, 1_337, outbox))
    start = 1_000 * count
    desk.fund("all", start * parties)
    deposit_gas = 0
    for account in sorted(keys):
        desk.fund(account.hex(), start, account)
        sent = desk.deposit(account.hex(), start, account)
        deposit_gas += _gas_of(desk, sent.tx_hash)
    transfers = _transfers(desk, keys, receipts)
    sizes = sorted({size for size in (*CURVE, count) if size <= count})
    curve = []
    for size in sizes:
        book = Settlements(folder / f"book-{size}.sqlite", min_receipts=1)
        before = {account: desk.view(SETTLEMENT, "balanceOf", account)[0] for account in keys}
        book.add(receipts[:size], now_s=NOW_S)
        book.tick(desk, now_s=NOW_S, keys=keys)
        desk.machine.tick()
        book.tick(desk, now_s=NOW_S, keys=keys)
        (epoch,) = book.epochs()
        if epoch.state != "settled":
            raise LocalFault("failed", f"the epoch of {size} is {epoch.state} {epoch.reason}")
        _compare(desk, SETTLEMENT, before, receipts[:size])
        request = outbox.get(CALL, epoch.id)
        settled = _gas_of(desk, None if request is None else request.tx_hash)
        spent = sum(transfers[:size])
        curve.append(
            {
                "payments": size,
                "transfers_gas": spent,
                "settled_gas": settled,
                "saved": round(1 - settled / spent, 6),
            }
        )
        book.close()
    _compare(desk, TOKEN, dict.fromkeys(keys, start), receipts)
    outbox.close()
    desk.machine.close()
    return {
        "payments": count,
        "parties": parties,
        "gas_saved_ratio": curve[-1]["saved"],
        "transfers_gas": curve[-1]["transfers_gas"],
        "settled_gas": curve[-1]["settled_gas"],
        "deposits_gas": deposit_gas,
        "curve": curve,
    }


def _transfers(desk: Any, keys: Mapping[bytes, bytes], receipts: list[Any]) -> list[int]:
    """Each payment as a transaction of its payer; the gas of each."""
    from swarmd.node.chain.account import LocalSigner
    from swarmd.node.chain.client import Call, Fees

    client = desk.machine.client
    token, codec = desk.contract("TestUSD"), desk.machine.codec("TestUSD")
    signers = {account: LocalSigner(key) for account, key in keys.items()}
    fees = Fees(10 * client.fees().max_fee_wei, 1)
    for account in sorted(keys):
        raw = desk.machine.signer.sign_value(
            account, 10**18, nonce=client.nonce(desk.account), fees=client.fees(), chain_id=client.chain_id
        )
        client.send_raw(raw)
        client.advance()
    nonces = dict.fromkeys(keys, 0)
    hashes = []
    for at, receipt in enumerate(receipts):
        data = codec.encode_call("transfer", receipt.payee, receipt.amount)
        nonce = nonces[receipt.payer]
        nonces[receipt.payer] += 1
        raw, tx_hash = signers[receipt.payer].sign(
            Call(token, data, TRANSFER_GAS), nonce=nonce, fees=fees, chain_id=client.chain_id
        )
        client.send_raw(raw)
        hashes.append(tx_hash)
        if at % BATCH == BATCH - 1:
            client.advance()
    while client.receipts(hashes[-1:])[0] is None:
        client.advance()
    found = client.receipts(hashes)
    if any(receipt is None or not receipt.succeeded for receipt in found):
        raise LocalFault("failed", "a transfer did not go through")
    return [receipt.gas_used for receipt in found]


def _compare(desk: Any, contract: str, before: Mapping[bytes, int], receipts: list[Any]) -> None:
    """LocalFault `failed` unless everybody has what the payments leave."""
    expected = dict(before)
    for receipt in receipts:
        expected[receipt.payer] -= receipt.amount
        expected[receipt.payee] += receipt.amount
    for account, amount in expected.items():
        found = desk.view(contract, "balanceOf", account)[0]
        if found != amount:
            raise LocalFault("failed", f"0x{account.hex()} has {found}, the payments leave it {amount}")


def _gas_of(desk: Any, tx_hash: bytes | None) -> int:
    receipt = desk.machine.client.receipts([tx_hash or bytes(32)])[0]
    return 0 if receipt is None else int(receipt.gas_used)


def _key(number: int) -> bytes:
    return sha256(b"swarmd/bench/party/%d" % number).digest()
