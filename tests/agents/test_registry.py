"""The records of the agents and where they are kept; amounts, homes and JSON that others rely on."""

import json
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.agents.registry import AgentRecord, AgentRegistry, offer, resolve_argv
from swarmd.node.home import resolve_home, socket_path
from swarmd.node.ports import Capability
from swarmd.protocol.amounts import format_usdc, parse_usdc
from swarmd.protocol.canonical_json import BadJson, canonical_json, parse_json
from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_AMOUNT

RECORD = AgentRecord("wc", "command", (offer("text.wordcount", "0.02"),), (sys.executable, "-c", "pass"))


def test_records_survive_a_restart_in_a_private_file(tmp_path):
    file = tmp_path / "home" / "agents.json"
    registry = AgentRegistry(file)
    full = replace(
        RECORD, cwd="/", env=(("A", "ż"),), timeout_s=1.5, memory_mb=0, concurrency=4, enabled=False, name="x"
    )
    registry.add(RECORD)
    registry.add(full)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert AgentRegistry(file).list() == registry.list() == (RECORD, full)
    registry.remove("wc")
    assert AgentRegistry(file).list() == (full,)
    assert os.listdir(file.parent) == ["agents.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 2, "agents": []}', '{"format": 1}', '{"format":1,"agents":[{"name":"x"}]}'],
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path, text):
    file = tmp_path / "agents.json"
    file.write_text(text)
    with pytest.raises(LocalFault) as caught:
        AgentRegistry(file)
    assert caught.value.code == "bad-agents-file" and str(file) in caught.value.message
    assert file.read_text() == text


def test_a_disk_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    registry = AgentRegistry(tmp_path / "agents.json")
    registry.add(RECORD)
    before = (tmp_path / "agents.json").read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalFault, match="No space left"):
        registry.add(replace(RECORD, name="second"))
    assert registry.list() == (RECORD,) and (tmp_path / "agents.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["agents.json"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": ""}, "bad-name"),
        ({"name": "Ä"}, "bad-name"),
        ({"name": "x" * 65}, "bad-name"),
        ({"name": "a\n"}, "bad-name"),
        ({"capabilities": ()}, "bad-agent"),
        ({"capabilities": (Capability("a b", 1),)}, "bad-name"),
        ({"argv": ()}, "no-command"),
        ({"argv": ("no-such-program-here",)}, "no-such-program"),
        ({"argv": ("/no/such/program",)}, "no-such-program"),
        ({"argv": ("/etc/passwd",)}, "not-executable"),
        ({"argv": ("/bin/sh", "a\0b")}, "bad-agent"),
        ({"argv": ("/bin/sh", "\udc80")}, "bad-agent"),
        ({"argv": ("/bin/sh", "x" * 70_000)}, "bad-command"),
        ({"timeout_s": float("nan")}, "bad-agent"),
        ({"timeout_s": 0}, "bad-agent"),
        ({"memory_mb": 1}, "bad-agent"),
        ({"concurrency": True}, "bad-agent"),
        ({"output_limit_bytes": 1 << 40}, "bad-agent"),
        ({"cwd": "relative"}, "bad-agent"),
        ({"env": (("A=B", "x"),)}, "bad-agent"),
        ({"env": (("A", "x\0"),)}, "bad-agent"),
        ({"kind": "other"}, "bad-agent"),
    ],
)
def test_a_bad_record_is_refused(tmp_path, change, code):
    registry = AgentRegistry(tmp_path / "agents.json")
    with pytest.raises(LocalFault) as caught:
        registry.add(replace(RECORD, **change))
    assert caught.value.code == code and caught.value.message
    assert registry.list() == () and not (tmp_path / "agents.json").exists()


def test_a_command_is_found_as_its_caller_sees_it(tmp_path):
    (tmp_path / "agent.py").write_text("")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    assert resolve_argv(["./tool", "agent.py", "-x", "none.py"], tmp_path) == (
        str(tmp_path / "tool"),
        str(tmp_path / "agent.py"),
        "-x",
        "none.py",
    )
    assert resolve_argv(["tool"], Path("/"), str(tmp_path)) == (str(tmp_path / "tool"),)


