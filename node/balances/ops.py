"""The operations of the local socket on this node's account: transfers, withdrawals, the statement."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio
from swarmd.node.balances.statement import Statement
from swarmd.node.chain.deposits import claim_of, make_deposit
from swarmd.node.chain.money import MoneyDesk
from swarmd.node.runner import Runner
from swarmd.node.transport.local import LocalCall
from swarmd.protocol import kinds
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.envelope import Envelope
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.inputs import Commanded
from swarmd.protocol.shadow.committee import committee_of
from swarmd.protocol.shadow.record import Spend, deposit_key
from swarmd.protocol.state import State

DEFAULT_WAIT_S = 10.0
MAX_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What this node lets its owner pay, in minor units; 0: no limit."""

    max_amount: int = 0
    max_per_day: int = 0


class BalanceOps:
    """- `transfer` {to: did:key, amount: USDC as text, key?, memo?, wait_s?}: pay somebody in the mesh. With the same key
      it is one payment. Waits up to wait_s (10) until it is final.
    - `withdraw` {to?: account on the chain (0x... or 20 bytes; this node's), amount, key?, memo?, wait_s?}.
    - `deposit` {amount, key?, wait_s?} or {tx: 32 bytes}: pay from this node's account on the chain into the vault, and claim it.
    - `transfer.show` {name}: how far it is. `statement` {limit?, before?}.
    """

    def __init__(
        self, runner: Runner, statement: Statement, limits: Limits, money: MoneyDesk, vault: bytes | None
    ) -> None:
        self._runner = runner
        self._money = money
        self._vault = vault
        self._statement = statement
        self._limits = limits
        self._waiting: dict[str, trio.Event] = {}
        runner.watchers.append(self._watch)

    def ops(self) -> Mapping[str, Callable[[LocalCall], Awaitable[Any]]]:
        return {
            "transfer": self._transfer,
            "withdraw": self._withdraw,
            "deposit": self._deposit,
            "transfer.show": self._show,
            "statement": self._page,
        }

    async def _transfer(self, call: LocalCall) -> Any:
        to = call.args.get("to")
        if not isinstance(to, str):
            raise LocalFault("bad-args", "name whom to pay", fix="swarmd transfer did:key:z6Mk... 1.50")
        return await self.pay("money.transfer", to, call.args)

    async def _withdraw(self, call: LocalCall) -> Any:
        to, account = call.args.get("to"), await self._money.work(lambda money: money.desk.account)
        if to is None:
            to = account
        elif isinstance(to, str):
            from swarmd.node.chain.desk import parse_address

            to = parse_address(to)
        if to == (self._vault or account):
            raise LocalFault(
                "to-the-vault",
                "that account is the vault, which withdrawals are paid from",
                fix="name another with --to",
            )
        return await self.pay("money.withdraw", to, call.args)

    async def _deposit(self, call: LocalCall) -> Any:
        """Each step is done once for the key, so asking again goes on where it stood."""
        runner, vault = self._runner, self._vault
        given = call.args
        key, wait_s, tx_hash = given.get("key") or secrets.token_hex(16), _wait_s(given), given.get("tx")
        if type(key) is not str or not (tx_hash is None or type(tx_hash) is bytes):
            raise LocalFault("bad-args", "key is a text, tx a byte string")
        if tx_hash is None:
            amount = parse_usdc(given.get("amount"))  # type: ignore[arg-type]  # checked there
            if not amount:
                raise LocalFault("bad-amount", "nothing", fix="an amount is more than 0")
            sent = await self._money.work(lambda money: make_deposit(money.desk, key, amount, vault))
            if sent["tx"] is None:
                return {
                    "key": key,
                    "state": sent["state"],
                    "tx": None,
                    "why": "it is on its way to the chain",
                }
            tx_hash = bytes.fromhex(sent["tx"].removeprefix("0x"))
        shown = {"key": key, "tx": f"0x{tx_hash.hex()}"}
        found: bytes = tx_hash
        try:
            claim = await self._money.work(
                lambda money: claim_of(money.desk, runner.me, found, vault, int(time.time()))
            )
        except LocalFault as fault:
            if fault.code != "not-deep-enough":
                raise
            return {**shown, "state": "sent", "why": fault.message}
        subject = deposit_key(claim["chain_id"], claim["contract"], claim["tx"], claim["log"])
        if not self._credited(subject):
            reply = runner.tell(lambda at_ns: Commanded("money.claim", claim, at_ns), reply=True)
            assert reply is not None
            await reply.wait()
            with trio.move_on_after(wait_s):
                while not self._credited(subject):
                    await self._waiting.setdefault(subject.hex(), trio.Event()).wait()
            self._waiting.pop(subject.hex(), None)
        done = self._credited(subject)
        why = "" if done else "members of the committee look for it on their chains"
        return {**shown, "state": "credited" if done else "claimed", "why": why}

    def _credited(self, subject: bytes) -> bool:
        return subject in self._runner.state.ledger.credits or subject in self._runner.state.shadow.credited

    async def pay(self, op: str, to: object, given: Mapping[str, Any]) -> dict[str, Any]:
        """Say it, and wait as the caller asks. LocalFault if it cannot be; then nothing was said."""
        key = given.get("key") or secrets.token_hex(16)
        memo, wait_s = given.get("memo", ""), _wait_s(given)
        if type(key) is not str or type(memo) is not str:
            raise LocalFault("bad-args", "key and memo are texts")
        args = {
            "to": to,
            "amount": parse_usdc(given.get("amount")),  # type: ignore[arg-type]  # checked there
            "key": key,
            "memo": memo,
            "max_amount": self._limits.max_amount,
            "max_per_day": self._limits.max_per_day,
        }
        reply = self._runner.tell(lambda at_ns: Commanded(op, args, at_ns), reply=True)
        assert reply is not None
        await reply.wait()
        known = self._runner.state.shadow.keys.get(key)
        if known is None:
            raise LocalFault(
                "denied-by-policy",
                "the policy of this node does not let it say MONEY",
                fix="let it say MONEY (swarmd policy show); the policies that ship do",
            )
        name = known[0]
        if wait_s:
            await self._final(name, wait_s)
        return {"key": key, **describe(self._runner.state, name)}

    async def _final(self, name: str, wait_s: float) -> None:
        with trio.move_on_after(wait_s):
            while describe(self._runner.state, name)["state"] == "waiting":
                await self._waiting.setdefault(name, trio.Event()).wait()
        self._waiting.pop(name, None)

    def _watch(self, envelope: Envelope) -> None:
        """After each commit that had votes: wake who waits for what is final now."""
        if envelope.kind != kinds.MONEY or not self._waiting:
            return
        if envelope.payload["op"] == "attest":
            waiting = self._waiting.pop(envelope.payload["subject"].hex(), None)
            if waiting is not None:
                waiting.set()
        if envelope.payload["op"] != "confirm":
            return
        escrows = self._runner.state.ledger.escrows
        for name in list(self._waiting):
            escrow = escrows.get(name)
            if name[:4] not in ("pay-", "out-"):
                continue
            if escrow is None or escrow.state != "waiting":
                self._waiting.pop(name).set()

    async def _show(self, call: LocalCall) -> Any:
        name, state = call.args.get("name"), self._runner.state
        if not isinstance(name, str):
            raise LocalFault("bad-args", "name the transfer")
        own = {entry[0] for entry in state.shadow.keys.values()}
        if name not in state.shadow.spends and name not in own:
            raise LocalFault(
                "no-such-transfer",
                f"{name} is none that this node knows of since the last checkpoint",
                fix="swarmd statement",
            )
        return describe(state, name)

    async def _page(self, call: LocalCall) -> Any:
        return self._statement.page(before=call.args.get("before"), limit=call.args.get("limit", 50))


