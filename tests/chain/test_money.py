"""Money as an operator asks for it: in the daemon's way and beside it, keystores, endpoints that are down."""

import json
import stat
from functools import partial
from hashlib import sha256

import pytest
import trio
from eth_account import Account
from swarmd.cli import main
from swarmd.node.chain import EmbeddedChain, RpcChainService, RpcSettings, keystore
from swarmd.node.chain.money import OPERATIONS, MoneyDesk
from swarmd.protocol.faults import LocalFault

LIMIT_S = 60
PAYEE = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
PASSPHRASE = "correct horse"
# scrypt of the usual strength takes a second; keystores of others may ask for less.
KEY = sha256(b"a key").digest()


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "home"))
    assert main(["init", "-q"]) == 0

    def run(*words):
        capsys.readouterr()
        code = main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_a_wallet_a_deposit_an_epoch_and_a_proof(command, tmp_path):
    assert command("wallet", "fund", "100", "--key", "once")[1]["tokens"] == "100"
    assert command("wallet", "fund", "100", "--key", "once")[1]["tokens"] == "100"
    address = command("wallet", "address")[1]["address"]
    assert command("settle", "deposit", "20")[1]["state"] == "final"
    receipts = [
        {"id": f"0x{n:064x}", "payer": address, "payee": PAYEE, "amount": "0.50", "memo": f"n {n}"}
        for n in range(1, 6)
    ]
    file = tmp_path / "receipts.json"
    file.write_text(json.dumps(receipts))
    assert command("settle", "add", str(file))[1] == {"added": 5, "waiting": 5}
    assert command("settle", "add", str(file))[1] == {"added": 0, "waiting": 5}
    code, found = command("settle", "now")
    assert (code, found["settled"], found["waiting"]) == (0, 5, 0)
    assert found["epochs"][0]["moved"] == "2.5"
    proof = command("receipt", "show", receipts[2]["id"])[1]
    file.write_text(json.dumps(proof))
    code, found = command("receipt", "verify", str(file))
    assert (code, found["verified"], found["amount"], found["memo"]) == (0, True, "0.5", "n 3")
    file.write_text(json.dumps({**proof, "index": 0}))
    code, found = command("receipt", "verify", str(file))
    assert (code, found["error"]["code"]) == (4, "proof-wrong")


def test_a_channel_by_command(command):
    command("wallet", "fund", "100")
    channel = command("channel", "open", PAYEE, "10", "--challenge", "2h")[1]["channel"]
    voucher = command("channel", "pay", channel, "0.25")[1]
    assert voucher["cumulative"] == "0.25"
    code, found = command("channel", "receive", voucher["voucher"])
    assert (code, found["error"]["code"]) == (4, "not-payee")
    assert command("channel", "topup", channel, "5")[1]["state"] == "final"
    (entry,) = command("channel", "list")[1]["channels"]
    assert (entry["deposit"], entry["paid"], entry["state"]) == ("15", "0.25", "open")
    assert command("channel", "close", channel)[0] == 2, "nobody is here to confirm it"
    assert command("channel", "close", channel, "--yes")[1]["step"] == "startClose"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("stake", "add", "-5"), "bad-amount"),
        (("stake", "add", "0"), "bad-amount"),
        (("stake", "add", "0.0000001"), "bad-amount"),
        (("stake", "add", "99999999999999999999"), "bad-amount"),
        (("stake", "add", "5"), "not-enough-tokens"),
        (("channel", "open", "0x12", "1"), "bad-address"),
        (("channel", "receive", "00"), "bad-voucher"),
        (("channel", "pay", "0x" + "00" * 32, "1"), "no-channel"),
        (("settle", "withdraw", "5"), "refused-on-chain"),
        (("receipt", "show", "0x" + "00" * 32), "no-receipt"),
    ],
)
def test_nonsense_is_refused_by_name(command, words, code):
    ended, found = command(*words)
    assert ended in (2, 4)
    assert found["error"]["code"] == code


async def test_the_daemons_way_anchors_and_moves_money_at_once(tmp_path):
    chain = EmbeddedChain(tmp_path)
    desk = MoneyDesk(tmp_path, chain)
    assert set(desk.ops()) == {*OPERATIONS, "doctor.chain"}
    seen = trio.Event()

    async def on_seen(anchor):
        seen.set()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(chain.run, on_seen))
            assert (await desk.handle("wallet.fund", {"amount": "7"}))["tokens"] == "7"
            await chain.submit_anchor(sha256(b"id").digest(), sha256(b"root").digest())
            assert (await desk.handle("stake.add", {"amount": "3"}))["bonded"] == "3"
            await seen.wait()
            status = await desk.handle("settle.status", {})
            assert status["chain"]["trouble"] == "" and status["waiting"] == 0
            nursery.cancel_scope.cancel()


