"""`swarmd content` as its user sees it: with no daemon in the home's folder, and through a running one."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.content.unixfs import import_bytes
from swarmd.protocol.cids import cid_text

Swarmd = Callable[..., Any]
BIG = 3_000_000


@pytest.fixture(params=["folder", "daemon"])
def node(request: pytest.FixtureRequest, swarmd: Swarmd) -> str:
    """Either a home whose daemon does not run, or one whose does."""
    if request.param == "daemon":
        request.getfixturevalue("live")
    else:
        request.getfixturevalue("home")
        assert swarmd("init").code == 0
    return str(request.param)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "big").write_bytes(os.urandom(BIG))
    (folder / "sub" / "small").write_bytes(os.urandom(100))
    (folder / "sub" / "link").symlink_to("../big")
    (folder / "sub" / "empty").write_bytes(b"")
    (folder / ".hidden").write_text("h")
    return folder


def cid_of(ran: Any) -> str:
    assert ran.code == 0, ran.out + ran.err
    return str(ran.json["added"][-1]["cid"])


def test_what_is_added_is_got_listed_and_shown(swarmd: Swarmd, node: str, tree: Path, tmp_path: Path) -> None:
    cid = cid_of(swarmd("--json content add", str(tree)))
    assert swarmd("-q content add", str(tree)).out == f"{cid}\n"
    assert cid_of(swarmd("--json content add --hidden", str(tree))) != cid
    out = tmp_path / "out"
    got = swarmd(f"--json content get {cid} -o", str(out)).json
    assert got["file"] == str(out)
    assert (got["bytes"], got["files"]) == (BIG + 100, 3)
    assert (out / "big").read_bytes() == (tree / "big").read_bytes()
    assert (out / "sub" / "link").readlink() == Path("../big")
    swarmd(f"content get /ipfs/{cid}/sub/small -o", str(tmp_path / "small"))
    assert (tmp_path / "small").read_bytes() == (tree / "sub" / "small").read_bytes()
    rows = swarmd(f"--json content ls {cid}").json["entries"]
    assert [(row["name"], row["kind"]) for row in rows] == [("big", "file"), ("sub", "directory")]
    assert [row["kind"] for row in swarmd(f"--json content ls {cid}/sub").json["entries"]] == [
        "file",
        "symlink",
        "file",
    ]
    assert "directory" in swarmd(f"content ls {cid}").out
    found = swarmd(f"--json content stat {cid}").json
    assert (found["kind"], found["missing"]) == ("directory", 0) and found["dag_bytes"] > BIG
    assert swarmd(f"--json content stat {cid}/big").json["bytes"] == BIG
    assert swarmd("content stat").code == 0
    (out / "big").unlink()
    assert swarmd(f"content get {cid}/big -o", str(out)).code == 0  # into a folder: under its own name
    again = swarmd(f"--json content get {cid}/big -o", str(out))
    assert (again.code, again.json["error"]["code"]) == (4, "file-exists")


def test_pins_hold_what_a_collection_would_take(
    swarmd: Swarmd, node: str, tree: Path, tmp_path: Path
) -> None:
    kept = cid_of(swarmd("--json content add --name kept", str(tree / "big")))
    loose = cid_of(swarmd("--json content add --no-pin", str(tree / "sub")))
    pins = {row["cid"]: row for row in swarmd("--json content ls").json["pins"]}
    assert pins[kept]["name"] == "kept" and pins[kept]["recursive"] and loose not in pins
    assert kept in swarmd("content ls").out
    assert swarmd("--json content gc --grace 0").json["blocks"] > 0
    assert swarmd(f"--json content stat {loose}").json["error"]["code"] == "content-missing"
    assert swarmd(f"content get {kept} -o", str(tmp_path / "kept")).code == 0
    verified = swarmd("--json content verify").json
    assert verified["corrupt"] == [] and verified["bytes"] >= BIG
    assert swarmd(f"--json content unpin {kept}").json == {"unpinned": kept}
    again = swarmd(f"--json content unpin {kept}")
    assert (again.code, again.json["error"]["code"]) == (4, "not-pinned")
    pinned = swarmd(f"--json content pin {kept} --direct --name again").json
    assert (pinned["cid"], pinned["recursive"], pinned["name"]) == (kept, False, "again")
    assert swarmd(f"content unpin {kept}").code == 0
    text = swarmd("content gc --grace 1h").out
    assert "freed" in text


def test_a_car_carries_content_to_another_store(
    swarmd: Swarmd, node: str, tree: Path, tmp_path: Path
) -> None:
    cid = cid_of(swarmd("--json content add", str(tree)))
    car = tmp_path / "tree.car"
    wrote = swarmd(f"--json content export {cid} -o", str(car)).json
    assert wrote["roots"] == [cid] and wrote["bytes"] == car.stat().st_size
    assert swarmd(f"--json content export {cid} -o", str(car)).json["error"]["code"] == "file-exists"
    other = str(tmp_path / "other")
    assert swarmd(f"--home {other} init").code == 0
    taken = swarmd(f"--home {other} --json content import", str(car)).json["imported"][0]
    assert taken["roots"] == [cid] and taken["blocks"] == wrote["blocks"]
    assert swarmd(f"--home {other} content get {cid} -o", str(tmp_path / "back")).code == 0
    assert (tmp_path / "back" / "big").read_bytes() == (tree / "big").read_bytes()
    data = car.read_bytes()
    car.write_bytes(data[: len(data) // 2])
    ran = swarmd("--json content import", str(car))
    assert (ran.code, ran.json["error"]["code"]) == (4, "truncated-car")
    car.write_bytes(data[:-5] + b"xxxxx")
    assert swarmd("--json content import", str(car)).json["error"]["code"] == "cid-mismatch"


def test_several_paths_wrap_into_one_folder(swarmd: Swarmd, node: str, tree: Path) -> None:
    ran = swarmd("--json content add --wrap", str(tree / "big"), str(tree / "sub"))
    rows = ran.json["added"]
    assert len(rows) == 3 and rows[-1]["kind"] == "directory" and rows[-1]["files"] == 3
    assert [row["name"] for row in swarmd(f"--json content ls {rows[-1]['cid']}").json["entries"]] == [
        "big",
        "sub",
    ]
    assert swarmd("content add --wrap", str(tree / "big"), str(tree / "big")).code == 2
    assert "2.9 MiB" in swarmd("content add", str(tree / "sub" / "small"), str(tree / "big")).out


def test_one_mebibyte_chunks_give_kubos_other_cid(swarmd: Swarmd, node: str, tmp_path: Path) -> None:
    rows = [bytes((i * 31 + k) & 255 for i in range(256)) for k in range(256)]
    data = b"".join(rows[(j * 17 + (j >> 8)) & 255] for j in range(8_192))
    (tmp_path / "f").write_bytes(data)
    assert cid_of(swarmd("--json content add --chunk 1MiB", str(tmp_path / "f"))) == (
        "bafybeif4jak2edbwpohcyeob2cwohqnziv65tusbisbhcaznpcas32tt3m"  # vectors/kubo.txt: 1048576 2097152
    )
    ran = swarmd("--json content add --chunk 2MiB", str(tmp_path / "f"))
    assert (ran.code, ran.json["error"]["code"]) == (4, "bad-layout")


@pytest.mark.parametrize(
    ("words", "code", "exits"),
    [
        ("content get nonsense", "usage", 2),
        ("content stat bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvy0a", "usage", 2),
        ("content ls bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy/x", "not-a-directory", 4),
        ("content pin bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", None, 4),
        ("content get bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", None, 4),
        ("content add /nowhere/at/all", "no-file", 4),
        ("content add - -", "usage", 2),
        ("content import /nowhere.car", "no-file", 4),
        ("content add --chunk x /etc/hosts", "usage", 2),
    ],
)
def test_what_cannot_be_done_says_why(
    swarmd: Swarmd, node: str, words: str, code: str | None, exits: int
) -> None:
    ran = swarmd("--json " + words)
    assert ran.code == exits, ran.out
    assert ran.json["error"]["code"] in ([code] if code else ["content-missing", "content-unavailable"])


def test_the_quota_of_the_configuration_holds(swarmd: Swarmd, home: Path, tree: Path) -> None:
    assert swarmd("init").code == 0
    text = (
        (home / "swarmd.toml").read_text().replace("# content_max_bytes = 0", "content_max_bytes = 1000000")
    )
    (home / "swarmd.toml").write_text(text)
    ran = swarmd("--json content add", str(tree / "big"))
    assert (ran.code, ran.json["error"]["code"]) == (4, "content-quota")
    assert swarmd("content add", str(tree / "sub")).code == 0
    assert swarmd("--json content stat").json["max_bytes"] == 1_000_000


def test_only_a_daemon_knows_what_its_needs_keep(swarmd: Swarmd, home: Path) -> None:
    assert swarmd("init").code == 0
    (home / "journal.db").write_bytes(b"")
    ran = swarmd("--json content gc")
    assert (ran.code, ran.json["error"]["code"]) == (3, "daemon-not-running")


def test_private_content_is_opened_by_its_recipients_only(
    swarmd: Swarmd, node: str, tree: Path, tmp_path: Path
) -> None:
    other = str(tmp_path / "other")
    reader = swarmd(f"--home {other} --json init").json["did"]
    stranger = str(tmp_path / "stranger")
    swarmd(f"--home {stranger} init")
    assert swarmd(f"--json content group add lab {reader}").json["members"] == [reader]
    assert swarmd("--json content group list").json["groups"] == {"lab": [reader]}
    cid = cid_of(swarmd("--json content add --to lab", str(tree / "big")))
    assert cid != cid_of(
        swarmd("--json content add --to lab", str(tree / "big"))
    )  # a key of its own each time
    car = tmp_path / "secret.car"
    assert swarmd(f"content export {cid} -o", str(car)).code == 0
    plain = (tree / "big").read_bytes()
    assert plain[:64] not in car.read_bytes()
    for home in (other, stranger):
        assert swarmd(f"--home {home} content import", str(car)).code == 0
    assert swarmd(f"content get {cid} --unseal -o", str(tmp_path / "mine")).code == 0
    assert swarmd(f"--home {other} content get {cid} --unseal -o", str(tmp_path / "theirs")).code == 0
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes() == plain
    ran = swarmd(f"--home {stranger} --json content get {cid} --unseal -o", str(tmp_path / "no"))
    assert (ran.code, ran.json["error"]["code"]) == (4, "not-for-us") and not (tmp_path / "no").exists()
    assert "can still open" in swarmd(f"content group rm lab {reader}").out
    assert swarmd("--json content add --to lab", str(tree / "big")).json["error"]["code"] == "no-group"
    assert swarmd(f"content add --to {reader}", str(tree)).code == 2
    open_cid = cid_of(swarmd("--json content add", str(tree / "big")))
    ran = swarmd(f"--json content get {open_cid} --unseal -o", str(tmp_path / "no"))
    assert ran.json["error"]["code"] == "not-private"


def test_a_file_store_migrates(swarmd: Swarmd, node: str, tmp_path: Path) -> None:
    cas = tmp_path / "cas"
    cas.mkdir()
    blobs = [os.urandom(size) for size in (10, 70_000, 1_500_000)]
    for blob in blobs:
        (cas / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    words = [
        "--json content migrate --verify --cas-dir",
        str(cas),
        "--output-mapping",
        str(tmp_path / "map.json"),
    ]
    ran = swarmd(*words)
    assert ran.code == 0, ran.out
    assert (ran.json["files"], ran.json["hashes"], ran.json["unverified"]) == (3, 3, [])
    mapping = json.loads((tmp_path / "map.json").read_text())
    for blob in blobs:
        cid = mapping[hashlib.sha256(blob).hexdigest()]
        out = tmp_path / cid
        assert swarmd(f"content get {cid} -o", str(out)).code == 0 and out.read_bytes() == blob
    (cas / ("0" * 64)).write_bytes(b"not that")
    ran = swarmd(*words)
    assert ran.code == 1 and ran.json["wrong"] == [str(cas / ("0" * 64))]


def test_a_need_takes_a_file_larger_than_a_message(swarmd: Swarmd, live: Path, tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("whale " * 2_000_000)  # 12 MB, counted by a real agent
    ran = swarmd("need post text.wordcount --budget 1 --wait --json --text", f"text=@{text}")
    assert ran.code == 0, ran.out
    assert ran.json["values"]["task"]["words"] == 2_000_000
    # Nobody pinned it; the need keeps it.
    blocks: dict[bytes, bytes] = {}
    cid = cid_text(import_bytes(text.read_bytes(), blocks.__setitem__).cid)
    assert swarmd("content gc --grace 0").code == 0
    assert swarmd(f"--json content stat {cid}").json["missing"] == 0


def test_a_small_measurement_has_every_figure(swarmd: Swarmd, home: Path) -> None:
    found = swarmd("--json bench content --megabytes 20").json
    for name in (
        "import_mb_s",
        "export_mb_s",
        "small_puts_per_s",
        "rss_mb",
        "sha256_mb_s",
        "disk_write_mb_s",
    ):
        assert found[name] > 0, name
    # Of this process, which has run other tests before: how much a file of 2 GB takes is measured alone (docs/content.md).
    assert {"fetch_mb_s", "kubo_add_ratio"} <= found.keys()
