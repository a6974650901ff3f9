"""The CIDs of kubo itself (vectors/kubo.json, made by vectors/make_kubo.py) are those of our importer."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from swarmd.node.content.unixfs import import_file
from swarmd.protocol.cids import cid_text

VECTORS = json.loads((Path(__file__).parent / "vectors" / "kubo.json").read_text())


@pytest.mark.parametrize(
    "case", VECTORS["files"], ids=lambda c: f"{c['size']}-{c['chunk_bytes']}-{c['links_per_node']}"
)
def test_files(case: dict[str, int | str], make_pattern: Callable[[int], bytes]) -> None:
    size, chunk, width = (int(case[key]) for key in ("size", "chunk_bytes", "links_per_node"))
    root = import_file(
        BytesIO(make_pattern(size)), lambda cid, block: None, chunk_bytes=chunk, links_per_node=width
    )
    assert cid_text(root.cid) == case["cid"]


def test_the_vectors_cover_what_layouts_differ_in() -> None:
    sizes = {case["size"] for case in VECTORS["files"]}
    assert {0, 1, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 50_000_000} <= sizes
    assert {case["chunk_bytes"] for case in VECTORS["files"]} >= {262_144, 1_048_576}
    assert len(VECTORS["directories"]) >= 13
