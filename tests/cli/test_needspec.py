"""From flags and plan files to what `need.post` takes."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from swarmd.cli import build_parser, parse
from swarmd.node.console.needspec import need_spec
from swarmd.protocol.faults import LocalFault

Spec = Callable[..., dict[str, Any]]


def _no_upload(stream: io.RawIOBase) -> str:
    raise AssertionError("a small file was sent apart")


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    return lambda *words: need_spec(parse(build_parser(), ["need", "post", *words]), tmp_path, _no_upload)


def test_one_task_with_each_kind_of_argument(spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("höhe")
    (tmp_path / "raw").write_bytes(b"\xff\0")
    (tmp_path / "n.json").write_text('{"a": [1]}')
    made = spec(
        *("text.wordcount", "--text", "t=@book.txt", "--text", "u=a=b", "--json-arg", "n=3"),
        *("--json-arg", "m=@n.json", "--file", "raw=raw", "--cid", "c=bafk", "--cid", "d=bafy:text"),
        *("--budget", "1.00", "--max-price", "0.5", "--deadline", "9", "--title", "T", "--verify", "reexec"),
    )
    assert made == {
        "title": "T",
        "budget": "1.00",
        "deadline_s": 9,
        "tasks": [
            {
                "id": "task",
                "capability": "text.wordcount",
                "input": {
                    "t": {"text": "höhe"},
                    "u": {"text": "a=b"},
                    "n": {"json": 3},
                    "m": {"json": {"a": [1]}},
                    "raw": {"bytes": b"\xff\0"},
                    "c": {"cid": "bafk"},
                    "d": {"cid": "bafy", "as": "text"},
                },
                "max_price": "0.5",
                "verify": {"type": "reexec"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("how", "made"),
    [
        ('schema={"type": "object"}', {"type": "schema", "schema": {"type": "object"}}),
        ("schema=@s.json", {"type": "schema", "schema": True}),
        ("command=lint", {"type": "command", "name": "lint"}),
    ],
)
def test_how_results_are_judged(spec: Spec, tmp_path: Path, how: str, made: dict[str, Any]) -> None:
    (tmp_path / "s.json").write_text("true")
    assert spec("x", "--budget", "1", "--verify", how)["tasks"][0]["verify"] == made


def test_a_plan_reads_its_files_from_where_it_is(spec: Spec, tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    (folder / "a.json").write_text("[1]")
    (folder / "a.bin").write_bytes(b"\x80")
    inputs: dict[str, Any] = {
        "text": {"file": "a.txt"},
        "json": {"file": "a.json"},
        "bytes": {"file": "a.bin"},
        "as_text": {"file": "a.json", "as": "text"},
        "other": {"task": "b", "pointer": "/0"},
    }
    plan = {
        "budget": "2",
        "tasks": [{"id": "a", "capability": "x", "input": inputs}, {"id": "b", "capability": "y"}],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    made = spec("--graph", "plans/plan.json", "--budget", "3")
    assert made["budget"] == "3"
    assert made["tasks"][0]["input"] == {
        "text": {"text": "text"},
        "json": {"json": [1]},
        "bytes": {"bytes": b"\x80"},
        "as_text": {"text": "[1]"},
        "other": {"task": "b", "pointer": "/0"},
    }
    assert made["tasks"][1] == {"id": "b", "capability": "y"}


def test_a_plan_from_stdin(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b'{"budget": "1", "tasks": [{"capability": "x"}]}'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    assert spec("--graph", "-")["tasks"] == [{"capability": "x"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "asks for something"),
        (["x"], "what may it cost?"),
        (["x", "--graph", "bad.json"], "not both"),
        (["x", "--budget", "1", "--text", "novalue"], "--text novalue: not NAME=VALUE"),
        (["x", "--budget", "1", "--text", "t=@missing"], "--text: cannot read missing: No such file"),
        (["x", "--budget", "1", "--text", "t=@latin"], "is not UTF-8"),
        (["x", "--budget", "1", "--text", "t=a", "--json-arg", "t=1"], "argument t is given twice"),
        (["x", "--budget", "1", "--json-arg", "t=word"], "is not JSON"),
        (["x", "--budget", "1", "--json-arg", "t=NaN"], "NaN is not JSON"),
        (["x", "--budget", "1", "--verify", "trust"], "--verify trust: no such check"),
        (["--graph", "bad.json"], "bad.json is not JSON"),
        (["--graph", "list.json"], "is no plan"),
        (["--graph", "missing.json"], "cannot read"),
        (["--graph", "nofile.json", "--budget", "1"], "tasks[0].input.t: cannot read gone"),
        (["--graph", "nofile.json", "--budget", "1", "--text", "a=b"], "--text does not go with --graph"),
        (
            ["--graph", "nofile.json", "--budget", "1", "--verify", "reexec"],
            "--verify does not go with --graph",
        ),
        (["x", "--budget", "much"], "not an amount"),
        (["x", "--budget", "1", "--max-price=-1"], "not an amount"),
    ],
)
def test_what_it_cannot_mean_is_said_before_the_daemon_is_asked(
    spec: Spec, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "latin").write_bytes(b"h\xf6he")
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "nofile.json").write_text(
        '{"tasks": [{"capability": "x", "input": {"t": {"file": "gone"}}}]}'
    )
    with pytest.raises(LocalFault) as caught:
        spec(*words)
    assert message in caught.value.message


def test_a_large_file_is_sent_apart_and_named_by_its_cid(tmp_path: Path) -> None:
    large = bytes(range(256)) * 8_192
    (tmp_path / "raw").write_bytes(large)
    (tmp_path / "text").write_text("é" * 1_000_000)
    sent: list[bytes] = []

    def upload(stream: Any) -> str:
        parts = []
        while part := stream.read(100_000):
            parts.append(part)
        sent.append(b"".join(parts))
        return f"cid{len(sent)}"

    def spec(*words: str) -> dict[str, Any]:
        return need_spec(parse(build_parser(), ["need", "post", *words]), tmp_path, upload)

    found = spec("a", "--budget", "1", "--file", "x=raw", "--text", "y=@text")["tasks"][0]["input"]
    assert found == {"y": {"cid": "cid1", "as": "text"}, "x": {"cid": "cid2", "as": "bytes"}}
    assert sent == ["é".encode() * 1_000_000, large]
    plan = {"budget": "1", "tasks": [{"capability": "a", "input": {"x": {"file": "raw"}}}]}
    (tmp_path / "plan").write_text(json.dumps(plan))
    assert spec("--graph", "plan")["tasks"][0]["input"] == {"x": {"cid": "cid3", "as": "bytes"}}
    with pytest.raises(LocalFault, match="not UTF-8"):
        spec("a", "--budget", "1", "--text", "y=@raw")
    (tmp_path / "cut").write_bytes("é".encode() * 1_000_000 + b"\xc3")
    with pytest.raises(LocalFault, match="not UTF-8"):
        spec("a", "--budget", "1", "--text", "y=@cut")
