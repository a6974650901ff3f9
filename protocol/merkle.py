"""Merkle trees over SHA-256 with proofs.

leaf = H(0x00 || data), node = H(0x01 || left || right); the last odd node of a level is promoted unchanged, so
no leaf is ever counted twice (the flaw of CVE-2012-2459). The number of leaves is part of every statement that
is signed, which fixes the tree's shape. `contracts/src/SettlementAnchor.sol` verifies the same tree on chain.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"\x02swarmd/empty").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def _parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The 32-byte root over leaf data; EMPTY_ROOT for none."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:  # of most batches
        return leaf_hash(leaves[0])
    level = [leaf_hash(data) for data in leaves]
    while len(level) > 1:
        level = _up(level)
    return level[0]


def _up(level: list[bytes]) -> list[bytes]:
    above = [_parent(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def proof_of(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The siblings (32 bytes each, bottom up) that lead from leaf `index` to the root."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} among {len(leaves)}")
    level = [leaf_hash(data) for data in leaves]
    path = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _up(level)
        index //= 2
    return path


def root_and_proofs(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root and every leaf's proof, in one pass over the tree."""
    if not leaves:
        return EMPTY_ROOT, []
    levels = [[leaf_hash(data) for data in leaves]]
    while len(levels[-1]) > 1:
        levels.append(_up(levels[-1]))
    # From the top down: a node's path is its sibling and then its parent's path.
    paths: list[tuple[bytes, ...]] = [()]
    for level in levels[-2::-1]:
        lone = len(level) - 1 if len(level) % 2 else -1
        paths = [
            paths[at >> 1] if at == lone else (level[at ^ 1], *paths[at >> 1]) for at in range(len(level))
        ]
    return levels[-1][0], paths


def root_from_proof(data: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root that `path` leads to from leaf `index` of `count`; None if the path does not fit that shape."""
    if not 0 <= index < count:
        return None
    node = leaf_hash(data)
    used = 0
    while count > 1:
        sibling = index ^ 1
        if sibling < count:
            if used == len(path):
                return None
            node = _parent(node, path[used]) if index % 2 == 0 else _parent(path[used], node)
            used += 1
        index //= 2
        count = (count + 1) // 2
    return node if used == len(path) else None
