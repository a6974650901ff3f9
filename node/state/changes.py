"""Automerge changes made by hand: `put(ROOT, key, bytes)`, n times, byte for byte as the library encodes it.

Every node derives the same change from the same batch, so documents of different nodes merge, and no byte of a peer
is ever given to Automerge (docs/state.md says why that matters). The format: https://automerge.org/automerge-binary-format-spec/
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")

_MAGIC = b"\x85\x6f\x4a\x83"
_CHANGE_CHUNK = b"\x01"
_SYNC_MESSAGE = b"\x42"
# Columns: key string, insert, action, value metadata, value, predecessor count.
_KEY, _INSERT, _ACTION, _VALUE_META, _VALUE, _PRED = b"\x15", b"\x34", b"\x42", b"\x56", b"\x57", b"\x70"
_PUT, _NO_PREDECESSORS = b"\x01", b"\x00"
_BYTES = 7
ACTOR_BYTES = 16


@dataclass(frozen=True, slots=True)
class Change:
    """An encoded change; `hash` names it, `next_op` is the first operation number after it."""

    raw: bytes
    hash: bytes
    next_op: int


# Most numbers: of operations, lengths.
_SMALL = tuple(
    bytes((number,)) if number <= 0x7F else bytes((number & 0x7F | 0x80, number >> 7))
    for number in range(1 << 14)
)


def uleb(number: int) -> bytes:
    """Unsigned LEB128."""
    if number < 1 << 14:
        return _SMALL[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def sleb(number: int) -> bytes:
    """Signed LEB128."""
    if -64 <= number < 64:
        return bytes((number & 0x7F,))
    out = bytearray()
    while not -64 <= number < 64:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number & 0x7F)
    return bytes(out)


def _runs(values: Sequence[T], one: Callable[[T], bytes]) -> bytes:
    """Run-length encoding as Automerge has it: (n, value) for n > 1 equal ones, (-n, values) for n different ones."""
    out, different = bytearray(), []
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at]:
            end += 1
        if end - at == 1:
            different.append(one(values[at]))
        else:
            _flush(out, different)
            out += sleb(end - at) + one(values[at])
        at = end
    _flush(out, different)
    return bytes(out)


def _flush(out: bytearray, different: list[bytes]) -> None:
    if different:
        out += sleb(-len(different)) + b"".join(different)
        different.clear()


def _text(text: str) -> bytes:
    raw = text.encode()
    return uleb(len(raw)) + raw


def make_change(
    actor: bytes, seq: int, first_op: int, prev: bytes | None, puts: Sequence[tuple[str, bytes]]
) -> Change:
    """The change number `seq` (from 1) of `actor` (16 bytes) after its change `prev`: at least one put, keys new.

    `first_op` (from 1) is the number of its first operation: one more than its actor's last.
    """
    if len(puts) == 1 and puts[0][1] and len(actor) == ACTOR_BYTES:
        body = _body_of_one(actor, seq, first_op, prev, *puts[0])
    else:
        body = _body_of_many(actor, seq, first_op, prev, puts)
    chunk = _CHANGE_CHUNK + uleb(len(body)) + body
    digest = sha256(chunk).digest()
    return Change(_MAGIC + digest[:4] + chunk, digest, first_op + len(puts))


# Of a change with one put. All columns are there, and all but key and value have lengths that are known.
_ONE_ACTOR = bytes((ACTOR_BYTES,))
_ONE_COLUMNS = b"\x00\x00\x00\x06" + _KEY
_ONE_INSERT = _INSERT + b"\x01" + _ACTION + b"\x02" + _VALUE_META
_ONE_PRED = _PRED + b"\x02"
_ONE = sleb(-1)
_ONE_FLAGS = b"\x01" + _ONE + _PUT + _ONE  # insert, action, and where the metadata of the value begin
_ONE_END = _ONE + _NO_PREDECESSORS


def _body_of_one(actor: bytes, seq: int, first_op: int, prev: bytes | None, key: str, value: bytes) -> bytes:
    """As `_body_of_many`, in a quarter of the time: most batches have one envelope."""
    text, meta = key.encode(), uleb(len(value) << 4 | _BYTES)
    head = uleb(len(text))
    return b"".join(
        (
            b"\x00" if prev is None else b"\x01" + prev,
            _ONE_ACTOR,
            actor,
            uleb(seq),
            uleb(first_op),
            _ONE_COLUMNS,
            uleb(1 + len(head) + len(text)),
            _ONE_INSERT,
            uleb(1 + len(meta)),
            _VALUE,
            uleb(len(value)),
            _ONE_PRED,
            _ONE,
            head,
            text,
            _ONE_FLAGS,
            meta,
            value,
            _ONE_END,
        )
    )


def _body_of_many(
    actor: bytes, seq: int, first_op: int, prev: bytes | None, puts: Sequence[tuple[str, bytes]]
) -> bytes:
    values = [value for _, value in puts]
    same = sleb(len(puts)) if len(puts) > 1 else sleb(-1)  # the head of a run of that many equal ones
    columns = (
        (_KEY, sleb(-len(puts)) + b"".join([_text(key) for key, _ in puts])),  # all different
        (_INSERT, uleb(len(puts))),  # that many times false
        (_ACTION, same + _PUT),
        (_VALUE_META, _runs([len(value) << 4 | _BYTES for value in values], uleb)),
        (_VALUE, b"".join(values)),
        (_PRED, same + _NO_PREDECESSORS),
    )
    there = [(number, column) for number, column in columns if column]
    return b"".join(
        (
            b"\x00" if prev is None else b"\x01" + prev,
            uleb(len(actor)) + actor,
            uleb(seq),
            uleb(first_op),
            b"\x00\x00\x00",  # no time, no message, no other actors
            uleb(len(there)),
            *[number + uleb(len(column)) for number, column in there],
            *[column for _, column in there],
        )
    )


def sync_message(changes: Iterable[bytes]) -> bytes:
    """A sync message that only brings changes: the Python build has no other way to apply them."""
    raws = list(changes)
    return b"".join(
        (_SYNC_MESSAGE, b"\x00\x00\x00", uleb(len(raws)), *(uleb(len(raw)) + raw for raw in raws))
    )