def test_a_keystore_is_private_and_readable_by_others(tmp_path):
    address = keystore.create(tmp_path, PASSPHRASE, KEY)
    path = tmp_path / keystore.KEYSTORE_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Account.from_key(KEY).address == address == keystore.address_in(tmp_path)
    assert KEY.hex() not in path.read_text()
    assert bytes(Account.decrypt(json.loads(path.read_text()), PASSPHRASE)) == KEY
    assert keystore.unlock(tmp_path, PASSPHRASE) == KEY
    with pytest.raises(LocalFault, match="wrong-passphrase"):
        keystore.unlock(tmp_path, "another horse")
    with pytest.raises(LocalFault, match="keystore-exists"):
        keystore.create(tmp_path, PASSPHRASE)
    path.chmod(0o644)
    with pytest.raises(LocalFault, match="key-exposed"):
        keystore.unlock(tmp_path, PASSPHRASE)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("nonsense", "bad-keystore"),
        ("[]", "bad-keystore"),
        ("{}", "bad-keystore"),
        ('{"version": 3, "crypto": {"kdfparams": {"n": 1073741824}}}', "bad-keystore"),
        ('{"version": 3, "crypto": {"kdf": "none", "kdfparams": {}}}', "bad-keystore"),
        ('{"version": 3, "crypto": 7}', "bad-keystore"),
        ('{"version": 3, "crypto": {"kdfparams": {"n": "many"}}}', "bad-keystore"),
    ],
)
def test_a_keystore_of_nonsense_is_refused_by_name(tmp_path, text, code):
    path = tmp_path / keystore.KEYSTORE_FILE
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(LocalFault) as caught:
        keystore.unlock(tmp_path, PASSPHRASE)
    assert caught.value.code == code


def test_short_passphrases_and_bad_keys_make_no_keystore(tmp_path):
    with pytest.raises(LocalFault, match="weak-passphrase"):
        keystore.create(tmp_path, "short")
    with pytest.raises(LocalFault, match="bad-key"):
        keystore.create(tmp_path, PASSPHRASE, bytes(32))
    with pytest.raises(LocalFault, match="no-keystore"):
        keystore.unlock(tmp_path, PASSPHRASE)
    assert keystore.address_in(tmp_path) is None


async def test_anchors_reach_a_chain_elsewhere_and_trouble_has_a_name(anvil, tmp_path):
    """The whole service: keystore, deployment, an account without gas, an endpoint that dies, depth."""
    address = keystore.create(tmp_path / "chain", PASSPHRASE)
    settings = RpcSettings((anvil.url,), anvil.CHAIN_ID, confirmations=2, poll_s=0.05)
    chain = RpcChainService(tmp_path, settings, PASSPHRASE)
    told = []

    async def on_seen(anchor):
        told.append(anchor)

    async def until(condition, *, mine=True):
        with trio.fail_after(LIMIT_S):
            while not condition():
                if mine:
                    await trio.to_thread.run_sync(anvil.mine)
                await trio.sleep(0.02)

    await chain.submit_anchor(sha256(b"id").digest(), sha256(b"root").digest(), count=3)
    with trio.fail_after(2 * LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(chain.run, on_seen)
            await until(lambda: chain.status()["trouble"] == "out-of-gas")
            assert told == []
            await trio.to_thread.run_sync(anvil.rpc, "anvil_setBalance", address, hex(10**18))
            await until(lambda: told)
            assert told[0].anchor_id == sha256(b"id").digest()
            assert await chain.proof_on_chain(told[0].anchor_id) == sha256(b"root").digest()
            status = chain.status()
            assert (status["kind"], status["trouble"], status["account"]) == ("rpc", "", address)
            assert status["endpoints"][0]["state"] == "ok"
            anvil.stop()
            await until(lambda: chain.status()["trouble"] == "rpc-down", mine=False)
            with pytest.raises(LocalFault, match="chain-unavailable"):
                await chain.with_machine(lambda machine: machine.client.head())
            found = await MoneyDesk(tmp_path, chain).handle("settle.status", {})
            assert found["waits_for"] == "rpc-down"
            nursery.cancel_scope.cancel()
    assert await chain.anchor_state(told[0].anchor_id) == "final"
    await chain.aclose()
