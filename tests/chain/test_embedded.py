"""The embedded EVM as a node: what it keeps, what it refuses, and that half a block is never written."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from swarmd.node.chain.account import LocalSigner, load_or_create_key
from swarmd.node.chain.client import Call, Fees, Rejected
from swarmd.node.chain.embedded import BLOCK_GAS_LIMIT, GENESIS_BALANCE_WEI, EmbeddedEvm
from swarmd.node.chain.kv import SqliteKv
from swarmd.protocol.faults import CorruptState, LocalFault


def test_everything_is_there_after_reopening(bench, digest):
    receipt = bench.anchor(digest("id"), digest("root"), 3)
    before = (bench.evm.head(), bench.evm.genesis_hash, bench.evm.nonce(bench.signer.account))
    bench.reopen()
    assert (bench.evm.head(), bench.evm.genesis_hash, bench.evm.nonce(bench.signer.account)) == before
    assert bench.evm.receipts([receipt.tx_hash]) == [receipt]
    assert bench.view("anchorOf", bench.signer.account, digest("id"))[0] == digest("root")
    assert bench.anchor(digest("id2"), digest("root"), 3).block_number == receipt.block_number + 1


def test_two_processes_do_not_share_a_chain(bench, monkeypatch):
    monkeypatch.setattr("swarmd.node.chain.kv._OPEN_TIMEOUT_S", 0.05)
    with pytest.raises(LocalFault, match="chain-in-use"):
        SqliteKv(bench.folder / "chain.sqlite")


def test_a_chain_keeps_its_id(bench):
    bench.evm.close()
    kv = SqliteKv(bench.folder / "chain.sqlite")
    with pytest.raises(LocalFault, match="chain-id-changed: this chain was made with id 1337, not 5"):
        EmbeddedEvm(kv, 5, bench.signer.account)
    kv.close()


def test_a_chain_of_another_account_is_refused(bench):
    bench.evm.close()
    kv = SqliteKv(bench.folder / "chain.sqlite")
    with pytest.raises(CorruptState, match="account-changed"):
        EmbeddedEvm(kv, bench.chain_id, b"\7" * 20)
    kv.close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "chain.sqlite").write_bytes(b"not a database, surely " * 100)
    with pytest.raises(CorruptState, match="bad-chain-file"):
        SqliteKv(tmp_path / "chain.sqlite")


def refusals(bench):
    """Name of the refusal -> a transaction that earns it. The account's next nonce is 1."""
    nothing = Call(bench.signer.account, b"", 21_000)
    fees = bench.evm.fees()

    def sign(call=nothing, nonce=1, fees=fees, chain_id=bench.chain_id):
        return bench.signer.sign(call, nonce=nonce, fees=fees, chain_id=chain_id)[0]

    dear = Fees(GENESIS_BALANCE_WEI, 1)
    return {
        "malformed": b"\x02\xc0",
        "wrong-chain-id": sign(chain_id=bench.chain_id + 1),
        "nonce-too-low": sign(nonce=0),
        "gas-limit": sign(Call(bench.signer.account, b"", BLOCK_GAS_LIMIT + 1)),
        "intrinsic-gas": sign(Call(bench.signer.account, b"\1" * 100, 21_000)),
        "fee-too-low": sign(fees=Fees(1, 1)),
        "insufficient-funds": sign(fees=dear),
    }


def test_refusals_are_named_and_leave_nothing_behind(bench):
    for code, raw in refusals(bench).items():
        with pytest.raises(Rejected) as caught:
            bench.evm.send_raw(raw)
        assert caught.value.code == code
    assert bench.evm.mine() == 0


