"""The names of escrows and of their money."""

from base64 import b32encode
from hashlib import sha256

from swarmd.protocol.cbor import encode
from swarmd.protocol.envelope import Envelope


def escrow_thread(buyer: str, nonce: bytes) -> str:
    """The thread of an escrow: its buyer's, who chose 16 bytes that it used for no other."""
    digest = sha256(b"swarmd/escrow/1\0" + buyer.encode() + b"\0" + nonce).digest()
    return "escrow-" + b32encode(digest[:20]).decode("ascii").lower()


def purse_of(fund: Envelope) -> str:
    """The name of the escrow of the ledger that a FUND locks: of one entry of the buyer's account, for one acceptance."""
    payload = fund.payload
    entry = [payload["fund"]["seq"], payload["fund"]["prev"], payload["amount"]]
    return purse_name(fund.sender, entry, fund.thread, fund.refs)


def purse_name(buyer: str, entry: list[object], thread: str, refs: tuple[bytes, ...]) -> str:
    """`entry`: seq, prev and amount in minor units."""
    body = encode([buyer, entry, thread, [bytes(ref) for ref in refs]])
    return "purse-" + b32encode(sha256(b"swarmd/purse/1\0" + body).digest()[:20]).decode("ascii").lower()
