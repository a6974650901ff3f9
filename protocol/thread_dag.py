"""A need's thread as an IPLD DAG, and the proof that an envelope belongs to it.

Envelopes are dag-cbor nodes already (`envelope`); what they name as content, and the envelopes they follow, are links. Over
them stands a tree of pages: level 0 links up to 64 envelopes, level n up to 64 pages of level n-1, all but the last of
them full. The top page is the thread's root:

    {v: 1, count, level, links: [CID...], thread}          the others: {v: 1, count, level, links: [CID...]}

The order is causal: by lamport, then id. So equal envelopes give one root, whoever builds it. A proof is the pages from
the root down to the envelope, and the envelope: hashes tie each to the one above, and the counts fix the tree's shape,
so that nothing else can be slipped in. Any IPLD tool can read it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from swarmd.protocol.cbor import Link, decode, encode
from swarmd.protocol.cids import DAG_CBOR, cid_text, codec_of, dag_cbor_cid, is_cid, verify_block
from swarmd.protocol.envelope import Envelope, parse
from swarmd.protocol.faults import LocalFault, RemoteFault

LINKS_PER_PAGE: Final = 64
MAX_LEVEL: Final = 4  # a thousand million envelopes
VERSION: Final = 1
_PAGE_FIELDS = {"v", "count", "level", "links"}

Get = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class ThreadDag:
    """The pages of a thread (CID -> bytes), the root's among them, and the envelopes' ids in their order."""

    root: bytes
    pages: Mapping[bytes, bytes]
    ids: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Membership:
    """What a proof shows: `envelope` is number `index` of the `count` envelopes of `thread` under `root`."""

    root: bytes
    thread: str
    envelope: Envelope
    index: int
    count: int


def in_order(envelopes: Iterable[Envelope]) -> list[Envelope]:
    """Causal order: lamport, then id."""
    return sorted(envelopes, key=lambda envelope: (envelope.lamport, envelope.id))


def build(thread: str, envelopes: Iterable[Envelope]) -> ThreadDag:
    """The DAG over all `envelopes`, which must be of `thread`."""
    ordered = in_order(envelopes)
    if any(envelope.thread != thread for envelope in ordered):
        raise LocalFault("wrong-thread", f"not all envelopes are of {thread}")
    ids = [envelope.id for envelope in ordered]
    if len(set(ids)) != len(ids):
        raise LocalFault("repeated-envelope", "an envelope belongs to a thread once")
    pages: dict[bytes, bytes] = {}
    below = [(each, 1) for each in ids]
    level = 0
    while len(below) > LINKS_PER_PAGE:
        above = []
        for start in range(0, len(below), LINKS_PER_PAGE):
            part = below[start : start + LINKS_PER_PAGE]
            count = sum(size for _, size in part)
            block = encode(_page(level, count, [link for link, _ in part]))
            cid = dag_cbor_cid(block)
            pages[cid] = block
            above.append((cid, count))
        below, level = above, level + 1
    root = _page(level, len(ids), [link for link, _ in below])
    block = encode({**root, "thread": thread})
    cid = dag_cbor_cid(block)
    pages[cid] = block
    return ThreadDag(cid, pages, ids)


def _page(level: int, count: int, links: Sequence[bytes]) -> dict[str, Any]:
    return {"v": VERSION, "count": count, "level": level, "links": [Link(link) for link in links]}


def path_to(dag: ThreadDag, envelope_id: bytes) -> list[bytes]:
    """The CIDs of the pages from the root down to the one that links the envelope. LocalFault `not-in-thread`."""
    try:
        index = list(dag.ids).index(envelope_id)
    except ValueError:
        raise LocalFault(
            "not-in-thread",
            f"{cid_text(envelope_id)} is no envelope of this thread",
            fix="swarmd why NEED lists those that are",
        ) from None
    path, cid = [], dag.root
    while True:
        path.append(cid)
        page = decode(dag.pages[cid])
        if page["level"] == 0:
            return path
        index, below = index % _capacity(page["level"]), index // _capacity(page["level"])
        cid = bytes(page["links"][below])


def verify(root: bytes, envelope_id: bytes, get: Get) -> Membership:
    """Follow a proof from `root` down. `get` gives its blocks, and None for what is not part of it.

    RemoteFault `bad-proof` with the step that does not hold.
    """
    if not is_cid(root) or codec_of(root) != DAG_CBOR:
        raise _bad("the root is no dag-cbor CID")
    cid, index = root, 0
    thread, count, level, links = _root_page(_block(root, get))
    total = count
    while level:
        inside = [number for number, link in enumerate(links) if get(link) is not None]
        if len(inside) != 1:
            raise _bad(f"{len(inside)} of the pages below {cid_text(cid)} are in the proof; one must be")
        (number,) = inside
        index += number * _capacity(level)
        size = min(_capacity(level), count - number * _capacity(level))
        cid = links[number]
        found = _fields(_block(cid, get), _PAGE_FIELDS)
        if found["level"] != level - 1 or found["count"] != size:
            raise _bad(f"page {cid_text(cid)} does not fit where it is linked")
        level, count, links = level - 1, size, _links(found)
    if envelope_id not in links:
        raise _bad(f"the thread does not lead to {cid_text(envelope_id)}")
    envelope = parse(_block(envelope_id, get))
    if envelope.thread != thread:
        raise _bad(f"the envelope is of {envelope.thread}, the root of {thread}")
    return Membership(root, thread, envelope, index + links.index(envelope_id), total)


def _block(cid: bytes, get: Get) -> bytes:
    block = get(cid)
    if block is None:
        raise _bad(f"block {cid_text(cid)} is lacking")
    if not verify_block(cid, block):
        raise _bad(f"the bytes do not hash to {cid_text(cid)}")
    return block


def _root_page(block: bytes) -> tuple[str, int, int, list[bytes]]:
    page = _fields(block, _PAGE_FIELDS | {"thread"})
    if type(page["thread"]) is not str:
        raise _bad("the root names no thread")
    # A tree is no deeper than its count needs.
    if page["level"] and page["count"] <= _capacity(page["level"]):
        raise _bad("the tree is deeper than it needs to be")
    return page["thread"], page["count"], page["level"], _links(page)


def _fields(block: bytes, names: set[str]) -> dict[str, Any]:
    try:
        page = decode(block)
    except RemoteFault as fault:
        raise _bad(f"a page is not dag-cbor: {fault.message}") from None
    if type(page) is not dict or set(page) != names:
        raise _bad(f"a page has the fields {', '.join(sorted(names))}")
    version, count, level = page["v"], page["count"], page["level"]
    if type(version) is not int or version != VERSION:
        raise _bad(f"version {version!r}; we know {VERSION}")
    if type(level) is not int or not 0 <= level <= MAX_LEVEL or type(count) is not int or count < 0:
        raise _bad("a page's level and count are small numbers")
    return page


def _links(page: dict[str, Any]) -> list[bytes]:
    links = page["links"]
    width = -(-page["count"] // _capacity(page["level"]))
    if type(links) is not list or len(links) != width or width > LINKS_PER_PAGE:
        raise _bad(f"a page over {page['count']} envelopes has {width} links, and at most {LINKS_PER_PAGE}")
    if any(type(link) is not Link for link in links) or len(set(links)) != len(links):
        raise _bad("a page links CIDs, each once")
    return [bytes(link) for link in links]


def _capacity(level: int) -> int:
    """How many envelopes lie under one full link of a page of `level`."""
    return int(LINKS_PER_PAGE**level)


def _bad(why: str) -> RemoteFault:
    return RemoteFault("bad-proof", why)
