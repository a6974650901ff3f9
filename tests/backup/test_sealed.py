"""The encrypted stream: what is not exactly what was written does not open, and says in which way."""

import io
import random
import tracemalloc

import pytest
from swarmd.node.backup.sealed import CHUNK_BYTES, MAGIC, SealedReader, SealedWriter
from swarmd.protocol.faults import LocalFault

SIZES = (0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7)


@pytest.fixture
def seal(cost, passphrase):
    def seal(data: bytes) -> bytes:
        file = io.BytesIO()
        writer = SealedWriter(file, passphrase, cost)
        for at in range(0, len(data), 10_000):
            writer.write(data[at : at + 10_000])
        writer.close()
        return file.getvalue()

    return seal


@pytest.fixture
def unseal(passphrase):
    return lambda sealed, given=passphrase: SealedReader(io.BytesIO(sealed), "it", lambda: given).read()


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(seal, unseal, size):
    data = random.Random(size).randbytes(size)
    sealed = seal(data)
    assert unseal(sealed) == data
    assert size < 100 or data[:100] not in sealed


def test_two_files_of_one_text_have_nothing_in_common(seal):
    one, other = seal(b"same" * 100), seal(b"same" * 100)
    assert one[-200:] != other[-200:]


def test_another_passphrase(seal, unseal):
    with pytest.raises(LocalFault) as caught:
        unseal(seal(b"x"), b"incorrect horse")
    assert caught.value.code == "wrong-passphrase"


@pytest.mark.parametrize("size", SIZES)
def test_every_cut_is_noticed(seal, unseal, size):
    sealed = seal(bytes(size))
    dice = random.Random(1)
    whole_chunks = {len(sealed) - size % CHUNK_BYTES - 16 - n * (CHUNK_BYTES + 16) for n in range(3)}
    cuts = {0, 1, len(MAGIC), len(sealed) - 1, *dice.sample(range(len(sealed)), 40), *whole_chunks}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(sealed)):
        with pytest.raises(LocalFault) as caught:
            unseal(sealed[:cut])
        assert caught.value.code in ("bad-backup", "wrong-passphrase"), cut
        if cut > 200:
            assert "truncated" in caught.value.message


def test_every_flipped_bit_is_noticed(seal, unseal):
    sealed = seal(random.Random(2).randbytes(2 * CHUNK_BYTES + 99))
    begin = sealed.index(b"salt") + 200
    dice = random.Random(3)
    for at in [*range(begin), *dice.sample(range(begin, len(sealed)), 200)]:
        bad = bytearray(sealed)
        bad[at] ^= 1 << dice.randrange(8)
        with pytest.raises(LocalFault) as caught:
            unseal(bytes(bad))
        assert caught.value.code in ("bad-backup", "wrong-passphrase")


def test_chunks_cannot_be_moved_left_out_or_added(seal, unseal):
    sealed = seal(random.Random(4).randbytes(3 * CHUNK_BYTES))
    step = CHUNK_BYTES + 16
    head, chunks = sealed[: -3 * step], [sealed[len(sealed) - n * step :][:step] for n in (3, 2, 1)]
    assert unseal(head + b"".join(chunks))
    a, b, c = chunks
    for wrong in ([b, a, c], [a, c], [a, b], [a, b, b, c], [a, b, c, c], [c]):
        with pytest.raises(LocalFault):
            unseal(head + b"".join(wrong))
    with pytest.raises(LocalFault):
        unseal(sealed + b"\0")


def test_a_header_of_its_own_does_not_open_it(seal, unseal):
    """The header is part of the key: nobody can, say, ask for less stretching of a file that exists."""
    one, other = seal(b"one"), seal(b"other")
    size = len(one) - 16 - 3
    with pytest.raises(LocalFault) as caught:
        unseal(one[: size - 16] + other[size - 16 :])
    assert caught.value.code == "wrong-passphrase"


def test_it_takes_little_memory(cost, passphrase, tmp_path):
    path, part = tmp_path / "big", bytes(1 << 20)
    tracemalloc.start()
    with open(path, "wb") as file:
        writer = SealedWriter(file, passphrase, cost)
        for _ in range(64):
            writer.write(part)
        writer.close()
    with open(path, "rb") as file:
        reader, total = SealedReader(file, "it", lambda: passphrase), 0
        while data := reader.read(1 << 18):
            total += len(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 8 << 20
