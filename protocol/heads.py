"""The heads of envelopes and batches, read at one look.

Canonical dag-cbor has one encoding for each value and our heads have fixed fields in a fixed order, so all bytes that
a valid head can have are a regular language. What matches is valid, to the last byte, and needs no decoder. What does
not match is for the decoder to accept or to refuse, with its reasons (protocol/envelope.py, protocol/batch.py): these
patterns only ever save time. tests/protocol/test_heads.py holds the two against each other.
"""

import re
from typing import Final

from swarmd.protocol import limits
from swarmd.protocol.kinds import KINDS, WORK_ID

# An integer has the shortest of its five forms.
_UINT = rb"([\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00).{2}|\x1a(?!\x00{2}).{4}|\x1b(?!\x00{4}).{8})"
_DID = rb"(did:key:z[1-9A-HJ-NP-Za-km-z]{47})"
_CID = rb"\x01[\x55\x70\x71]\x12\x20.{32}"
_LINK = rb"\xd8\x2a\x58\x25\x00" + _CID
LINK_BYTES: Final = 41
CID_AT: Final = 5  # in a link
_MAX_REFS = bytes([limits.MAX_REFS])
_VERSION = bytes([limits.PROTOCOL_VERSION])
_KINDS = b"|".join(re.escape(bytes([0x60 + len(kind)])) + kind.encode() for kind in KINDS)

# Its groups: eval, kind (behind a byte of length), head of refs, refs, epoch, trace, ts_ns, policy, sender, thread,
# lamport. The payload comes after it.
match_envelope: Final = re.compile(
    b"".join(
        (
            rb"\xac\x61v" + _VERSION,
            rb"\x64eval\x58\x20(.{32})",
            rb"\x64kind(" + _KINDS + rb")",
            rb"\x64refs([\x80-\x97]|\x98[\x18-" + re.escape(_MAX_REFS) + rb"])((?:" + _LINK + rb")*)",
            rb"\x65epoch" + _UINT,
            rb"\x65trace(?:\x60|\x78\x37(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}))",
            rb"\x65ts_ns" + _UINT,
            rb"\x66policy\x58\x20(.{32})",
            rb"\x66sender\x78\x38" + _DID,
            rb"\x66thread\x78\x25(" + WORK_ID.encode() + rb")",
            rb"\x67lamport" + _UINT,
            rb"\x67payload",
        )
    ),
    re.DOTALL,
).match

# Its groups: seq, prev, root, count, epoch, author, bucket. Nothing comes after it.
match_batch: Final = re.compile(
    b"".join(
        (
            rb"\xa8\x61v" + _VERSION,
            rb"\x63seq" + _UINT,
            rb"\x64prev\x58\x20(.{32})",
            rb"\x64root\x58\x20(.{32})",
            rb"\x65count" + _UINT,
            rb"\x65epoch" + _UINT,
            rb"\x66author\x78\x38" + _DID,
            rb"\x66bucket" + _UINT,
        )
    ),
    re.DOTALL,
).fullmatch


def uint(raw: bytes) -> int:
    """The integer of a matched group."""
    return raw[0] if len(raw) == 1 else int.from_bytes(raw[1:], "big")
