"""Whose account is whose: the bindings of did:key and account that nodes publish in their manifests, checked and kept.

A binding is of one chain and has both signatures (`swarmd.protocol.ledger.binding`). The newest of a node stands; an
older one that is shown again moves nothing. Blocking.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import nacl.bindings
import nacl.exceptions
from swarmd.node.chain.database import Database
from swarmd.node.chain.evm_signatures import recover
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.ledger.binding import Binding, binding_to_map, check_binding

MAX_AHEAD_S = 300

_SCHEMA = """
CREATE TABLE IF NOT EXISTS binding(
    did TEXT PRIMARY KEY, account BLOB NOT NULL, made_at_s INTEGER NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS binding_account ON binding(account);
"""


def verify_ed25519(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        nacl.bindings.crypto_sign_open(signature + data, key)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Bound:
    did: str
    account: bytes
    made_at_s: int


class BindingBook(Database):
    """The bindings for one chain, in the SQLite file `path`."""

    def __init__(self, path: Path, chain_id: int) -> None:
        super().__init__(path, _SCHEMA)
        self.chain_id = chain_id

    def learn(self, did: str, binding: Binding, *, now_s: int) -> bool:
        """Take what `did` published; True if it is news.

        Raises RemoteFault: `foreign-binding` (another's), `other-chain`, `future-dated`, `stale-binding` (an older one
        than is known, shown again), `bad-signature`, `bad-did`.
        """
        if binding.did != did:
            raise RemoteFault("foreign-binding", f"{did} shows a binding of {binding.did}")
        if binding.chain_id != self.chain_id:
            raise RemoteFault("other-chain", f"it is for chain {binding.chain_id}, not {self.chain_id}")
        if binding.made_at_s > now_s + MAX_AHEAD_S:
            raise RemoteFault("future-dated", "a binding from the future")
        known = self.of(did)
        if known is not None and binding.made_at_s <= known.made_at_s:
            if (binding.account, binding.made_at_s) == (known.account, known.made_at_s):
                return False
            raise RemoteFault("stale-binding", f"{did} has said otherwise since")
        check_binding(binding, recover, verify_ed25519)
        record = json.dumps(binding_to_map(binding), default=lambda value: value.hex()).encode()
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO binding VALUES(?,?,?,?)",
                (did, binding.account, binding.made_at_s, record),
            )
        return True

    def of(self, did: str) -> Bound | None:
        row = self._db.execute("SELECT did, account, made_at_s FROM binding WHERE did=?", (did,)).fetchone()
        return None if row is None else Bound(*row)

    def owners(self, account: bytes) -> list[str]:
        """The nodes bound to an account: more than one if an owner has several."""
        rows = self._db.execute("SELECT did FROM binding WHERE account=? ORDER BY did", (account,))
        return [did for (did,) in rows]

    def all(self) -> list[Bound]:
        return [
            Bound(*row)
            for row in self._db.execute("SELECT did, account, made_at_s FROM binding ORDER BY did")
        ]
