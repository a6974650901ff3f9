"""Money on the chain, one call at a time: balances, stakes, deposits, through the outbox and thus each exactly once.

Blocking; the chain's worker thread only. An operation takes the caller's key: asked twice with one key it is done once.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swarmd.node.chain.anchoring import AnchorMachine, pack_call
from swarmd.node.chain.client import Reverted
from swarmd.node.chain.codec import checksum
from swarmd.node.chain.requests import CALL, SETTLED
from swarmd.protocol.amounts import format_usdc
from swarmd.protocol.faults import LocalFault

TOKEN, SETTLEMENT, CHANNELS, ESCROW, STAKES = (
    "TestUSD",
    "Settlement",
    "PaymentChannel",
    "Escrow",
    "StakeRegistry",
)
CALL_GAS = 250_000
WITHDRAWAL_DELAY_S = 86_400
UNBONDING_S = 7 * 86_400
FEE_BPS = 50  # 0.5 %
MAX_UINT256 = (1 << 256) - 1


def parse_address(text: str) -> bytes:
    """20 bytes of 0x text; a mixed-case one must have its checksum right (EIP-55). LocalFault `bad-address`."""
    digits = text.removeprefix("0x")
    fix = "an address is 0x and 40 hex digits"
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != 20 or len(digits) != 40 or not text.startswith("0x"):
        raise LocalFault("bad-address", text[:80], fix=fix)
    if digits not in (digits.lower(), digits.upper()) and checksum(found) != text:
        raise LocalFault("bad-address", f"{text} is misspelt: its checksum is wrong", fix="copy it again")
    return found


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a call: `state` as the outbox has it, "final" once it is done for good."""

    state: str
    tx_hash: bytes | None

    def document(self) -> dict[str, Any]:
        return {"state": self.state, "tx": None if self.tx_hash is None else f"0x{self.tx_hash.hex()}"}


