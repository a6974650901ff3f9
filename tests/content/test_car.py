"""CAR files: written as everybody reads them, and nothing of a bad one is believed."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.content.car import MAX_ROOTS, car_block, car_header, read_car
from swarmd.protocol.cbor import encode
from swarmd.protocol.cids import DAG_CBOR, cid_of, raw_cid
from swarmd.protocol.faults import RemoteFault
from swarmd.protocol.limits import MAX_BLOCK_BYTES

BLOCKS = [(raw_cid(data), data) for data in (b"", b"a", b"b" * 300, bytes(MAX_BLOCK_BYTES))]
# carv1-basic of https://ipld.io/specs/transport/car/fixture/carv1-basic/: two roots, of which the header is this.
SPEC_HEADER = bytes.fromhex(
    "63a265726f6f747382d82a58250001711220f88bc853804cf294fe417e4fa83028689fcdb1b1592c5102e1474dbc200fab8b"
    "d82a5825000171122069ea0740f9807a28f4d932c62e7c1c83be055e55072c90266ab3e79df63a365b6776657273696f6e01"
)


def car(*blocks: tuple[bytes, bytes], roots: tuple[bytes, ...] = ()) -> bytes:
    return car_header(roots) + b"".join(car_block(*block) for block in blocks)


def refused(data: bytes) -> str:
    with pytest.raises(RemoteFault) as caught:
        list(read_car(io.BytesIO(data)).blocks)
    return caught.value.code


class Trickle(io.BytesIO):
    """A stream that hands over less than it is asked for."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 7))


def test_what_is_written_is_read() -> None:
    roots = (BLOCKS[1][0], BLOCKS[2][0])
    for stream in (io.BytesIO(car(*BLOCKS, roots=roots)), Trickle(car(*BLOCKS[:3], roots=roots))):
        found = read_car(stream)
        assert tuple(found.roots) == roots
        assert list(found.blocks) == (BLOCKS if not isinstance(stream, Trickle) else BLOCKS[:3])


def test_the_header_is_that_of_the_specification() -> None:
    roots = read_car(io.BytesIO(SPEC_HEADER)).roots
    assert len(roots) == 2 and car_header(roots) == SPEC_HEADER


def test_a_version_2_is_read_without_its_index() -> None:
    inner = car(*BLOCKS[:3], roots=(BLOCKS[0][0],))
    for padding in (0, 5):
        offset = 11 + 40 + padding
        header = bytes(16) + b"".join(
            number.to_bytes(8, "little") for number in (offset, len(inner), offset + len(inner))
        )
        data = bytes.fromhex("0aa16776657273696f6e02") + header + bytes(padding) + inner + b"an index"
        found = read_car(io.BytesIO(data))
        assert list(found.blocks) == BLOCKS[:3] and list(found.roots) == [BLOCKS[0][0]]
    assert refused(bytes.fromhex("0aa16776657273696f6e02") + bytes(40)) == "bad-car"
    assert refused(bytes.fromhex("0aa16776657273696f6e02") + b"\xff" * 40) == "bad-car"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "truncated-car"),
        (b"\x00", "bad-car"),
        (b"\xff" * 12, "bad-car"),
        (b"\xff\xff\xff\x7f", "bad-car"),
        (b"\x05hello", "bad-car"),
        (b"\x01\xa0", "bad-car"),
        (b"\x11" + encode({"roots": 1, "version": 1}) + b"x", "bad-car"),
        (car() + b"\x05hello", "bad-cid"),
        (car() + b"\xff\xff\xff\x7f", "block-too-big"),
        (car((raw_cid(b"a"), b"b")), "cid-mismatch"),
        (car((b"\x01\x55\x13\x20" + bytes(32), b"")), "cid-hash"),
        (car((b"\x01\x55\x00\x04hide" + bytes(28), b"")), "cid-identity"),
        (car((raw_cid(bytes(MAX_BLOCK_BYTES + 1)), bytes(MAX_BLOCK_BYTES + 1))), "block-too-big"),
        (car_header([raw_cid(b"")] * (MAX_ROOTS + 1)), "bad-car"),
    ],
)
def test_what_is_no_car_is_refused_with_the_reason(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_a_truncated_car_says_so_wherever_it_ends() -> None:
    whole = car((cid_of(DAG_CBOR, b"\xa0"), b"\xa0"), BLOCKS[2], roots=(BLOCKS[2][0],))
    between = {len(car(roots=(BLOCKS[2][0],))), len(whole) - len(car_block(*BLOCKS[2]))}
    for end in range(len(whole)):
        if end in between:  # it ends where a block could begin: whether one is lacking, its reader finds out
            list(read_car(io.BytesIO(whole[:end])).blocks)
        else:
            assert refused(whole[:end]) == "truncated-car"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        list(read_car(io.BytesIO(data)).blocks)
    except RemoteFault:
        pass
