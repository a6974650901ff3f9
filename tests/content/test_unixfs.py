"""UnixFS: kubo's CIDs, streaming at constant memory, and no DAG of a peer's that costs more than it is."""

import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from swarmd.node.content.dagpb import MAX_LINKS, decode_file_node, encode_file_node
from swarmd.node.content.store import SqliteBlockStore
from swarmd.node.content.unixfs import (
    CHUNK_BYTES,
    DagWalk,
    import_bytes,
    import_file,
    missing,
    read_file,
)
from swarmd.protocol.cids import DAG_CBOR, DAG_PB, cid_of, cid_text, dag_cbor_cid, raw_cid
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES

VECTORS = json.loads((Path(__file__).parent / "vectors" / "unixfs.json").read_text())["cases"]
Blocks = dict[bytes, bytes]


def add(blocks: Blocks, codec: int, block: bytes) -> bytes:
    cid = cid_of(codec, block)
    blocks[cid] = block
    return cid


def node(blocks: Blocks, children: list[tuple[bytes, int]], size: int | None = None) -> bytes:
    links = [(cid, part, part) for cid, part in children]
    return add(
        blocks,
        DAG_PB,
        encode_file_node(links, sum(part for _, part in children) if size is None else size),
    )


@pytest.mark.parametrize(
    "case", VECTORS, ids=lambda c: f"{c['size']}-{c['chunk_bytes']}-{c['links_per_node']}"
)
def test_cids_of_the_js_importer(case: dict[str, object], make_pattern: Callable[[int], bytes]) -> None:
    size, chunk, width = (int(str(case[key])) for key in ("size", "chunk_bytes", "links_per_node"))
    data = make_pattern(size)
    blocks: Blocks = {}
    root = import_file(BytesIO(data), blocks.__setitem__, chunk_bytes=chunk, links_per_node=width)
    assert (cid_text(root.cid), root.size) == (case["cid"], size)
    assert b"".join(read_file(root.cid, blocks.get)) == data
    assert missing(root.cid, blocks.get) == []


def test_vectors_cover_the_width_boundaries() -> None:
    chunks = {-(-case["size"] // case["chunk_bytes"]) for case in VECTORS}
    assert {0, 1, 2, 173, 174, 175, 176, 348, 349, 174 * 174, 174 * 174 + 1} <= chunks


def test_cids_that_everybody_knows() -> None:
    blocks: Blocks = {}
    assert cid_text(import_bytes(b"", blocks.__setitem__).cid) == (
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    )
    hello = import_bytes(b"hello world", blocks.__setitem__).cid
    assert hello.hex() == "01551220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    assert list(read_file(hello, blocks.get)) == [b"hello world"]


class Trickle:
    """A stream that hands over less than it is asked for, as pipes do."""

    def __init__(self, data: bytes, step: int) -> None:
        self._rest, self._step = data, step

    def read(self, size: int, /) -> bytes:
        part, self._rest = (
            self._rest[: min(size, self._step)],
            self._rest[min(size, self._step) :],
        )
        return part


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=900), st.integers(1, 40), st.integers(2, 5), st.integers(1, 70))
def test_any_layout_reads_back_and_short_reads_change_nothing(
    data: bytes, chunk: int, width: int, step: int
) -> None:
    blocks: Blocks = {}
    root = import_file(BytesIO(data), blocks.__setitem__, chunk_bytes=chunk, links_per_node=width)
    again = import_file(Trickle(data, step), blocks.__setitem__, chunk_bytes=chunk, links_per_node=width)
    assert root == again
    if len(data) <= chunk * width**7:
        assert b"".join(read_file(root.cid, blocks.get)) == data
        assert all(read_file(root.cid, blocks.get))


class Zeros:
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int, /) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


