"""The request for blocks and its answer, as CBOR bodies on the transport's request stream.

Request `{"t": "blocks", "cids": [CID...]}`, answer `{"t": "blocks", "blocks": {CID: bytes}, "missing": [CID...]}`.
CIDs are binary. A CID in neither part of the answer did not fit: ask again. The daemon's dispatcher routes a
request by its "t".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cbor2
from swarmd.node.ports import BlockStore
from swarmd.protocol.cids import CID_BYTES, is_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

REQUEST_TYPE: Final = "blocks"
MAX_CIDS_PER_REQUEST: Final = 256
MAX_ANSWER_BLOCK_BYTES: Final = 4 * 1_048_576
_MAX_REQUEST_BYTES: Final = 64 + MAX_CIDS_PER_REQUEST * (CID_BYTES + 4)
# Every block has a key and a header besides its bytes, and every missing CID its own.
_MAX_ANSWER_BYTES: Final = MAX_ANSWER_BLOCK_BYTES + _MAX_REQUEST_BYTES + MAX_CIDS_PER_REQUEST * 8
_MAX_NESTING: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A peer's answer, well-formed. Unless `verified`, do the bytes hash to the CIDs?"""

    blocks: dict[bytes, bytes]
    missing: frozenset[bytes]
    verified: bool = False


def content_request(cids: Sequence[bytes]) -> bytes:
    """The body that asks a peer for `cids` (1 to MAX_CIDS_PER_REQUEST binary CIDs)."""
    if not 0 < len(cids) <= MAX_CIDS_PER_REQUEST or not all(map(is_cid, cids)):
        raise LocalFault(
            "bad-content-request",
            f"{len(cids)} CIDs",
            fix=f"ask for 1 to {MAX_CIDS_PER_REQUEST} binary CIDs at once",
        )
    return _encode({"t": REQUEST_TYPE, "cids": list(cids)})


def serve(store: BlockStore, body: bytes) -> bytes:
    """The answer to a `content_request` body. RemoteFault `bad-content-request` for any other bytes.

    At most MAX_ANSWER_BLOCK_BYTES of blocks, in the order asked; a corrupt row counts as missing.
    """
    message = _decode(body, _MAX_REQUEST_BYTES, "bad-content-request")
    cids = message.get("cids")
    if len(message) != 2 or not isinstance(cids, list) or not 0 < len(cids) <= MAX_CIDS_PER_REQUEST:
        raise RemoteFault("bad-content-request", "not a list of CIDs")
    if not all(map(is_cid, cids)):
        raise RemoteFault("bad-content-request", "not binary sha2-256 CIDv1s")
    blocks: dict[bytes, bytes] = {}
    absent: list[bytes] = []
    room = MAX_ANSWER_BLOCK_BYTES
    for cid in dict.fromkeys(cids):
        block = store.get(cid)
        if block is None:
            absent.append(cid)
        elif len(block) <= room:
            blocks[cid] = block
            room -= len(block)
        else:
            break
    return _encode({"t": REQUEST_TYPE, "blocks": blocks, "missing": absent})


def decode_answer(body: bytes, asked: Iterable[bytes]) -> Answer:
    """The answer in `body`; RemoteFault `bad-content-answer` unless it speaks of `asked` CIDs only."""
    message = _decode(body, _MAX_ANSWER_BYTES, "bad-content-answer")
    blocks, absent = message.get("blocks"), message.get("missing")
    if len(message) != 3 or not isinstance(blocks, dict) or not isinstance(absent, list):
        raise RemoteFault("bad-content-answer", "not blocks and missing CIDs")
    wanted = set(asked)
    # Types first: an unhashable item must not reach the set.
    if not all(map(is_cid, absent)) or not wanted.issuperset(absent) or not wanted.issuperset(blocks):
        raise RemoteFault("bad-content-answer", "names a CID that was not asked for")
    if not all(type(block) is bytes and len(block) <= MAX_BLOCK_BYTES for block in blocks.values()):
        raise RemoteFault("bad-content-answer", "a block is not bytes, or too big")
    if not blocks.keys().isdisjoint(absent):
        raise RemoteFault("bad-content-answer", "a block both here and missing")
    return Answer(blocks, frozenset(absent))


def _encode(message: dict[str, Any]) -> bytes:
    encoded: bytes = cbor2.dumps(message, canonical=True)
    return encoded


def _decode(body: bytes, max_bytes: int, code: str) -> dict[str, Any]:
    """A canonical CBOR map with our "t". Canonical is checked by encoding it again: cbor2 ignores what follows
    the first item, and one message must have one encoding."""
    if len(body) > max_bytes:
        raise RemoteFault(code, f"{len(body)} bytes; at most {max_bytes} are taken")
    try:
        message = cbor2.loads(
            body, max_depth=_MAX_NESTING, allow_indefinite=False, allow_duplicate_keys=False
        )
        canonical = isinstance(message, dict) and _encode(message) == body
    except Exception as error:
        # The isolation boundary to a peer's bytes: besides CBORError, tags decode to types (dates, numbers,
        # addresses) whose constructors and encoders raise what they like. There is no await in here.
        raise RemoteFault(code, f"not CBOR: {type(error).__name__}") from None
    if not canonical or message.get("t") != REQUEST_TYPE:
        raise RemoteFault(code, 'not a canonical map with "t": "blocks"')
    decoded: dict[str, Any] = message
    return decoded