class Desk:
    """The contracts of a chain, called by the machine's account."""

    def __init__(self, machine: AnchorMachine) -> None:
        self.machine = machine
        self.account = machine.signer.account

    # Contracts

    def contract(self, name: str) -> bytes:
        """Where `name` lies: as the operator says, else our own deployment, made at once on a chain of our own.

        LocalFault `no-contract` elsewhere, `deploying` while it is under way.
        """
        named = self.machine.terms.contracts.get(name)
        if named is not None:
            return named
        if not self.machine.terms.is_ours_alone and not self.machine.is_installed(
            name, *self._arguments(name)
        ):
            return self.machine.address_of(name)
        found = self.machine.install(name, *self._arguments(name))
        if found is None:
            raise LocalFault("deploying", f"{name} waits for its confirmations", fix="ask again in a minute")
        return found

    def deploy(self, name: str) -> bytes | None:
        """Deploy `name` from our account, with what it depends on; None while that is under way."""
        if name not in (TOKEN, *self.machine.terms.contracts) and self.deploy(TOKEN) is None:
            return None
        return self.machine.install(name, *self._arguments(name))

    def _arguments(self, name: str) -> tuple[object, ...]:
        if name == TOKEN:
            return (self.account,)
        token = self.contract(TOKEN)
        return {
            SETTLEMENT: (token, WITHDRAWAL_DELAY_S),
            CHANNELS: (token,),
            ESCROW: (token, self.account, FEE_BPS),
            STAKES: (token, self.account, UNBONDING_S, [self.account], 1),
        }[name]

    def view(self, name: str, function: str, *arguments: object) -> tuple[Any, ...]:
        return self.machine.view(name, self.contract(name), function, *arguments)

    # Calls

    def send(
        self,
        key: str,
        name: str,
        function: str,
        *arguments: object,
        takes: int = 0,
        gas: int = CALL_GAS,
    ) -> Sent:
        """Queue a call once for `key`, and on a chain of our own see it done. It takes so many tokens of ours.

        Raises LocalFault `refused-on-chain` with the contract's reason, before anything is sent where it can be known.
        """
        address = self.contract(name)
        data = self.machine.codec(name).encode_call(function, *arguments)
        request_key = sha256(f"{name}.{function}\0{key}".encode()).digest()
        if self.machine.outbox.get(CALL, request_key) is None:
            if takes:
                self.allow(name, takes)
            try:
                self.machine.client.call(address, data, sender=self.account)
            except Reverted as error:
                raise _refused(function, self.machine.error_name(error.data)) from None
        self.machine.outbox.submit(CALL, request_key, pack_call(address, data, gas))
        if self.machine.terms.is_ours_alone:
            while True:
                refusal = self.machine.tick()
                request = self.machine.outbox.get(CALL, request_key)
                if refusal or (request is not None and request.state in SETTLED):
                    break
        request = self.machine.outbox.get(CALL, request_key)
        if request is None:
            raise LocalFault("refused-on-chain", f"{function} is not in the outbox", fix="ask again")
        if request.state == "failed":
            raise _refused(function, request.reason)
        return Sent(request.label, request.tx_hash)

    def allow(self, spender: str, amount: int) -> None:
        """Let the contract `spender` take `amount` minor units of ours, unless it may already."""
        address = self.contract(spender)
        allowed, owned = (
            self.view(TOKEN, "allowance", self.account, address)[0],
            self.view(TOKEN, "balanceOf", self.account)[0],
        )
        if owned < amount:
            text = f"{format_usdc(amount)} USDC are needed, the account on the chain has {format_usdc(owned)}"
            raise LocalFault("not-enough-tokens", text, fix="swarmd wallet fund")
        if allowed >= amount:
            return
        self.send(f"{spender}/{allowed}/{self._approvals()}", TOKEN, "approve", address, MAX_UINT256)
        if not self.machine.terms.is_ours_alone:
            fix = "ask again once that is confirmed (swarmd settle status)"
            raise LocalFault("approving", f"the account now lets {spender} take its tokens", fix=fix)

    def _approvals(self) -> int:
        return self.machine.client.nonce(self.account) if self.machine.terms.is_ours_alone else 0

    # What commands ask for

    def wallet(self) -> dict[str, Any]:
        """Address, gas and tokens; `gas_wei` as text, since JSON numbers end at 2**53."""
        found: dict[str, Any] = {
            "address": checksum(self.account),
            "chain_id": self.machine.client.chain_id,
            "gas_wei": str(self.machine.client.balance(self.account)),
        }
        try:
            found["tokens"] = self.view(TOKEN, "balanceOf", self.account)[0]
            found["token"] = checksum(self.contract(TOKEN))
        except LocalFault as fault:
            found["tokens"], found["token"] = None, fault.code
        return found

    def fund(self, key: str, amount: int, to: bytes | None = None) -> Sent:
        """Mint test tokens. LocalFault `refused-on-chain` where we have not the role."""
        return self.send(key, TOKEN, "mint", to or self.account, amount)

    def deposit(self, key: str, amount: int, account: bytes | None = None) -> Sent:
        """Into the Settlement contract."""
        return self.send(key, SETTLEMENT, "deposit", account or self.account, amount, takes=amount)

    def request_withdrawal(self, key: str, amount: int) -> Sent:
        return self.send(key, SETTLEMENT, "requestWithdrawal", amount)

    def withdraw(self, key: str, to: bytes | None = None) -> Sent:
        return self.send(key, SETTLEMENT, "withdraw", to or self.account)

    def stake(self, key: str, amount: int) -> Sent:
        return self.send(key, STAKES, "stake", self.account, amount, takes=amount)

    def unbond(self, key: str, amount: int) -> Sent:
        return self.send(key, STAKES, "unbond", amount)

    def withdraw_stake(self, key: str) -> Sent:
        return self.send(key, STAKES, "withdraw", self.account)

    def stake_of(self, account: bytes | None = None) -> dict[str, Any]:
        bonded, unbonding, ready_at_s = self.view(STAKES, "stakeOf", account or self.account)
        return {
            "account": checksum(account or self.account),
            "bonded": bonded,
            "unbonding": unbonding,
            "ready_at_s": ready_at_s,
        }


def _refused(function: str, reason: str) -> LocalFault:
    why = reason or "it reverted without a reason"
    return LocalFault(
        "refused-on-chain", f"{function}: {why}", fix="see docs/contracts.md for what it asks for"
    )
