"""Payment channels of this host: opened and topped up as payer, vouchers kept as payee, watched for those that are away.

What is signed is on disk before it is given away, so a payer that crashed never signs for less than before; what is
accepted is on disk before it is acknowledged. Blocking; the chain's worker thread only.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from swarmd.node.chain.codec import checksum
from swarmd.node.chain.database import Database
from swarmd.node.chain.desk import CHANNELS, Desk, Sent
from swarmd.node.chain.evm_signatures import recover
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.ledger.channels import (
    Channel,
    Voucher,
    accept,
    channel_domain,
    channel_id,
    next_cumulative,
    voucher_digest,
)

CHALLENGE_S = 86_400
# A voucher that comes so late in a challenge period is not taken: claiming it takes a while.
MARGIN_S = 600

_SCHEMA = """
CREATE TABLE IF NOT EXISTS channel(
    id BLOB PRIMARY KEY, role TEXT NOT NULL, signed INTEGER NOT NULL DEFAULT 0, voucher BLOB
) WITHOUT ROWID;
"""


class Channels(Database):
    """The channels that this host has a part in. role: payer | payee | watch (for a payee that asked us to)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SCHEMA)

    def _row(self, channel: bytes) -> tuple[str, int, Voucher | None]:
        row = self._db.execute("SELECT role, signed, voucher FROM channel WHERE id=?", (channel,)).fetchone()
        if row is None:
            raise LocalFault("no-channel", f"0x{channel.hex()} is not known here", fix="swarmd channel list")
        return row[0], row[1], None if row[2] is None else Voucher.from_bytes(row[2])

    def on_chain(self, desk: Desk, channel: bytes, *, confirmed: bool = False) -> Channel:
        """The channel as the chain has it; `confirmed`: as deep as is final. LocalFault `no-channel`."""
        machine = desk.machine
        address = desk.contract(CHANNELS)
        depth = machine.terms.confirmations if confirmed else 0
        (found,) = machine.view(CHANNELS, address, "channelOf", channel, depth=depth)
        payer, closes_at_s, _, payee, is_closed, deposit, claimed = found
        if int(payer, 16) == 0:
            text = f"0x{channel.hex()} is not on chain{', deep enough to count' if confirmed else ''}"
            raise LocalFault("no-channel", text, fix="check the id, or wait for its confirmations")
        return Channel(
            channel_domain(machine.client.chain_id, address),
            channel,
            bytes.fromhex(payer[2:]),
            bytes.fromhex(payee[2:]),
            deposit,
            claimed,
            closes_at_s,
            is_closed,
        )

    # As payer

    def open(
        self, desk: Desk, payee: bytes, amount: int, salt: bytes, challenge_s: int
    ) -> tuple[bytes, Sent]:
        """Lock `amount` for `payee`; the id, and how far it is. A salt (32 bytes) opens one channel, ever."""
        address = desk.contract(CHANNELS)
        made = channel_id(desk.machine.client.chain_id, address, desk.account, payee, salt)
        sent = desk.send(made.hex(), CHANNELS, "open", payee, salt, amount, challenge_s, takes=amount)
        with self._transaction():
            self._db.execute(
                "INSERT INTO channel(id, role) VALUES(?,'payer') ON CONFLICT DO NOTHING", (made,)
            )
        return made, sent

    def pay(self, desk: Desk, channel: bytes, amount: int) -> Voucher:
        """A voucher for `amount` more. LocalFault as `next_cumulative`, or `not-payer`."""
        role, signed, _ = self._row(channel)
        state = self.on_chain(desk, channel)
        if role != "payer" or state.payer != desk.account:
            raise LocalFault("not-payer", "only the payer signs vouchers", fix="swarmd channel list")
        cumulative = next_cumulative(state, signed, amount)
        with self._transaction():
            self._db.execute("UPDATE channel SET signed=? WHERE id=?", (cumulative, channel))
        signature = desk.machine.signer.sign_digest(voucher_digest(state.domain, channel, cumulative))
        return Voucher(state.domain.chain_id, state.domain.contract, channel, cumulative, signature)

    def top_up(self, desk: Desk, key: str, channel: bytes, amount: int) -> Sent:
        return desk.send(key, CHANNELS, "topUp", channel, amount, takes=amount)

    # As payee, or for one

    def receive(self, desk: Desk, voucher: Voucher, *, now_s: int, watch: bool = False) -> int:
        """Keep a voucher; returns how much it pays. On disk when it returns.

        Only what is confirmed on chain counts as a deposit. Raises RemoteFault as `accept`, `not-payee`; LocalFault
        `no-channel`.
        """
        state = self.on_chain(desk, voucher.channel, confirmed=True)
        newest = self.on_chain(desk, voucher.channel)
        state = replace(newest, deposit=min(state.deposit, newest.deposit), closes_at_s=newest.closes_at_s)
        if not watch and state.payee != desk.account:
            raise RemoteFault("not-payee", f"the channel pays {checksum(state.payee)}")
        row = self._db.execute("SELECT voucher FROM channel WHERE id=?", (voucher.channel,)).fetchone()
        best = None if row is None or row[0] is None else Voucher.from_bytes(row[0])
        _, paid = accept(replace(state, best=best), voucher, recover, now_s=now_s, margin_s=MARGIN_S)
        with self._transaction():
            self._db.execute(
                "INSERT INTO channel(id, role, voucher) VALUES(?,?,?) "
                "ON CONFLICT(id) DO UPDATE SET voucher=excluded.voucher",
                (voucher.channel, "watch" if watch else "payee", voucher.to_bytes()),
            )
        return paid

    def claim(self, desk: Desk, channel: bytes) -> Sent:
        """Bring the best voucher, and keep the channel open. LocalFault `nothing-to-claim`."""
        _, _, best = self._row(channel)
        state = replace(self.on_chain(desk, channel), best=best)
        if best is None or state.unclaimed == 0:
            raise LocalFault(
                "nothing-to-claim", "no voucher is worth more than was paid", fix="none is needed"
            )
        key = f"{channel.hex()}/{best.cumulative}"
        return desk.send(key, CHANNELS, "claim", channel, best.cumulative, best.signature)

    # Ending

    def end(self, desk: Desk, channel: bytes, *, now_s: int) -> tuple[str, Sent]:
        """The next step of closing it: what was asked of the chain, and how far that is.

        The payee closes at once with its best voucher; the payer starts the challenge period, then finishes.
        """
        _, _, best = self._row(channel)
        state = replace(self.on_chain(desk, channel), best=best)
        if state.is_closed:
            raise LocalFault("channel-closed", "it is closed already", fix="none is needed")
        if state.payee == desk.account:
            cumulative = state.paid
            signature = best.signature if best is not None and cumulative > state.claimed else b""
            sent = desk.send(f"{channel.hex()}/close", CHANNELS, "close", channel, cumulative, signature)
            return "close", sent
        if state.payer != desk.account:
            raise LocalFault("not-party", "only payer and payee close a channel", fix="swarmd channel list")
        if not state.closes_at_s:
            return "startClose", desk.send(f"{channel.hex()}/start", CHANNELS, "startClose", channel)
        if now_s < state.closes_at_s:
            text = f"the payee has {state.closes_at_s - now_s} s left to bring its newest voucher"
            raise LocalFault("challenge-runs", text, fix="ask again after that")
        return "finish", desk.send(f"{channel.hex()}/finish", CHANNELS, "finish", channel)

    def watch(self, desk: Desk) -> list[bytes]:
        """The watchtower's round: of channels that are closing, bring the best voucher. Returns those it was brought for.

        Anybody may bring a voucher, and it pays the payee alone: a watchtower needs the voucher and gas, and no right.
        """
        brought = []
        rows = self._db.execute(
            "SELECT id FROM channel WHERE voucher IS NOT NULL AND role!='payer'"
        ).fetchall()
        for (channel,) in rows:
            state = replace(self.on_chain(desk, channel), best=self._row(channel)[2])
            if state.state == "closing" and state.unclaimed > 0:
                self.claim(desk, channel)
                brought.append(channel)
        return brought

    def listing(self, desk: Desk) -> list[dict[str, Any]]:
        """Amounts in minor units."""
        found = []
        for channel, role, signed in self._db.execute(
            "SELECT id, role, signed FROM channel ORDER BY id"
        ).fetchall():
            entry: dict[str, Any] = {"channel": f"0x{channel.hex()}", "role": role}
            try:
                state = replace(self.on_chain(desk, channel), best=self._row(channel)[2])
            except LocalFault:
                found.append({**entry, "state": "not on chain yet"})
                continue
            found.append(
                {
                    **entry,
                    "state": state.state,
                    "payer": checksum(state.payer),
                    "payee": checksum(state.payee),
                    "deposit": state.deposit,
                    "claimed": state.claimed,
                    "paid": max(state.paid, signed),
                    "closes_at_s": state.closes_at_s,
                }
            )
        return found