def _wait_s(given: Mapping[str, Any]) -> float:
    wait_s = given.get("wait_s", DEFAULT_WAIT_S)
    if type(wait_s) not in (int, float) or not 0 <= wait_s <= MAX_WAIT_S:
        raise LocalFault("bad-args", f"wait_s is 0 to {MAX_WAIT_S:.0f} seconds")
    return float(wait_s)


def describe(state: State, name: str) -> dict[str, Any]:
    """How far a transfer or withdrawal is: `final`, `waiting` (with `why`), and a withdrawal `held` until it is `paid`."""
    spend = state.shadow.spends.get(name)
    if spend is None:
        return {"name": name, "state": "final", "why": ""}  # a checkpoint is done with it
    escrow = state.ledger.escrows[name]
    known: dict[str, Any] = {
        "name": name,
        "op": spend.op,
        "from": spend.owner,
        "to": spend.to,
        "amount": format_usdc(spend.amount),
        "seq": spend.seq,
        "memo": spend.envelope.payload["memo"],
    }
    if escrow.state == "waiting":
        return {**known, "state": "waiting", "why": why_waiting(state, spend)}
    done = {"transfer": "final", "withdraw": "held" if escrow.state == "funded" else "paid"}
    return {**known, "state": done[spend.op], "why": ""}


def why_waiting(state: State, spend: Spend) -> str:
    """What a transfer that is not final waits for, for people."""
    ledger, place = state.ledger, (spend.owner, spend.seq)
    account = ledger.account(spend.owner)
    if account.next_seq > spend.seq:
        return "another entry took its place: it never applies"
    if len(ledger.entries.get(place, ())) > 1:
        return f"its owner signed two entries {spend.seq}: neither is signed by the committee"
    if spend.hash in ledger.certified or account.next_seq < spend.seq:
        return f"entries of the account before it: {account.next_seq} to {spend.seq - 1}"
    if account.available < spend.amount:
        return f"money: the account has {format_usdc(account.available)}"
    votes = state.shadow.votes.get(place, {}).get(spend.hash, {}).get(state.epoch, ())
    drawn = committee_of(state, state.epoch)
    return f"the committee: {len(votes)} of the {drawn.quorum} signatures needed are here"
