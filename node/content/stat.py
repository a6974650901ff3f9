"""What a DAG is, as far as it is here."""

from collections.abc import Callable
from typing import Any

from swarmd.node.content.dag import walk
from swarmd.node.content.directories import kind_of
from swarmd.node.content.unixfs import file_node
from swarmd.protocol.cids import DAG_CBOR, cid_text, codec_of
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_CONTENT_BYTES


def stat_of(cid: bytes, get: Callable[[bytes], bytes | None]) -> dict[str, Any]:
    """{cid, kind, size, blocks, dag_bytes, missing}: of a file `size` is what its root declares; `missing` counts
    blocks that are known of but not here. LocalFault `content-missing` if the root is not here."""
    root = get(cid)
    if root is None:
        raise LocalFault(
            "content-missing", f"{cid_text(cid)} is not here", fix="swarmd content get fetches a file"
        )
    kind = "record" if codec_of(cid) == DAG_CBOR else kind_of(cid, get)
    blocks = dag_bytes = missing = 0
    for each in walk(cid, get):
        block = get(each)
        if block is None:
            missing += 1
        else:
            blocks += 1
            dag_bytes += len(block)
    size = file_node(cid, root, None, MAX_CONTENT_BYTES).size if kind == "file" else None
    return {
        "cid": cid_text(cid),
        "kind": kind,
        **({} if size is None else {"bytes": size}),
        "blocks": blocks,
        "dag_bytes": dag_bytes,
        "missing": missing,
    }