def test_a_large_file_streams_both_ways_at_constant_memory(store: SqliteBlockStore) -> None:
    size = 200 * CHUNK_BYTES + 1
    tracemalloc.start()
    try:
        with store.batch() as put:
            root = import_file(Zeros(size), put)
        digest, length = hashlib.sha256(), 0
        for part in read_file(root.cid, store.get):
            digest.update(part)
            length += len(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == root.size == size
    assert digest.digest() == hashlib.sha256(bytes(size)).digest()
    assert peak < 12 * 1_048_576  # of 52 MB


def test_missing_walks_a_dag_down_as_blocks_come() -> None:
    source: Blocks = {}
    root = import_file(
        BytesIO(bytes(range(256)) * 4), source.__setitem__, chunk_bytes=8, links_per_node=4
    ).cid
    here: Blocks = {}
    rounds = 0
    while absent := missing(root, here.get):
        here |= {cid: source[cid] for cid in absent}
        rounds += 1
    assert here == source and rounds == 5  # 128 places of 32 distinct leaves: 4 levels of nodes, then leaves
    leaf = raw_cid(bytes(range(8)))
    del here[leaf]
    assert missing(root, here.get) == [leaf]
    read: list[bytes] = []

    def get(cid: bytes) -> bytes | None:
        read.append(cid)
        return here.get(cid)

    assert missing(root, get, here.__contains__) == [leaf]
    assert not any(cid[1] == 0x55 for cid in read)  # leaves are looked for, not read
    with pytest.raises(LocalFault) as caught:
        list(read_file(root, here.get))
    assert caught.value.code == "content-missing" and cid_text(leaf) in caught.value.message


def test_a_record_is_one_block_and_no_file() -> None:
    block = b"\xa0"
    cid = dag_cbor_cid(block)
    assert missing(cid, {}.get) == [cid]
    assert missing(cid, {cid: block}.get) == []
    with pytest.raises(RemoteFault, match="not-a-file"):
        list(read_file(cid, {cid: block}.get))


def test_a_file_too_big_is_the_callers_fault() -> None:
    with pytest.raises(LocalFault, match="content-too-big"):
        import_file(Zeros(100), lambda cid, block: None, chunk_bytes=10, max_bytes=99)
    with pytest.raises(LocalFault, match="bad-layout"):
        import_file(Zeros(1), lambda cid, block: None, chunk_bytes=0)


# Hostile DAGs: whole blocks, right hashes, bad meaning.


def refused(root: bytes, blocks: Blocks, code: str, max_bytes: int = MAX_CONTENT_BYTES) -> None:
    """Both the reader and the walker refuse the DAG, without giving its whole content first."""
    with pytest.raises(RemoteFault) as caught:
        for _ in read_file(root, blocks.get, max_bytes=max_bytes):
            pass
    assert caught.value.code == code
    walk = DagWalk(root, max_bytes=max_bytes)
    todo = [root]
    with pytest.raises(RemoteFault) as caught:
        while todo:
            todo = [child for cid in todo for child in walk.add(cid, blocks[cid])]
    assert caught.value.code == code


def test_a_billion_laughs_is_refused_by_its_declared_size() -> None:
    blocks: Blocks = {}
    child, size = add(blocks, 0x55, b"ha" * 512), 1_024
    for _ in range(4):
        child, size = node(blocks, [(child, size)] * 100), size * 100
    assert len(blocks) == 5 and size == 102_400_000_000
    refused(child, blocks, "content-too-big")


def test_a_billion_laughs_that_lies_about_its_size_is_refused() -> None:
    blocks: Blocks = {}
    honest = node(blocks, [(add(blocks, 0x55, b"ha" * 512), 1_024)] * 100)
    refused(node(blocks, [(honest, 1)] * 100), blocks, "bad-dag")


def test_a_dag_of_nothing_is_refused() -> None:
    blocks: Blocks = {}
    empty = add(blocks, 0x55, b"")
    refused(node(blocks, [(empty, 0)] * 100), blocks, "bad-dag-pb")
    inner = node(blocks, [])
    refused(node(blocks, [(inner, 0)] * 100, 0), blocks, "bad-dag-pb")


def test_a_file_of_single_bytes_ends_the_reader_not_the_daemon() -> None:
    blocks: Blocks = {}
    child, size = add(blocks, 0x55, b"x"), 1
    for _ in range(3):
        child, size = node(blocks, [(child, size)] * 300), size * 300
    read = 0
    with pytest.raises(RemoteFault) as caught:
        for part in read_file(child, blocks.get):
            read += len(part)
    assert caught.value.code == "bad-dag" and read < 100_000  # of 27 million visits
    assert missing(child, blocks.get) == []  # four distinct blocks cost a walker nothing


def test_a_chain_deeper_than_any_file_is_refused() -> None:
    blocks: Blocks = {}
    child = add(blocks, 0x55, b"deep")
    for _ in range(9):
        child = node(blocks, [(child, 4)])
    with pytest.raises(RemoteFault, match="bad-dag"):
        list(read_file(child, blocks.get))


def test_a_leaf_of_another_length_is_refused_before_its_bytes_are_given() -> None:
    blocks: Blocks = {}
    good, bad = add(blocks, 0x55, b"good"), add(blocks, 0x55, b"bad")
    root = node(blocks, [(good, 4), (bad, 4)])
    given: list[bytes] = []
    with pytest.raises(RemoteFault, match="bad-dag"):
        for part in read_file(root, blocks.get):
            given.append(part)
    assert given == [b"good"]
    refused(root, blocks, "bad-dag")


def test_one_block_with_two_sizes_is_refused() -> None:
    blocks: Blocks = {}
    leaf = add(blocks, 0x55, b"good")
    refused(node(blocks, [(leaf, 4), (leaf, 3)]), blocks, "bad-dag")


def test_a_file_that_holds_a_record_is_refused() -> None:
    blocks: Blocks = {}
    refused(node(blocks, [(add(blocks, DAG_CBOR, b"\xa0"), 1)]), blocks, "bad-dag-pb")


def test_the_readers_own_bound_counts_declared_bytes() -> None:
    blocks: Blocks = {}
    root = import_file(BytesIO(bytes(100)), blocks.__setitem__, chunk_bytes=10).cid
    refused(root, blocks, "content-too-big", max_bytes=99)
    leaf = add(blocks, 0x55, bytes(100))
    refused(leaf, blocks, "content-too-big", max_bytes=99)


# The decoder.

LEAF = raw_cid(b"leaf")
GOOD = encode_file_node([(LEAF, 4, 4), (LEAF, 4, 4)], 8)
LINK = b"\x0a\x24" + LEAF + b"\x12\x00\x18\x04"


def pb(unixfs: bytes, *links: bytes) -> bytes:
    return (
        b"".join(b"\x12" + bytes([len(link)]) + link for link in links)
        + b"\x0a"
        + bytes([len(unixfs)])
        + unixfs
    )


def test_it_decodes_what_it_encodes() -> None:
    decoded = decode_file_node(GOOD)
    assert [(link.cid, link.size) for link in decoded.links] == [(LEAF, 4), (LEAF, 4)]
    assert (decoded.data, decoded.size) == (b"", 8)
    assert GOOD == pb(b"\x08\x02\x18\x08\x20\x04\x20\x04", LINK, LINK)


def test_it_decodes_leaves_of_the_older_layout_and_kept_modes() -> None:
    assert decode_file_node(pb(b"\x08\x02\x12\x02hi\x18\x02")).data == b"hi"
    assert decode_file_node(pb(b"\x08\x00\x12\x02hi\x18\x02")).data == b"hi"
    assert decode_file_node(pb(b"\x08\x02\x12\x02hi\x18\x02\x38\xa4\x03\x42\x02\x08\x01")).data == b"hi"
    assert decode_file_node(bytes.fromhex("0a0408021800")).size == 0  # kubo's empty file, CIDv0 layout


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"", "bad-dag-pb"),
        (b"\x0a", "bad-dag-pb"),
        (b"\x0a\x05\x08\x02\x18\x00", "bad-dag-pb"),  # truncated
        (pb(b"\x08\x02\x18\x00") + b"\x00", "bad-dag-pb"),  # a trailing byte
        (pb(b"\x08\x02\x18\x04\x20\x04") + b"\x12" + bytes([len(LINK)]) + LINK, "bad-dag-pb"),  # data first
        (pb(b"\x08\x02\x18\x00") * 2, "bad-dag-pb"),  # data twice
        (pb(b"\x08\x82\x00\x18\x00"), "bad-dag-pb"),  # a padded varint
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bad-dag-pb"),  # a length of 2**63 and more
        (pb(b"\x18\x00\x08\x02"), "bad-dag-pb"),  # out of order
        (pb(b"\x08\x02\x08\x02\x18\x00"), "bad-dag-pb"),  # twice
        (pb(b"\x08\x02\x18\x05"), "bad-dag-pb"),  # declares bytes it has not
        (pb(b"\x08\x02\x18\x04\x20\x04"), "bad-dag-pb"),  # a size without its link
        (pb(b"\x08\x02\x18\x04", LINK), "bad-dag-pb"),  # a link without its size
        (pb(b"\x08\x02\x18\x04\x22\x01\x04", LINK), "bad-dag-pb"),  # packed sizes
        (pb(b"\x08\x02\x18\x00\x7d\x00\x00\x00\x00"), "bad-dag-pb"),  # an unknown field, fixed32
        (pb(b"\x08\x02\x18\x00\x48\x01"), "bad-dag-pb"),  # an unknown field
        (pb(b"\x08\x02\x18\x04\x20\x04", LINK[:38] + b"\x12\x01a\x18\x04"), "bad-dag-pb"),  # a named link
        (pb(b"\x08\x02\x18\x04\x20\x04", LINK[:38] + b"\x18\x04"), "bad-dag-pb"),  # no name at all
        (pb(b"\x08\x02\x18\x04\x20\x04", b"\x0a\x22\x12\x20" + LEAF[4:] + LINK[38:]), "bad-dag-pb"),  # CIDv0
        (pb(b"\x08\x02\x18\x04\x20\x04", b"\x0a\x05\x01\x55\x00\x01a" + LINK[38:]), "bad-dag-pb"),  # identity
        (pb(b"\x08\x01"), "not-a-file"),  # a directory
        (pb(b"\x08\x05\x28\x22\x30\x80\x02"), "not-a-file"),  # a sharded directory
        (pb(b"\x08\x04\x12\x01/"), "not-a-file"),  # a symlink
        (pb(b""), "bad-dag-pb"),
    ],
)
def test_bytes_that_are_no_canonical_file_node(block: bytes, code: str) -> None:
    with pytest.raises(RemoteFault) as caught:
        decode_file_node(block)
    assert caught.value.code == code


def test_absurd_widths_are_refused() -> None:
    at_bound = encode_file_node([(LEAF, 4, 4)] * MAX_LINKS, 4 * MAX_LINKS)
    assert len(decode_file_node(at_bound).links) == MAX_LINKS
    with pytest.raises(RemoteFault, match="bad-dag-pb"):
        decode_file_node(encode_file_node([(LEAF, 4, 4)] * (MAX_LINKS + 1), 4 * (MAX_LINKS + 1)))


def mutations() -> Iterator[bytes]:
    for at in range(len(GOOD)):
        yield GOOD[:at]
        for bit in range(8):
            yield GOOD[:at] + bytes([GOOD[at] ^ 1 << bit]) + GOOD[at + 1 :]


def test_every_bit_flip_and_truncation_is_refused_or_means_something_else() -> None:
    for block in mutations():
        try:
            decoded = decode_file_node(block)
        except RemoteFault:
            continue
        assert decoded != decode_file_node(GOOD) or block[:-1] != GOOD[:-1]  # Tsize is advice: it may differ


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_only_remote_faults_come_out_of_junk(block: bytes) -> None:
    try:
        decode_file_node(block)
    except RemoteFault:
        pass
