"""Settings: which source wins, what each error says, and that what init writes is understood again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from swarmd.node.config import NAMES, Config, config_text, load_config
from swarmd.node.health.offline import CHECKS
from swarmd.protocol.faults import LocalFault


def write(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    (home / "swarmd.toml").write_text(text)
    return home


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load_config(tmp_path, {})
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"} and tuple(loaded.origins) == NAMES


def test_flags_go_before_the_environment_before_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'listen = ["/file"]\nlease_ttl_s = 10\nlog_level = "debug"\n')
    env = {"SWARMD_LISTEN": "/env, /other", "SWARMD_LEASE_TTL_S": "20", "SWARMD_HOME": "/x", "PATH": "/bin"}
    loaded = load_config(tmp_path, env, {"listen": ["/flag"], "log_level": None})
    assert loaded.config.listen == ("/flag",)
    assert loaded.config.lease_ttl_s == 20
    assert loaded.config.log_level == "debug"
    origins = {name: origin for name, origin in loaded.origins.items() if origin != "default"}
    assert origins == {"listen": "flag", "lease_ttl_s": "env", "log_level": "file"}
    assert load_config(tmp_path, env).config.listen == ("/env", "/other")


def test_tables_and_numbers_from_the_environment(tmp_path: Path) -> None:
    env = {"SWARMD_VERIFIER_COMMANDS": '{"lint": ["ruff", "-"]}', "SWARMD_ANCHOR_INTERVAL_S": "0.5"}
    config = load_config(tmp_path, env).config
    assert config.verifier_commands == {"lint": ("ruff", "-")} and config.anchor_interval_s == 0.5


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("lisen = []", "lisen", "did you mean listen?"),
        ("lease-ttl-s = 1", "lease-ttl-s", "did you mean lease_ttl_s?"),
        ("zzz = 1", "zzz", "swarmd config show lists"),
        ('lease_ttl_s = "60"', 'lease_ttl_s = "60"', "How long a claimed task"),
        ("lease_ttl_s = true", "lease_ttl_s = true", "How long"),
        ("lease_ttl_s = 0", "lease_ttl_s = 0", "How long"),
        ("anchor_interval_s = nan", "anchor_interval_s", "receipts"),
        ('listen = "/ip4/1.2.3.4/tcp/1"', "must be a list of texts", "Where other nodes"),
        ("peers = [1]", "must be a list of texts", "multiaddrs"),
        ("listen = 5", "must be a list of texts", 'Default: listen = ["/ip4/0.0.0.0/tcp/4001"]'),
        ("[contnt]\nbackend = 'kubo'", "contnt", "did you mean [content]?"),
        ('checks = "some"', 'must be "touched" or "full"', "Invariants"),
        ('chain_kind = "mainnet"', 'must be "embedded" or "rpc"', "chain"),
        ("[verifier_commands]\nx = 'ls'", "x must be a list of texts", "Programs"),
        ("listen = [", "is not TOML", "mend that line"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, message: str, fix: str) -> None:
    write(tmp_path, text)
    with pytest.raises(LocalFault) as caught:
        load_config(tmp_path, {})
    fault = caught.value
    assert fault.code == "bad-config" and message in fault.message and fix in fault.fix
    assert str(tmp_path / "swarmd.toml") in fault.message


def test_a_misspelt_variable_is_named_as_a_variable(tmp_path: Path) -> None:
    with pytest.raises(LocalFault) as caught:
        load_config(tmp_path, {"SWARMD_LISTN": "/x"})
    assert "SWARMD_LISTN (from the environment)" in caught.value.message
    assert caught.value.fix == "did you mean SWARMD_LISTEN?"


def test_a_bad_variable_names_its_origin(tmp_path: Path) -> None:
    with pytest.raises(LocalFault) as caught:
        load_config(tmp_path, {"SWARMD_CHAIN_ID": "main"})
    assert 'chain_id = "main" (from the environment): must be a whole number' in caught.value.message


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "swarmd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalFault, match="is no UTF-8 text: byte 0 is 0xff"):
        load_config(tmp_path, {})


def test_the_written_file_holds_every_setting_and_uncommented_means_the_same(tmp_path: Path) -> None:
    text = config_text()
    assert load_config(write(tmp_path, text), {}).config == Config()
    uncommented = re.sub(r"^# (?=[a-z_]+ = |\[)", "", text, flags=re.M)
    loaded = load_config(write(tmp_path, uncommented), {})
    assert loaded.config == Config() and set(loaded.origins.values()) == {"file"}


def test_the_written_file_holds_what_was_given(tmp_path: Path) -> None:
    given = {"listen": ['/ip4/1.2.3.4/tcp/1"é'], "verifier_commands": {"a b": ["x", "-y"]}, "chain_id": 5}
    config = load_config(write(tmp_path, config_text(given)), {}).config
    assert config == Config(
        listen=('/ip4/1.2.3.4/tcp/1"é',), verifier_commands={"a b": ("x", "-y")}, chain_id=5
    )


# The commands ----------------------------------------------------------------------------------------------


def test_init_makes_a_private_home(swarmd: Callable[..., Any], home: Path) -> None:
    ran = swarmd("init --name lab --listen /ip4/127.0.0.1/tcp/7001 --json")
    assert ran.code == 0 and ran.json["mesh"]["name"] == "lab"
    assert home.stat().st_mode & 0o777 == 0o700
    for name in ("node.key", "swarmd.toml"):
        assert (home / name).stat().st_mode & 0o777 == 0o600
    assert load_config(home, {}).config.listen == ("/ip4/127.0.0.1/tcp/7001",)
    again = swarmd("init --json")
    assert again.code == 4 and again.json["error"]["code"] == "home-exists"


def test_init_leaves_an_operators_file_alone(swarmd: Callable[..., Any], home: Path) -> None:
    write(home, "chain_id = 9\n")
    assert swarmd("init").code == 0
    assert (home / "swarmd.toml").read_text() == "chain_id = 9\n"


def test_two_hosts_found_a_mesh(swarmd: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    did = swarmd(f"--home {other} init --key-only --json").json["did"]
    made = swarmd(f"init --name pair --verifier {did} --fund {did}=2.5 --fund me=1 --json").json
    genesis = json.loads((home / "genesis.json").read_text())
    assert genesis["roster"] == sorted([did, made["did"]])
    assert genesis["balances"] == {did: 2_500_000, made["did"]: 1_000_000}
    joined = swarmd(f"--home {other} init --genesis {home}/genesis.json --json").json
    assert joined["did"] == did and joined["mesh"] == made["mesh"]


@pytest.mark.parametrize(
    "flags", ["--fund nobody", "--fund me=many", "--genesis g.json --verifier did:key:z6Mk"]
)
def test_init_refuses_what_it_cannot_mean_and_founds_nothing(
    swarmd: Callable[..., Any], home: Path, flags: str
) -> None:
    assert swarmd(f"init {flags}").code == 2
    assert not (home / "genesis.json").exists()


def test_show_names_the_origin_of_each_value(
    swarmd: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home, "chain_id = 9\n")
    monkeypatch.setenv("SWARMD_LEASE_TTL_S", "7")
    found = swarmd("config show --json").json
    assert found["file"] == str(home / "swarmd.toml")
    assert tuple(found["settings"]) == NAMES
    assert found["settings"]["chain_id"] == {"value": 9, "origin": "file"}
    assert found["settings"]["lease_ttl_s"] == {"value": 7, "origin": "env"}
    assert found["settings"]["checks"] == {"value": "touched", "origin": "default"}
    text = swarmd("config show").out
    assert re.search(r"^chain_id +9 +file ", text, re.M) and re.search(r"^lease_ttl_s +7 +env ", text, re.M)


def test_show_refuses_a_bad_file(swarmd: Callable[..., Any], home: Path) -> None:
    write(home, "lisen = []")
    ran = swarmd("config show")
    assert ran.code == 2 and "did you mean listen?" in ran.err


def test_check_finds_everything_that_up_would_refuse(swarmd: Callable[..., Any], home: Path) -> None:
    swarmd("init --listen /ip4/127.0.0.1/tcp/0")
    ran = swarmd("config check --json")
    assert ran.code == 0 and ran.json["ok"] is True
    assert [each["code"] for each in ran.json["findings"]] == [code for code, _ in CHECKS]
    write(home, 'listen = ["here"]\npolicy_path = "/nowhere.wasm"\n')
    (home / "node.key").chmod(0o644)
    (home / "swarm.key").write_text("no key")
    (home / "swarm.key").chmod(0o600)
    ran = swarmd("config check --json")
    assert ran.code == 1 and ran.json["ok"] is False
    bad = {each["code"]: each for each in ran.json["findings"] if each["status"] == "bad"}
    assert set(bad) == {"addresses", "key", "swarm-key"}
    # What is wrong is said once: these need what was found wrong already.
    after = {each["code"]: each["message"] for each in ran.json["findings"] if each["status"] == "unknown"}
    assert {
        "policy": "not looked at: see key",
        "ports": "not looked at: see addresses",
    }.items() <= after.items()
    assert all(each["fix"] for each in bad.values())
    assert "BAD  key: " in swarmd("config check").out
    write(home, 'bootstrap = ["/ip4/1.2.3.4/tcp/1"]')
    findings = swarmd("config check --json").json["findings"]
    assert {"addresses"} <= {each["code"] for each in findings if each["status"] == "bad"}


def test_up_without_a_home_says_what_to_do(swarmd_process: Callable[..., Any], home: Path) -> None:
    ran = swarmd_process("up --listen /ip4/127.0.0.1/tcp/0")
    assert ran.code == 4 and "make a node there and start it: swarmd up --init" in ran.err


def test_content_has_a_table_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, '[content]\nbackend = "kubo"\npin = "size"\npin_max_bytes = 5\nipfs_peers = ["/ip4/x"]')
    loaded = load_config(tmp_path, {"SWARMD_CONTENT_PIN": "recent"})
    config = loaded.config
    assert (config.content_backend, config.content_pin_max_bytes) == ("kubo", 5)
    assert config.content_pin == "recent" and loaded.origins["content_pin"] == "env"
    assert config.content_ipfs_peers == ("/ip4/x",)
    write(tmp_path, "[content]\nbackends = 1")
    with pytest.raises(LocalFault) as caught:
        load_config(tmp_path, {})
    assert "content_backends" in caught.value.message and "content_backend" in caught.value.fix


def test_doctor_content_says_that_there_is_no_kubo(swarmd: Callable[..., Any], home: Path) -> None:
    swarmd("init")
    write(home, '[content]\nbackend = "kubo"\nkubo_addr = "/ip4/127.0.0.1/tcp/1"')
    ran = swarmd("doctor content --json")
    assert ran.code == 1 and ran.json["daemon"] == "down"
    assert "no kubo answers" in str(ran.json["checks"])


@pytest.mark.parametrize("table", ["[telemetry]\notlp_endpoint", "telemetry_otlp_endpoint"])
def test_telemetry_is_a_table_or_plain_names(tmp_path, table):
    (tmp_path / "swarmd.toml").write_text(f'{table} = "http://collector.lan:4318"\n')
    config = load_config(tmp_path, {"SWARMD_TELEMETRY_SAMPLE_RATIO": "0.25"}).config
    assert (config.telemetry_otlp_endpoint, config.telemetry_sample_ratio) == (
        "http://collector.lan:4318",
        0.25,
    )


@pytest.mark.parametrize(
    "url", ["collector:4318", "ftp://x", "http://", "http://user:secret@x", "http://x?y=1", "http://x:0"]
)
def test_a_collector_that_is_no_url_is_refused(tmp_path, url):
    with pytest.raises(LocalFault) as caught:
        load_config(tmp_path, {"SWARMD_TELEMETRY_OTLP_ENDPOINT": url})
    assert caught.value.code == "bad-config" and "telemetry_otlp_endpoint" in caught.value.message


def test_the_log_is_a_table_too(tmp_path):
    (tmp_path / "swarmd.toml").write_text('[log]\nformat = "json"\nlevel = "debug"\n')
    config = load_config(tmp_path, {}).config
    assert (config.log_format, config.log_level) == ("json", "debug")
