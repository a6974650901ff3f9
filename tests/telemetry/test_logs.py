"""Log lines: the ids in them, one line each whatever a peer says, and those of a real daemon."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import nacl.signing
import pytest
from swarmd.node.telemetry.logs import JsonFormatter, TextFormatter, ids_in
from swarmd.node.transport.local_client import LocalClient
from swarmd.protocol.didkey import did_of
from swarmd.protocol.envelope import need_id, trace_id_of
from swarmd.protocol.faults import LocalFault

DID = did_of(bytes(nacl.signing.SigningKey(bytes(32)).verify_key))
NEED = need_id(DID, 0)
PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
HOSTILE = "x\n2026-01-01 00:00:00,000 INFO swarmd.daemon: all is well\x1b[2J\u202e"


def record(message, *args, **extra):
    made = logging.LogRecord("swarmd.runner", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_has_the_ids_that_its_message_names():
    line = json.loads(
        JsonFormatter().format(record("denies %s in %s from %s by %s", "NEED", NEED, DID, PEER))
    )
    assert (line["need"], line["did"], line["peer"]) == (NEED, DID, PEER)
    assert line["trace_id"] == trace_id_of(NEED)
    assert (line["level"], line["logger"]) == ("warning", "swarmd.runner") and line["ts_ns"] > 1e18


def test_who_gives_ids_itself_goes_first():
    line = json.loads(JsonFormatter().format(record("of %s", NEED, need=need_id(DID, 1), trace_id="t")))
    assert (line["need"], line["trace_id"]) == (need_id(DID, 1), "t")


def test_a_line_without_ids_has_none():
    line = json.loads(JsonFormatter().format(record("stopped; need-x, 12D3KooW, did:key:z6Mk")))
    assert set(line) == {"ts_ns", "level", "logger", "message"}
    assert ids_in("") == {}


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_peer_cannot_begin_a_line_of_its_own(formatter):
    text = formatter.format(record("refused: %s", HOSTILE))
    assert len(text.splitlines()) == 1 and "\x1b" not in text and "\u202e" not in text


def test_a_traceback_is_in_the_line():
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        broken = record("failed")
        broken.exc_info = sys.exc_info()
    text = JsonFormatter().format(broken)
    assert len(text.splitlines()) == 1 and "RuntimeError" in json.loads(text)["error"]
    assert "Traceback" in TextFormatter().format(broken)


def test_a_daemon_logs_json_with_the_trace_of_the_need(tmp_path: Path):
    """As the table of swarmd.toml asks. Its own policy denies a need, and the line that says so leads to the trace."""
    home = tmp_path / "home"
    command = [sys.executable, "-m", "swarmd.cli", "--home", str(home), "--json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWARMD_")}
    subprocess.run([*command, "init"], env=env, check=True, timeout=30, capture_output=True)
    with open(home / "swarmd.toml", "a", encoding="utf-8") as file:
        file.write(
            '\napi_enabled = false\npolicy_path = "spending"\n[log]\nformat = "json"\nlevel = "debug"\n'
        )
    up = [*command, "up", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]
    with open(tmp_path / "log", "wb") as log:
        daemon = subprocess.Popen(up, env=env, stdout=subprocess.PIPE, stderr=log)
    try:
        assert json.loads(daemon.stdout.readline())["event"] == "ready"
        with LocalClient(home / "run" / "swarmd.sock", timeout_s=30) as client:
            task = {"id": "t", "capability": "x", "input": {"text": {"text": "hi"}}, "max_price": "101"}
            with pytest.raises(LocalFault) as denied:
                client.call("need.post", {"spec": {"budget": "102", "tasks": [task]}})
            assert denied.value.code == "denied-by-policy"
    finally:
        daemon.terminate()
        daemon.wait(20)
        daemon.stdout.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert lines and {"ts_ns", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    started = next(line for line in lines if line["message"].startswith("swarmd "))
    assert started["did"].startswith("did:key:")
    said = next(line for line in lines if "own policy denies" in line["message"])
    assert said["level"] == "warning" and said["need"] in said["message"]
    assert said["trace_id"] == trace_id_of(said["need"])
