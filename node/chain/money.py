"""What operators ask about money on the chain: operations by name, the same in the daemon and beside it.

`Money` blocks and lives in the chain's worker thread; `money_ops` are the daemon's operations on it, and its duty runs
once a round: epochs go on, and channels that are closing get their vouchers.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from swarmd.node.chain.service import ChainService
from swarmd.node.transport.local import LocalCall
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.faults import LocalFault, RemoteFault

if TYPE_CHECKING:
    from swarmd.node.chain.anchoring import AnchorMachine
    from swarmd.node.settling.desk import MeshDesk
    from swarmd.node.settling.terms import Terms

T = TypeVar("T")

SETTLEMENT_BOOK = "settlement.sqlite"
CHANNEL_BOOK = "channels.sqlite"
MAX_RECEIPTS_PER_CALL = 10_000


class Money:
    """The operations over one machine. Opened at the first call; the books only when they are needed."""

    def __init__(self, folder: Path, machine: "AnchorMachine", terms: "Terms | None" = None) -> None:
        from swarmd.node.chain.channels import Channels
        from swarmd.node.chain.desk import Desk
        from swarmd.node.chain.settlement import Settlements

        self.machine = machine
        self.desk = Desk(machine)
        self._folder = folder
        self._terms = terms
        self._mesh: MeshDesk | None = None
        self.settlements = Settlements(folder / SETTLEMENT_BOOK)
        self.channels = Channels(folder / CHANNEL_BOOK)

    def close(self) -> None:
        self.settlements.close()
        self.channels.close()
        if self._mesh is not None:
            self._mesh.close()

    @property
    def mesh(self) -> "MeshDesk":
        """The books of what needs have come to owe; opened when they are asked for first. LocalFault `no-home`."""
        if self._mesh is None:
            from swarmd.node.keys import load_key
            from swarmd.node.settling.desk import MeshDesk
            from swarmd.node.setup import GENESIS_FILE, load_genesis

            home = self._folder.parent
            mesh_id = load_genesis(home / GENESIS_FILE).mesh_id
            self._mesh = MeshDesk(self._folder, self.desk, load_key(home), mesh_id, self._terms)
        return self._mesh

    def duty(self) -> str:
        """A round without a caller; returns what waits for something, "" if nothing does."""
        waits = self.settlements.tick(self.desk, now_s=_now_s())
        self.channels.watch(self.desk)
        return waits

    # Wallet and stakes

    def wallet(self, args: Mapping[str, Any]) -> Any:
        return self.desk.wallet()

    def wallet_fund(self, args: Mapping[str, Any]) -> Any:
        to = _address(args["to"]) if args.get("to") else None
        return {**self.desk.fund(_key(args), _amount(args), to).document(), **self.desk.wallet()}

    def wallet_bind(self, args: Mapping[str, Any]) -> Any:
        return self.mesh.bind(now_s=_now_s())

    def wallet_bound(self, args: Mapping[str, Any]) -> Any:
        return {"bound": self.mesh.bound()}

    def deploy(self, args: Mapping[str, Any]) -> Any:
        """The contracts, from our account; those that are under way are None."""
        from swarmd.node.chain.codec import checksum
        from swarmd.node.chain.desk import CHANNELS, ESCROW, SETTLEMENT, STAKES, TOKEN

        found: dict[str, Any] = {}
        for name in (TOKEN, SETTLEMENT, CHANNELS, ESCROW, STAKES):
            address = self.desk.deploy(name)
            found[name] = None if address is None else checksum(address)
        return found

    def stake_show(self, args: Mapping[str, Any]) -> Any:
        return self.desk.stake_of(_address(args["account"]) if args.get("account") else None)

    def stake_add(self, args: Mapping[str, Any]) -> Any:
        return {**self.desk.stake(_key(args), _amount(args)).document(), **self.desk.stake_of()}

    def stake_unbond(self, args: Mapping[str, Any]) -> Any:
        return {**self.desk.unbond(_key(args), _amount(args)).document(), **self.desk.stake_of()}

    def stake_withdraw(self, args: Mapping[str, Any]) -> Any:
        return {**self.desk.withdraw_stake(_key(args)).document(), **self.desk.stake_of()}

    # Settlement

    def settle_status(self, args: Mapping[str, Any]) -> Any:
        found = self.settlements.status()
        return {**found, "mesh": self.mesh.status(_now_s())} if self._has_mesh() else found

    def _has_mesh(self) -> bool:
        from swarmd.node.setup import GENESIS_FILE

        return (self._folder.parent / GENESIS_FILE).exists()

    def settle_now(self, args: Mapping[str, Any]) -> Any:
        """Net what waits, whatever its number, and go on as far as it goes at once."""
        waits = self.settlements.tick(self.desk, now_s=_now_s(), at_once=True)
        if self.machine.terms.is_ours_alone and self.machine.outbox.pending():
            self.machine.tick()
            waits = self.settlements.tick(self.desk, now_s=_now_s())
        return {"waits_for": waits, **self.settlements.status()}

    def settle_add(self, args: Mapping[str, Any]) -> Any:
        """{receipts: [{id, payer, payee, amount, memo}]}: amounts in USDC text, id and accounts as 0x text."""
        from swarmd.protocol.ledger.netting import PaymentReceipt

        given = args.get("receipts")
        if not isinstance(given, list) or not 0 < len(given) <= MAX_RECEIPTS_PER_CALL:
            raise LocalFault("bad-args", f"receipts is a list of 1 to {MAX_RECEIPTS_PER_CALL}")
        receipts = []
        for entry in given:
            if not isinstance(entry, dict):
                raise LocalFault(
                    "bad-receipt", "a receipt is an object with id, payer, payee, amount and memo"
                )
            receipts.append(
                PaymentReceipt(
                    _bytes(entry.get("id"), 32),
                    _address(entry.get("payer")),
                    _address(entry.get("payee")),
                    _amount(entry),
                    entry.get("memo", ""),
                )
            )
        added = self.settlements.add(receipts, now_s=_now_s())
        return {"added": added, "waiting": self.settlements.waiting()[0]}

    def settle_deposit(self, args: Mapping[str, Any]) -> Any:
        account = _address(args["account"]) if args.get("account") else None
        return self.desk.deposit(_key(args), _amount(args), account).document()

    def settle_withdraw(self, args: Mapping[str, Any]) -> Any:
        """With an amount: ask for it, and the delay starts. Without: take what is ready."""
        if args.get("amount") is not None:
            return self.desk.request_withdrawal(_key(args), _amount(args)).document()
        return self.desk.withdraw(_key(args)).document()

    def receipt_show(self, args: Mapping[str, Any]) -> Any:
        """The proof of a receipt, for its payee."""
        name = _bytes(args.get("id"), 32)
        try:
            proof = self.settlements.proof(self.desk, name)
        except LocalFault as fault:
            if fault.code != "no-receipt" or not self._has_mesh():
                raise
            proof = self.mesh.proof(name)
        return {
            "chain_id": proof.chain_id,
            "contract": f"0x{proof.contract.hex()}",
            "publisher": f"0x{proof.publisher.hex()}",
            "epoch": f"0x{proof.epoch.hex()}",
            "leaf": f"0x{proof.leaf.hex()}",
            "index": proof.index,
            "count": proof.count,
            "path": [f"0x{node.hex()}" for node in proof.path],
        }

    def receipt_verify(self, args: Mapping[str, Any]) -> Any:
        from swarmd.node.chain.codec import checksum
        from swarmd.node.chain.settlement import verify_proof

        receipt = verify_proof(self.desk, _proof(args.get("proof")))
        return {
            "verified": True,
            "id": f"0x{receipt.id.hex()}",
            "payer": checksum(receipt.payer),
            "payee": checksum(receipt.payee),
            "amount": receipt.amount,
            "memo": receipt.memo,
        }

    # Channels

    def channel_open(self, args: Mapping[str, Any]) -> Any:
        from swarmd.node.chain.channels import CHALLENGE_S

        challenge_s = args.get("challenge_s") or CHALLENGE_S
        if type(challenge_s) is not int or not 0 < challenge_s < 1 << 32:
            raise LocalFault("bad-args", "challenge_s is a whole number of seconds")
        salt = sha256(_key(args).encode()).digest()
        made, sent = self.channels.open(
            self.desk, _address(args.get("payee")), _amount(args), salt, challenge_s
        )
        return {"channel": f"0x{made.hex()}", **sent.document()}

    def channel_pay(self, args: Mapping[str, Any]) -> Any:
        voucher = self.channels.pay(self.desk, _channel(args), _amount(args))
        return {"voucher": voucher.to_bytes().hex(), "cumulative": voucher.cumulative}

    def channel_receive(self, args: Mapping[str, Any]) -> Any:
        from swarmd.protocol.ledger.channels import Voucher

        try:
            voucher = Voucher.from_bytes(_bytes("0x" + str(args.get("voucher")), None))
            paid = self.channels.receive(self.desk, voucher, now_s=_now_s(), watch=args.get("watch") is True)
        except RemoteFault as fault:  # whoever brought it is our caller
            raise LocalFault(fault.code, fault.message, fix="ask the payer for another voucher") from None
        return {"channel": f"0x{voucher.channel.hex()}", "paid": paid, "cumulative": voucher.cumulative}

    def channel_top_up(self, args: Mapping[str, Any]) -> Any:
        return self.channels.top_up(self.desk, _key(args), _channel(args), _amount(args)).document()

    def channel_claim(self, args: Mapping[str, Any]) -> Any:
        return self.channels.claim(self.desk, _channel(args)).document()

    def channel_close(self, args: Mapping[str, Any]) -> Any:
        step, sent = self.channels.end(self.desk, _channel(args), now_s=_now_s())
        return {"step": step, **sent.document()}

    def channel_list(self, args: Mapping[str, Any]) -> Any:
        return {"channels": self.channels.listing(self.desk)}


OPERATIONS: Mapping[str, Callable[[Money, Mapping[str, Any]], Any]] = {
    "wallet": Money.wallet,
    "wallet.fund": Money.wallet_fund,
    "wallet.bind": Money.wallet_bind,
    "wallet.bound": Money.wallet_bound,
    "stake.show": Money.stake_show,
    "stake.add": Money.stake_add,
    "stake.unbond": Money.stake_unbond,
    "stake.withdraw": Money.stake_withdraw,
    "settle.status": Money.settle_status,
    "settle.now": Money.settle_now,
    "settle.add": Money.settle_add,
    "settle.deposit": Money.settle_deposit,
    "settle.withdraw": Money.settle_withdraw,
    "settle.deploy": Money.deploy,
    "receipt.show": Money.receipt_show,
    "receipt.verify": Money.receipt_verify,
    "channel.open": Money.channel_open,
    "channel.pay": Money.channel_pay,
    "channel.receive": Money.channel_receive,
    "channel.topup": Money.channel_top_up,
    "channel.claim": Money.channel_claim,
    "channel.close": Money.channel_close,
    "channel.list": Money.channel_list,
}


class MoneyDesk:
    """`Money` beside a `ChainService`: made in its thread at the first call, and its duty where it was ever used."""

    def __init__(self, home: Path, chain: ChainService, terms: "Terms | None" = None) -> None:
        self._folder = home / "chain"
        self.chain = self._chain = chain
        self._terms = terms
        self._money: Money | None = None
        # Of the mesh: what to do when the account was bound, when all is to be settled, and how it stands.
        self.on_bound: Callable[[], None] = lambda: None
        self.on_settle_now: Callable[[], None] = lambda: None
        self.mesh_status: Callable[[], Mapping[str, Any]] = dict
        self.waits = ""  # what the epoch under way waits for
        chain.duties.append(self._duty)
        chain.closers.append(self.close)

    def _of(self, machine: "AnchorMachine") -> Money:
        if self._money is None or self._money.machine is not machine:
            self.close()
            self._money = Money(self._folder, machine, self._terms)
        return self._money

    def _duty(self, machine: "AnchorMachine") -> None:
        if self._money is None and not any(
            (self._folder / name).exists() for name in (SETTLEMENT_BOOK, CHANNEL_BOOK)
        ):
            return
        try:
            self.waits = self._of(machine).duty()
        except LocalFault as fault:  # such as a contract that nobody named: the anchors go on
            self.waits = str(fault)

    async def handle(self, op: str, args: Mapping[str, Any]) -> Any:
        """One operation. LocalFault for what cannot be done; nothing was changed then."""
        run = OPERATIONS[op]
        if op == "settle.status":
            return await self._status(args)
        found = await self._chain.with_machine(lambda machine: run(self._of(machine), args))
        self._chain.wake()
        if op == "wallet.bind":
            self.on_bound()
        elif op == "settle.now":
            self.on_settle_now()
        return _readable(found)

    async def with_mesh(self, work: Callable[["MeshDesk"], T]) -> T:
        """Run `work` on the books of the mesh in the chain's thread; as `ChainService.with_machine`."""
        found = await self._chain.with_machine(lambda machine: work(self._of(machine).mesh))
        self._chain.wake()
        return found

    async def work(self, run: Callable[[Money], T]) -> T:
        """Something of another room's, with the books and the chain, in the chain's thread."""
        found = await self._chain.with_machine(lambda machine: run(self._of(machine)))
        self._chain.wake()
        return found

    async def _status(self, args: Mapping[str, Any]) -> Any:
        """Answers while the chain cannot: what is wrong with it is what is asked."""
        chain = dict(self._chain.status())
        if chain["account"] == "" or chain["trouble"] in ("rpc-down", "behind", "wrong-chain"):
            return {
                "chain": chain,
                "waits_for": chain["trouble"] or chain["state"],
                "waiting": None,
                "epochs": [],
            }
        found = _readable(
            await self._chain.with_machine(lambda machine: self._of(machine).settle_status(args))
        )
        if "mesh" in found:
            found["mesh"] |= self.mesh_status()
        return {"chain": chain, "waits_for": self.waits, **found}

    async def diagnose(self) -> dict[str, Any]:
        """What `doctor.chain` answers: as much as can be found out now."""
        from swarmd.node.chain.desk import CALL_GAS
        from swarmd.node.chain.troubles import chain_findings, gas_finding, mesh_findings
        from swarmd.node.doctor import Diagnosis

        found = Diagnosis("up")
        status = self._chain.status()
        found.findings += chain_findings(status)
        is_shared = self._chain.kind != "embedded"
        if status["account"] and not status["trouble"]:

            def look(machine: "AnchorMachine") -> tuple[int, int, Mapping[str, Any]]:
                mesh = self._of(machine).mesh.status(_now_s()) if is_shared else {}
                fees = machine.client.fees()
                return machine.client.balance(machine.signer.account), fees.max_fee_wei, mesh

            try:
                balance_wei, fee_wei, mesh = await self._chain.with_machine(look)
            except LocalFault as fault:
                found.add("settlement", None, fault.message, fault.fix)
            else:
                found.findings.append(gas_finding(balance_wei, fee_wei, CALL_GAS))
                found.findings += mesh_findings(mesh, is_shared=is_shared)
        return found.document()

    async def visit(self, op: str, args: Mapping[str, Any]) -> Any:
        """As `handle`, while no daemon runs."""
        found = _readable(await self._chain.visit(lambda machine: OPERATIONS[op](self._of(machine), args)))
        return found if op != "settle.status" else {"chain": {"state": "stopped"}, "waits_for": "", **found}

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        def make(op: str) -> Callable[[LocalCall], Awaitable[Any]]:
            async def answer(call: LocalCall) -> Any:
                return await self.handle(op, call.args)

            return answer

        async def diagnose(call: LocalCall) -> Any:
            return await self.diagnose()

        return {**{op: make(op) for op in OPERATIONS}, "doctor.chain": diagnose}

    def close(self) -> None:
        money, self._money = self._money, None
        if money is not None:
            money.close()