def test_a_known_transaction_and_a_taken_nonce_are_told_apart(bench):
    first = bench.sign(Call(bench.signer.account, b"", 30_000))
    rival = bench.sign(Call(bench.signer.account, b"\1", 30_000))
    bench.evm.send_raw(first)
    for raw, code in [(first, "already-known"), (rival, "nonce-taken")]:
        with pytest.raises(Rejected) as caught:
            bench.evm.send_raw(raw)
        assert caught.value.code == code
    assert bench.evm.mine() == 1
    for raw, code in [(first, "already-known"), (rival, "nonce-too-low")]:
        with pytest.raises(Rejected) as caught:
            bench.evm.send_raw(raw)
        assert caught.value.code == code


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda tail: b"\x02\xf8" + tail)))
def test_any_bytes_are_refused_politely(shared_bench, raw):
    with pytest.raises(Rejected):
        shared_bench.evm.send_raw(raw)


def test_a_gap_in_the_nonces_waits(bench, digest):
    call = Call(bench.signer.account, b"", 21_000)
    late, early = bench.sign(call, nonce=2), bench.sign(call, nonce=1)
    bench.evm.send_raw(late)
    assert bench.evm.mine() == 0
    bench.evm.send_raw(early)
    head = bench.evm.head()
    assert bench.evm.mine() == 2
    assert bench.evm.head() == head + 1


def test_a_transaction_that_no_block_can_take_is_evicted(bench):
    """A full block raises the base fee over the bid of one that waits; those behind it can be sent again."""
    burn = Call(None, b"\xfe", BLOCK_GAS_LIMIT)  # INVALID uses up all of its gas
    base = (bench.evm.fees().max_fee_wei - 1) // 2
    cheap, _ = bench.signer.sign(
        Call(bench.signer.account, b"", 21_000), nonce=2, fees=Fees(base + 1, 1), chain_id=bench.chain_id
    )
    behind = bench.sign(Call(bench.signer.account, b"", 21_000), nonce=3)
    for raw in (bench.sign(burn, nonce=1), cheap, behind):
        bench.evm.send_raw(raw)
    assert bench.evm.mine() == 1
    head = bench.evm.head()
    assert bench.evm.mine() == 0
    assert bench.evm.head() == head
    bench.evm.send_raw(bench.sign(Call(bench.signer.account, b"", 21_000), nonce=2))
    bench.evm.send_raw(behind)
    assert bench.evm.mine() == 2


@pytest.mark.parametrize("failing_write", [0, 1, 2, 5, 8])
def test_a_block_is_written_whole_or_not_at_all(bench, digest, monkeypatch, failing_write):
    bench.evm.send_raw(
        bench.sign(Call(bench.contract, bench.codec.encode_call("anchor", digest(1), digest(2), 1), 99_999))
    )
    head, writes, real = bench.evm.head(), 0, SqliteKv.__setitem__

    def full_disk(self, key, value):
        nonlocal writes
        if writes == failing_write:
            raise sqlite3.OperationalError("database or disk is full")
        writes += 1
        real(self, key, value)

    monkeypatch.setattr(SqliteKv, "__setitem__", full_disk)
    with pytest.raises(sqlite3.OperationalError):
        bench.evm.mine()
    monkeypatch.undo()
    assert bench.evm.head() == head
    assert bench.view("anchorOf", bench.signer.account, digest(1)) == (bytes(32), 0)
    assert bench.evm.mine() == 1
    assert bench.view("anchorOf", bench.signer.account, digest(1)) == (digest(2), head + 1)


def test_each_home_has_its_own_key_that_others_cannot_read(tmp_path):
    one, two = tmp_path / "one.key", tmp_path / "two.key"
    key = load_or_create_key(one)
    assert load_or_create_key(one) == key != load_or_create_key(two)
    assert one.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.key", "two.key"]
    assert len(LocalSigner(key).account) == 20


def test_an_exposed_or_broken_key_is_refused(tmp_path):
    path = tmp_path / "account.key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(LocalFault, match="key-exposed") as caught:
        load_or_create_key(path)
    assert caught.value.fix == f"chmod 600 {path}"
    path.chmod(0o600)
    for text in ("", "zz", "00" * 32, "ff" * 32, "ab" * 31):
        path.write_text(text)
        with pytest.raises(CorruptState, match="bad-key"):
            load_or_create_key(path)
