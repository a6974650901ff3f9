"""Make kubo.json: CIDs of files and directories as kubo gives them.

    make interop && python tests/content/vectors/make_kubo.py .tools/bin/ipfs > tests/content/vectors/kubo.json

No daemon and no network: `ipfs add --only-hash` in a repository of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ABOUT = [
    "UnixFS CIDs made by kubo: ipfs add -r -Q --only-hash --cid-version=1 --raw-leaves=true --trickle=false",
    "  --chunker=size-CHUNK_BYTES --max-file-links=LINKS_PER_NODE PATH (tests/content/vectors/make_kubo.py).",
    "Byte i of a file of SIZE bytes is (i * 31 + (i >> 8) * 17 + (i >> 16)) & 255.",
    "A tree maps names to sizes of files or to trees. `many` = {count, name, size} stands for the files",
    "  name % i for i in 0..count-1, each of `size` bytes. Modes and times are not kept.",
    "A directory is sharded (HAMT, murmur3-x64-64, `fanout` entries a node) when the sum of the lengths of names and",
    "  binary CIDs of its entries is over `shard_threshold_bytes`.",
]
FILE_SIZES = (0, 1, 255, 262_143, 262_144, 262_145, 524_288, 1_048_575, 1_048_576, 1_048_577, 50_000_000)
# (bytes of a chunk, links of a node): kubo's defaults, 1 MiB chunks, and its profile test-cid-v1-wide.
LAYOUTS = ((262_144, 174), (1_048_576, 174), (1_048_576, 1_024))
# With one of 1 MiB a tree of two levels over 174 or 1024 links would need far more than 50 MB.
DEEP = ((4_096, 174, 174 * 4_096), (4_096, 174, 174 * 4_096 + 1), (4_096, 174, 3_000_000))
THRESHOLD, FANOUT = 262_144, 256
Tree = dict[str, Any]
DIRECTORIES: list[tuple[str, int, int, Tree]] = [
    ("empty", THRESHOLD, FANOUT, {}),
    ("one file", THRESHOLD, FANOUT, {"a": 10}),
    ("order", THRESHOLD, FANOUT, {"b": 1, "a": 2, "B": 3, "aa": 4, "a.txt": 5, "é": 6, "10": 7, "9": 8}),
    ("nested", THRESHOLD, FANOUT, {"x": {"y": {"z": {"leaf": 300}}, "empty": {}}, "big": 600_000, "nil": 0}),
    ("same", THRESHOLD, FANOUT, {"one": {"f": 9}, "two": {"f": 9}}),
    ("odd names", THRESHOLD, FANOUT, {"with space": 1, "日本語": 2, "n" * 255: 3, ".hidden": 4, "a\\b": 5}),
    ("1000 plain", THRESHOLD, FANOUT, {"many": {"count": 1_000, "name": "file-%05d", "size": 20}}),
    ("10000 sharded", THRESHOLD, FANOUT, {"many": {"count": 10_000, "name": "file-%05d", "size": 20}}),
    ("few, sharded", 1, FANOUT, {"a": 1, "b": 2, "c": {"d": 3}}),
    ("collisions", 1, FANOUT, {"many": {"count": 700, "name": "%d", "size": 5}}),
    ("fanout 16", 1, 16, {"many": {"count": 300, "name": "%04d.bin", "size": 5}}),
    ("fanout 1024", 1, 1_024, {"many": {"count": 3_000, "name": "%d.bin", "size": 5}}),
    ("sharded in plain", 1_000, FANOUT, {"s": {"many": {"count": 40, "name": "f%d", "size": 7}}, "t": 3}),
]


def pattern(size: int) -> bytes:
    rows = [bytes((i * 31 + k) & 255 for i in range(256)) for k in range(256)]
    return b"".join(rows[(j * 17 + (j >> 8)) & 255] for j in range((size + 255) // 256))[:size]


def write_tree(tree: Tree, folder: Path) -> None:
    folder.mkdir()
    many = tree.get("many")
    if isinstance(many, dict) and "count" in many:
        tree = {many["name"] % i: many["size"] for i in range(many["count"])}
    for name, what in tree.items():
        if isinstance(what, int):
            (folder / name).write_bytes(pattern(what))
        else:
            write_tree(what, folder / name)


class Kubo:
    def __init__(self, binary: str, home: Path) -> None:
        self._binary = str(Path(binary).resolve())
        self._env = {**os.environ, "IPFS_PATH": str(home), "LC_ALL": "C.UTF-8"}
        self.call("init", "--empty-repo", "--profile=test")

    def call(self, *argv: str) -> str:
        done = subprocess.run(
            [self._binary, *argv], env=self._env, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def shard(self, threshold_bytes: int, fanout: int) -> None:
        self.call("config", "Import.UnixFSHAMTDirectorySizeThreshold", f"{threshold_bytes}B")
        self.call("config", "--json", "Import.UnixFSHAMTDirectoryMaxFanout", str(fanout))

    def add(self, path: Path, chunk_bytes: int, links: int) -> str:
        return self.call(
            *("add", "-r", "-Q", "--hidden", "--only-hash", "--cid-version=1", "--raw-leaves=true"),
            *("--trickle=false", f"--chunker=size-{chunk_bytes}", f"--max-file-links={links}", str(path)),
        )


def main(binary: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        kubo = Kubo(binary, Path(scratch) / "repo")
        files = []
        layouts = [(size, *layout) for layout in LAYOUTS for size in FILE_SIZES]
        for size, chunk_bytes, links in layouts + [(size, chunk, links) for chunk, links, size in DEEP]:
            path = Path(scratch) / "file"
            path.write_bytes(pattern(size))
            cid = kubo.add(path, chunk_bytes, links)
            files.append({"size": size, "chunk_bytes": chunk_bytes, "links_per_node": links, "cid": cid})
        directories = []
        for number, (name, threshold, fanout, tree) in enumerate(DIRECTORIES):
            kubo.shard(threshold, fanout)
            folder = Path(scratch) / f"tree-{number}"
            write_tree(tree, folder)
            for chunk_bytes in (262_144, 1_048_576) if name == "nested" else (262_144,):
                directories.append(
                    {
                        "name": name,
                        "shard_threshold_bytes": threshold,
                        "fanout": fanout,
                        "chunk_bytes": chunk_bytes,
                        "links_per_node": 174,
                        "tree": tree,
                        "cid": kubo.add(folder, chunk_bytes, 174),
                    }
                )
        version = kubo.call("version", "-n")
    json.dump(
        {"kubo": version, "about": ABOUT, "files": files, "directories": directories}, sys.stdout, indent=1
    )
    print()


if __name__ == "__main__":
    main(sys.argv[1])