# Arguments


def _now_s() -> int:
    return int(time.time())


def _key(args: Mapping[str, Any]) -> str:
    """The caller's idempotency key; a call without one is one of its own."""
    key = args.get("key") or secrets.token_hex(16)
    if not isinstance(key, str) or len(key) > 200:
        raise LocalFault("bad-args", "key is a text of at most 200 characters")
    return key


def _amount(args: Mapping[str, Any]) -> int:
    """More than nothing, of decimal text as everywhere at the edge. LocalFault `bad-amount`."""
    amount = parse_usdc(args.get("amount"))  # type: ignore[arg-type]  # checked there
    if amount == 0:
        raise LocalFault("bad-amount", "nothing", fix="an amount is more than 0")
    return amount


# What is money in an answer: decimal text of USDC, as in every other answer of the node.
_AMOUNTS = frozenset(
    ("tokens", "bonded", "unbonding", "paid", "cumulative", "deposit", "claimed", "moved", "amount")
)


def _readable(found: Any) -> Any:
    if isinstance(found, dict):
        return {
            name: format_usdc(value) if name in _AMOUNTS and type(value) is int else _readable(value)
            for name, value in found.items()
        }
    return [_readable(each) for each in found] if isinstance(found, list) else found


def _bytes(text: object, size: int | None) -> bytes:
    try:
        found = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        found = b""
    if not found or (size is not None and len(found) != size):
        raise LocalFault(
            "bad-args",
            f"{str(text)[:80]!r} is no id in hex",
            fix=f"{f'0x and {2 * size} digits' if size else 'some bytes in hex'}, as the lists of swarmd show it",
        )
    return found


def _address(text: object) -> bytes:
    from swarmd.node.chain.desk import parse_address

    return parse_address(str(text))


def _channel(args: Mapping[str, Any]) -> bytes:
    return _bytes(args.get("channel"), 32)


def _proof(given: object) -> Any:
    from swarmd.protocol.ledger.netting import ReceiptProof

    if not isinstance(given, dict) or not isinstance(given.get("path"), list) or len(given["path"]) > 64:
        raise LocalFault(
            "bad-proof", "a proof is what swarmd receipt show printed", fix="swarmd receipt show ID"
        )
    for name in ("chain_id", "index", "count"):
        if type(given.get(name)) is not int or given[name] < 0:
            raise LocalFault("bad-proof", f"{name} is a whole number", fix="swarmd receipt show ID")
    return ReceiptProof(
        given["chain_id"],
        _bytes(given.get("contract"), 20),
        _bytes(given.get("publisher"), 20),
        _bytes(given.get("epoch"), 32),
        _bytes(given.get("leaf"), None),
        given["index"],
        given["count"],
        tuple(_bytes(node, 32) for node in given["path"]),
    )
