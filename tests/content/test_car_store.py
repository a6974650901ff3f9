"""DAGs of a store out into CAR files and in again, and files that must not get in."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.adding import Adder
from swarmd.node.content.car import import_car, read_car, write_car
from swarmd.node.content.dagpb import varint
from swarmd.node.content.repo import ContentRepo
from swarmd.node.content.unixfs import import_bytes, read_file
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.cids import cid_text, dag_cbor_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault

MakeRepo = Callable[..., ContentRepo]


def section(cid: bytes, block: bytes) -> bytes:
    return varint(len(cid) + len(block)) + cid + block


def header(*roots: bytes, version: int = 1) -> bytes:
    head = encode({"roots": [Link(root) for root in roots], "version": version})
    return varint(len(head)) + head


LEAF = raw_cid(b"leaf")
GOOD = header(LEAF) + section(LEAF, b"leaf")


def exported(repo: ContentRepo, *roots: bytes) -> bytes:
    out = BytesIO()
    blocks, size = write_car(roots, out, repo.get)
    assert size == len(out.getvalue()) and blocks == len(list(read_car(BytesIO(out.getvalue())).blocks))
    return out.getvalue()


def test_a_dag_goes_out_and_comes_in_whole(make_repo: MakeRepo, tmp_path: Path) -> None:
    one, two = make_repo("one"), make_repo("two")
    data = os.urandom(1_000_000)
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_bytes(data)
    (tmp_path / "d" / "copy").write_bytes(data)
    root = Adder(one.put_group).add(tmp_path / "d").cid
    record = encode({"of": Link(root), "also": [Link(raw_cid(b""))]})
    one.put(dag_cbor_cid(record), record)
    one.put(raw_cid(b""), b"")
    car = exported(one, dag_cbor_cid(record), root)
    assert len(car) < 1_010_000  # `copy` shares its blocks
    assert car == exported(one, dag_cbor_cid(record), root)
    told: list[int] = []
    roots, blocks = import_car(BytesIO(car), two.put_many, told.append)
    assert list(roots) == [dag_cbor_cid(record), root] and blocks == two.usage().blocks == len(told)
    assert two.pin(dag_cbor_cid(record)).recursive
    assert exported(two, dag_cbor_cid(record), root) == car


def test_the_bytes_are_those_of_the_specification() -> None:
    # The header of the specification's example has this form: two keys, the roots as tag 42.
    assert GOOD.hex() == (
        "3aa265726f6f747381d82a582500" + LEAF.hex() + "6776657273696f6e01" + "28" + LEAF.hex() + "6c656166"
    )


def test_a_block_that_is_missing_ends_an_export(repo: ContentRepo) -> None:
    with repo.batch() as put:
        root = import_bytes(os.urandom(600_000), put).cid
    leaf = next(cid for cid in repo.cids() if cid != root)
    repo.delete(leaf)
    with pytest.raises(LocalFault, match="content-missing"):
        write_car([root], BytesIO(), repo.get)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not a car at all, but text" * 5, "bad-car"),
        (header(LEAF, version=3), "bad-car"),
        (varint(1) + b"\xa0", "bad-car"),
        (varint(len(b := encode({"roots": [b"x"], "version": 1}))) + b, "bad-car"),
        (GOOD[:-1], "truncated-car"),
        (GOOD[: len(header(LEAF)) + 20], "truncated-car"),
        (GOOD[: len(header(LEAF)) - 3], "truncated-car"),
        (GOOD + b"\x80", "truncated-car"),
        (header(LEAF) + section(LEAF, b"liar"), "cid-mismatch"),
        (header(LEAF) + section(raw_cid(bytes(1_048_577)), bytes(1_048_577)), "block-too-big"),
        (header(LEAF) + varint(1 << 40), "block-too-big"),
        (header(LEAF) + section(b"\x12\x20" + bytes(32), b"x"), "cid-v0"),
        (header(LEAF) + section(b"\x01\x55\x00\x04leaf", b"leaf"), "cid-identity"),
        (header(LEAF) + section(b"\x01\x55\x00\x81\x01" + bytes(129), bytes(129)), "cid-identity"),
        (header(LEAF) + section(b"\x01\x55\x13\x40" + bytes(64), b"x"), "cid-hash"),
        (header(LEAF) + section(b"\x01\xa9\x02\x12\x20" + bytes(32), b"x"), "cid-codec"),
        (header(LEAF) + section(b"\x01", b""), "bad-cid"),
    ],
)
def test_wrong_files_are_refused_with_the_reason(repo: ContentRepo, data: bytes, code: str) -> None:
    with pytest.raises(RemoteFault) as caught:
        import_car(BytesIO(data), repo.put_many)
    assert caught.value.code == code


def test_a_car_that_lacks_blocks_is_noticed_by_the_pin(make_repo: MakeRepo) -> None:
    one, two = make_repo("one"), make_repo("two")
    with one.batch() as put:
        root = import_bytes(os.urandom(600_000), put).cid
    car = exported(one, root)
    import_car(BytesIO(car[: len(car) - (600_000 - 2 * 262_144) - 39]), two.put_many)
    with pytest.raises(LocalFault, match="content-missing"):
        two.pin(root)


class Trickle:
    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def read(self, size: int, /) -> bytes:
        part, self._data = self._data[: min(size, self._step)], self._data[min(size, self._step) :]
        return part


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=12, unique=True), st.integers(1, 200))
def test_any_blocks_come_back_however_the_stream_is_cut(blocks: list[bytes], step: int) -> None:
    data = header() + b"".join(section(raw_cid(block), block) for block in blocks)
    assert [block for _, block in read_car(Trickle(data, step)).blocks] == blocks


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.integers(0, len(GOOD)))
def test_only_remote_faults_come_out_of_junk(junk: bytes, at: int) -> None:
    for data in (junk, GOOD[:at] + junk):
        try:
            list(read_car(BytesIO(data)).blocks)
        except RemoteFault:
            pass


def test_a_large_file_streams_through_a_car(make_repo: MakeRepo, tmp_path: Path) -> None:
    one, two = make_repo("one", pack_bytes=1 << 28), make_repo("two", pack_bytes=1 << 28)
    data = os.urandom(20_000_000)
    root = Adder(one.put_group).add_stream(BytesIO(data)).cid
    with open(tmp_path / "x.car", "wb") as out:
        write_car([root], out, one.get)
    with open(tmp_path / "x.car", "rb") as car:
        import_car(car, two.put_many)
    assert b"".join(read_file(root, two.get)) == data, cid_text(root)
