"""Private content: recipients read it, nobody else does, and no bit of it can be changed unnoticed."""

from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from swarmd.node.content.private import CHUNK_BYTES, MAGIC, Sealed, is_sealed, unseal
from swarmd.node.content.recipients import change_group, load_groups, recipients_of
from swarmd.protocol.didkey import did_of
from swarmd.protocol.faults import LocalFault, RemoteFault

SEEDS = [bytes([i]) * 32 for i in range(4)]
DIDS = [did_of(bytes(SigningKey(seed).verify_key)) for seed in SEEDS]


def sealed(data: bytes, *dids: str) -> bytes:
    source, out = Sealed(BytesIO(data), dids), []
    while part := source.read(10_000):
        out.append(part)
    return b"".join(out)


def opened(data: bytes, seed: bytes, step: int = 7_777) -> bytes:
    return b"".join(unseal((data[at : at + step] for at in range(0, len(data), step)), seed))


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 400_000]
)
def test_recipients_read_it_and_others_do_not(size: int) -> None:
    data = bytes(i * 7 & 255 for i in range(size))
    secret = sealed(data, *DIDS[:2])
    assert is_sealed(secret) and (size < 32 or data[:32] not in secret)
    assert opened(secret, SEEDS[0]) == opened(secret, SEEDS[1], 100) == data
    with pytest.raises(LocalFault, match="not-for-us"):
        opened(secret, SEEDS[2])


def test_nothing_of_it_repeats_and_nobody_is_named() -> None:
    one, two = sealed(b"the same", *DIDS[:2]), sealed(b"the same", *DIDS[:2])
    assert one[len(MAGIC) + 4 :] != two[len(MAGIC) + 4 :]
    for did, seed in zip(DIDS, SEEDS, strict=True):
        assert did.encode() not in one and bytes(SigningKey(seed).verify_key) not in one


def test_a_recipient_who_was_removed_gets_no_new_content(tmp_path: Path) -> None:
    change_group(tmp_path, "lab", add=DIDS[:3])
    before = sealed(b"old", *recipients_of(tmp_path, ["lab"]))
    assert change_group(tmp_path, "lab", remove=[DIDS[1]]) == [DIDS[0], DIDS[2]]
    after = sealed(b"new", *recipients_of(tmp_path, ["lab", DIDS[3]]))
    assert [opened(after, SEEDS[i]) for i in (0, 2, 3)] == [b"new"] * 3
    with pytest.raises(LocalFault, match="not-for-us"):
        opened(after, SEEDS[1])
    assert opened(before, SEEDS[1]) == b"old"  # what nobody can take back


def test_groups_are_names_of_real_keys(tmp_path: Path) -> None:
    for name, add, remove, code in (
        ("Lab!", DIDS[:1], [], "bad-name"),
        ("lab", ["did:key:zNonsense"], [], "bad-recipient"),
        ("lab", [], DIDS[:1], "not-a-member"),
    ):
        with pytest.raises(LocalFault, match=code):
            change_group(tmp_path, name, add, remove)
    assert load_groups(tmp_path) == {}
    with pytest.raises(LocalFault, match="no-group"):
        recipients_of(tmp_path, ["lab"])
    change_group(tmp_path, "lab", add=[DIDS[0], DIDS[0]])
    assert load_groups(tmp_path) == {"lab": [DIDS[0]]}
    change_group(tmp_path, "lab", remove=DIDS[:1])
    assert load_groups(tmp_path) == {}
    for text in ("nonsense", "[1]", '{"lab": ["did:key:zX"]}', '{"lab": 7}'):
        (tmp_path / "recipients.json").write_text(text)
        with pytest.raises(LocalFault, match="bad-recipients"):
            load_groups(tmp_path)


def test_who_cannot_be_sealed_to() -> None:
    with pytest.raises(LocalFault, match="no-recipient"):
        Sealed(BytesIO(b""), [])
    with pytest.raises(LocalFault, match="too-many-recipients"):
        Sealed(BytesIO(b""), [did_of(bytes([i, j]) + bytes(30)) for i in range(20) for j in range(20)])
    # A point of small order: whoever "has" it shares its secret with everybody.
    with pytest.raises(LocalFault, match="bad-recipient"):
        Sealed(BytesIO(b""), [did_of(bytes([1]) + bytes(31))])
    with pytest.raises(LocalFault, match="bad-recipient"):
        Sealed(BytesIO(b""), ["did:web:example.org"])


def test_every_truncation_and_any_change_is_noticed() -> None:
    data = bytes(2 * CHUNK_BYTES + 100)
    secret = sealed(data, DIDS[0])
    head = secret.index(b"boxes")
    for end in {
        0,
        5,
        len(MAGIC),
        len(MAGIC) + 2,
        head,
        len(secret) - 1,
        len(secret) - 116,
        len(secret) - 117,
    }:
        with pytest.raises((LocalFault, RemoteFault)):
            opened(secret[:end], SEEDS[0])
    cut_at_chunk = len(secret) - 116 - CHUNK_BYTES - 16
    with pytest.raises(RemoteFault, match="bad-private"):
        opened(secret[:cut_at_chunk], SEEDS[0])
    for at in range(0, len(secret), 1_009):
        changed = secret[:at] + bytes([secret[at] ^ 1]) + secret[at + 1 :]
        with pytest.raises((LocalFault, RemoteFault)):
            opened(changed, SEEDS[0])
    chunk = CHUNK_BYTES + 16
    first = len(secret) - 116 - 2 * chunk
    swapped = secret[:first] + secret[first + chunk : first + 2 * chunk] + secret[first : first + chunk]
    with pytest.raises(RemoteFault, match="bad-private"):
        opened(swapped + secret[first + 2 * chunk :], SEEDS[0])
    with pytest.raises(RemoteFault, match="bad-private"):
        opened(secret + b"more", SEEDS[0])


def test_a_box_that_is_added_or_removed_opens_nothing() -> None:
    one, two = sealed(b"x", DIDS[0], DIDS[1]), sealed(b"x", DIDS[0])
    size = int.from_bytes(two[len(MAGIC) : len(MAGIC) + 4], "big")
    header_two = two[: len(MAGIC) + 4 + size]
    size = int.from_bytes(one[len(MAGIC) : len(MAGIC) + 4], "big")
    with pytest.raises((LocalFault, RemoteFault)):
        opened(header_two + one[len(MAGIC) + 4 + size :], SEEDS[0])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_only_faults_come_out_of_junk(junk: bytes) -> None:
    for data in (junk, MAGIC + junk, MAGIC + len(junk).to_bytes(4, "big") + junk):
        with pytest.raises((LocalFault, RemoteFault)):
            opened(data, SEEDS[0])
