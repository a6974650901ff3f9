"""What leaves this host says nothing about who it is about."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swarmd.node.health.redact import Redactor

DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
PEER = "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"

SECRETS = [
    ("author " + DID, DID),
    (f"/ip4/203.0.113.9/tcp/4001/p2p/{PEER}", PEER),
    (f"/ip4/203.0.113.9/tcp/4001/p2p/{PEER}", "203.0.113.9"),
    ("dial /ip6/2001:db8::7:1/tcp/4001", "2001:db8::7:1"),
    ("from fe80::1ff:fe23:4567:890a", "fe80::1ff:fe23:4567:890a"),
    ("/dns4/node.example.org/tcp/4001", "node.example.org"),
    ("/dnsaddr/mesh.example.org", "mesh.example.org"),
    ("nats://me:hunter22@nats.example.org:4222", "hunter22"),
    ("nats://me:hunter22@nats.example.org:4222", "nats.example.org"),
    ("https://rpc.example.org/v3?apikey=abcdef123", "abcdef123"),
    ("https://rpc.example.org/v3?apikey=abcdef123", "rpc.example.org"),
    ("Authorization: Bearer abc.DEF-123456", "abc.DEF-123456"),
    ("got eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.sig-nature", "eyJzdWIiOiIxMjM0"),
    ("ticket swarm1" + "q" * 40, "q" * 40),
    ("password=hunter22", "hunter22"),
    ('{"api_key": "hunter22"}', "hunter22"),
    ("SWARMD_BACKUP_PASSPHRASE=hunter22 swarmd", "hunter22"),
    ("OPENAI_API_KEY: sk-hunter22", "sk-hunter22"),
    ("account 0x" + "aB" * 20, "aB" * 20),
    ("seed " + "0f" * 32, "0f" * 32),
    ("content bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "bafybeigdyrzt5sfp7udm7hu76"),
    ("write to anna.m+x@example.org", "anna.m+x@example.org"),
    ("at 52:54:00:12:34:56", "52:54:00:12:34:56"),
    ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----", "MHcCAQEEI"),
    ("host annas-laptop says", "annas-laptop"),
    ("File /home/anna/.local/share/swarmd/run/x", "anna"),
]


def made() -> Redactor:
    return Redactor({"annas-laptop"}, {"/home/anna": "~", "/home/anna/.local/share/swarmd": "<home>"})


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_it_is_gone(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in made().text(text)


def test_what_tells_nobody_apart_stays() -> None:
    text = "need need-k3v7 listens at /ip4/127.0.0.1/tcp/4001 and 0.0.0.0, took 12.5 ms, epoch 3, 14:02:11 swarmd.node.daemon"
    assert made().text(text) == text


def test_the_same_thing_has_the_same_name_here_and_another_elsewhere() -> None:
    one, other = made(), made()
    assert one.text(DID) == one.text(DID) != other.text(DID)
    assert one.text(DID) != one.text(PEER)
    assert one.counts["did"] == 3 and one.counts["peer"] == 1


def test_names_in_maps_go_too_and_values_by_their_name() -> None:
    value: dict[str, Any] = {DID: [{"token": "abc", "n": 7, "ok": True, "none": None}], "b": b"\x01\x02"}
    seen = json.dumps(made().value(value))
    assert DID not in seen and "abc" not in seen and '"n": 7' in seen and "0102" not in seen


@given(st.text())
def test_any_text_comes_through(text: str) -> None:
    made().text(text)


def test_a_long_line_takes_no_ages() -> None:
    for text in (
        "a" * 200_000,
        "a:" * 50_000,
        "token" * 20_000,
        "1." * 50_000,
        "https://" * 10_000,
        "-" * 100_000,
    ):
        made().text(text)