def test_homes():
    env = {"HOME": "/home/u"}
    assert resolve_home(None, env, platform="linux") == Path("/home/u/.local/share/swarmd")
    assert resolve_home(None, env, platform="darwin") == Path("/home/u/Library/Application Support/swarmd")
    assert resolve_home(None, env | {"XDG_DATA_HOME": "/x"}, platform="linux") == Path("/x/swarmd")
    assert resolve_home(None, env | {"XDG_DATA_HOME": "x"}, platform="linux") == Path(
        "/home/u/.local/share/swarmd"
    )
    assert resolve_home(None, env | {"SWARMD_HOME": "/s"}) == Path("/s")
    assert resolve_home("~/n", env | {"SWARMD_HOME": "/s"}) == Path("/home/u/n")
    assert resolve_home("n", env) == Path.cwd() / "n"
    assert socket_path(Path("/s")) == Path("/s/run/swarmd.sock")
    with pytest.raises(LocalFault, match="no-home"):
        resolve_home(None, {})


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0.02", 20_000), ("15", 15_000_000), ("0", 0), ("00.000001", 1), ("1.50", 1_500_000)],
)
def test_amounts(text, amount):
    assert parse_usdc(text) == amount
    assert parse_usdc(format_usdc(amount)) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "+1",
        "1e3",
        "NaN",
        "inf",
        "0.0000001",
        "1,5",
        " 1",
        "1 ",
        "1_0",
        "٣",
        "²",
        "9" * 41,
    ]
    + [str(MAX_AMOUNT // 1_000_000 + 1), 1, 0.5, None, b"1"],
)
def test_what_is_no_amount(text):
    with pytest.raises(LocalFault, match="bad-amount"):
        parse_usdc(text)


@given(st.integers(0, MAX_AMOUNT))
def test_amounts_are_exact_both_ways(amount):
    assert parse_usdc(format_usdc(amount)) == amount
    assert format_usdc(-amount) == ("-" if amount else "") + format_usdc(amount)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**255), 2**255)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_canonical_json_is_one_form_for_equal_values(value):
    form = canonical_json(value)
    assert parse_json(form) == value
    assert canonical_json(parse_json(form)) == form
    assert canonical_json(parse_json(json.dumps(value, indent=2).encode())) == form


def test_canonical_json_of_known_values():
    assert canonical_json({"b": 2.0, "a": [1, 1.5, "é\u2028\n", None, True, 1e22, -0.0]}) == (
        '{"a":[1,1.5,"é\u2028\\n",null,true,1e+22,0],"b":2}'.encode()
    )
    assert canonical_json({"\U0001f388": 1, "\uffff": 2}) == '{"\uffff":2,"\U0001f388":1}'.encode()
    for bad in (float("nan"), b"x", {1: 2}, (1,), {"a": {1}}, "\ud800", 2**256, [object()]):
        with pytest.raises(BadJson):
            canonical_json(bad)


def test_canonical_json_of_what_contains_itself(monkeypatch):
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BadJson, match="nested"):
        canonical_json(loop)
    monkeypatch.setattr("swarmd.protocol.canonical_json._MAX_VALUES", 10_000)
    loop.append(loop)
    with pytest.raises(BadJson, match="values"):
        canonical_json(loop)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{}{}",
        b"[1,]",
        b"'a'",
        b"NaN",
        b"[-Infinity]",
        b"1e999",
        b'{"a":1,"a":1}',
        b'"\\ud800"',
        b"\xff",
    ]
    + [
        b"\xef\xbb\xbf1",
        b"9" * 80,
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"01",
    ],
)
def test_strict_json_refuses(data):
    with pytest.raises(BadJson):
        parse_json(data)


def test_strict_json_bounds():
    assert parse_json(b"[" * 64 + b"]" * 64)
    assert parse_json(b' {"a": 1} \n') == {"a": 1}
    with pytest.raises(BadJson):
        parse_json(b"[1,2,3]", max_bytes=6)


@given(st.binary())
def test_strict_json_raises_nothing_else(data):
    try:
        parse_json(data)
    except BadJson:
        pass
