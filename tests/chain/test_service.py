"""The Chain port under trio: durable at once, ready at once, every anchor told of, every fault named."""

import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from swarmd.node.chain import EmbeddedChain
from swarmd.node.ports import AnchorSeen, Chain
from swarmd.protocol.faults import CorruptState, LocalFault

LIMIT_S = 30


class Ear:
    """Collects what `on_seen` is told and lets a test wait for a number of different anchors."""

    def __init__(self):
        self.told: list[AnchorSeen] = []
        self._changed = trio.Event()

    async def __call__(self, anchor):
        self.told.append(anchor)
        self._changed.set()
        self._changed = trio.Event()

    @property
    def ids(self):
        return {anchor.anchor_id for anchor in self.told}

    async def heard(self, count):
        while len(self.ids) < count:
            await self._changed.wait()


@asynccontextmanager
async def running(chain, on_seen):
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(chain.run, on_seen)
            yield chain
            nursery.cancel_scope.cancel()


async def until(condition):
    """Wait for a state. `status()` is a snapshot for operators and has no event to wait for."""
    with trio.fail_after(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


def test_the_room_is_light_to_import():
    code = (
        "import sys; import swarmd.node.chain;"
        "heavy = {'web3', 'eth', 'eth_abi', 'eth_account', 'eth_keys', 'eth_tester', 'eth_utils', 'rlp', 'trie'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_an_anchor_goes_on_chain_and_is_told_of(tmp_path, digest):
    chain: Chain = EmbeddedChain(tmp_path, 4242)
    ear = Ear()
    async with running(chain, ear):
        await chain.submit_anchor(digest(1), digest("root"), count=9)
        await ear.heard(1)
        status = chain.status()
        (told,) = ear.told
        assert told == AnchorSeen(digest(1), told.tx_hash, 2, 4242, status["contract"])
        assert len(told.tx_hash) == 32
        assert await chain.proof_on_chain(digest(1)) == digest("root")
        assert await chain.proof_on_chain(digest(2)) is None
        assert await chain.anchor_state(digest(1)) == "final"
        await until(lambda: chain.status()["state"] == "ready")
        assert (status["kind"], status["chain_id"], status["head"]) == ("embedded", 4242, 2)
        assert (status["pending"], status["error"], len(status["account"])) == (0, "", 42)
    assert chain.status()["state"] == "stopped"


async def test_queueing_needs_no_running_chain(tmp_path, digest):
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S):
        await chain.submit_anchor(digest(1), digest("root"))
        await chain.aclose()
    later = EmbeddedChain(tmp_path)
    ear = Ear()
    async with running(later, ear):
        assert later.status()["state"] == "starting"  # ready to take anchors, the EVM still loads
        await later.submit_anchor(digest(2), digest("root"))
        await ear.heard(2)
    assert ear.ids == {digest(1), digest(2)}


async def test_many_at_once_share_blocks_and_are_each_told_once(tmp_path, digest):
    chain, ear = EmbeddedChain(tmp_path), Ear()
    async with running(chain, ear), trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(partial(chain.submit_anchor, digest(n), digest(("root", n)), count=n + 1))
        await ear.heard(200)
        assert await chain.proof_on_chain(digest(77)) == digest(("root", 77))
    assert len(ear.told) == 200
    assert len({anchor.tx_hash for anchor in ear.told}) == 200
    assert len({anchor.block_number for anchor in ear.told}) < 100


async def test_asking_again_after_it_is_final_sends_nothing(tmp_path, digest):
    chain, ear = EmbeddedChain(tmp_path), Ear()
    async with running(chain, ear):
        await chain.submit_anchor(digest(1), digest("root"))
        await ear.heard(1)
        await chain.submit_anchor(digest(1), digest("root"))
        await chain.submit_anchor(digest(2), digest("root"))
        await ear.heard(2)
        assert chain.status()["head"] == 3
    assert len(ear.told) == 2


async def test_the_contract_account_and_chain_are_kept_over_restarts(tmp_path, digest):
    seen = []
    for n in range(3):
        chain, ear = EmbeddedChain(tmp_path), Ear()
        async with running(chain, ear):
            await chain.submit_anchor(digest(n), digest("root"))
            await ear.heard(1)
            assert [anchor.anchor_id for anchor in ear.told] == [digest(n)]  # the older were told before
            assert await chain.proof_on_chain(digest(0)) == digest("root")
            seen.append((chain.status()["contract"], chain.status()["account"], chain.status()["head"]))
    assert len({(contract, account) for contract, account, _ in seen}) == 1
    assert [head for _, _, head in seen] == [2, 3, 4]


async def test_a_notice_that_was_not_taken_is_given_again(tmp_path, digest):
    class Lost(Exception):
        pass

    async def lose(anchor):
        raise Lost

    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S):
        await chain.submit_anchor(digest(1), digest("root"))
        with pytest.raises(Lost):
            await chain.run(lose)
    assert chain.status()["state"] == "stopped"
    ear = Ear()
    async with running(chain, ear):
        await ear.heard(1)
    assert ear.ids == {digest(1)}


@pytest.mark.parametrize(
    ("anchor_id", "root", "count"),
    [(b"short", b"\1" * 32, 1), (b"\1" * 32, b"", 1), (b"\1" * 32, bytes(32), 1), (b"\1" * 32, b"\1" * 32, 0)]
    + [(b"\1" * 32, b"\1" * 32, 2**32)],
)
async def test_a_bad_anchor_is_refused(tmp_path, anchor_id, root, count):
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S), pytest.raises(LocalFault, match="bad-anchor"):
        await chain.submit_anchor(anchor_id, root, count=count)
    assert list(tmp_path.iterdir()) == []


async def test_one_id_for_two_roots_is_refused(tmp_path, digest):
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S):
        await chain.submit_anchor(digest(1), digest("root"))
        with pytest.raises(LocalFault, match="outbox-conflict"):
            await chain.submit_anchor(digest(1), digest("other root"))
        await chain.aclose()


@pytest.mark.parametrize("chain_id", [0, -1, 2**63])
def test_a_chain_id_has_its_range(tmp_path, chain_id):
    with pytest.raises(LocalFault, match="bad-chain-id"):
        EmbeddedChain(tmp_path, chain_id)


async def test_a_second_daemon_on_the_home_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("swarmd.node.chain.kv._OPEN_TIMEOUT_S", 0.05)
    first = EmbeddedChain(tmp_path)
    async with running(first, Ear()):
        await until(lambda: first.status()["state"] == "ready")
        with pytest.raises(LocalFault, match="chain-in-use"):
            await EmbeddedChain(tmp_path).run(Ear())
        with pytest.raises(LocalFault, match="chain-running"):
            await first.run(Ear())
        assert first.status()["state"] == "ready"


async def test_another_chain_id_on_the_same_home_is_refused(tmp_path, digest):
    chain = EmbeddedChain(tmp_path)
    async with running(chain, Ear()):
        await until(lambda: chain.status()["state"] == "ready")
    with trio.fail_after(LIMIT_S), pytest.raises(LocalFault, match="chain-id-changed"):
        await EmbeddedChain(tmp_path, 7).run(Ear())


async def test_a_chain_started_anew_beside_an_old_outbox_is_refused(tmp_path):
    chain = EmbeddedChain(tmp_path)
    async with running(chain, Ear()):
        await until(lambda: chain.status()["state"] == "ready")
    (tmp_path / "chain" / "account.key").unlink()
    (tmp_path / "chain" / "chain.sqlite").unlink()
    with trio.fail_after(LIMIT_S), pytest.raises(CorruptState, match="outbox-of-another-chain"):
        await chain.run(Ear())


async def test_asking_a_stopped_chain_says_so(tmp_path, digest):
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S), pytest.raises(LocalFault, match="chain-stopped"):
        await chain.proof_on_chain(digest(1))


async def test_stopping_while_it_starts_leaves_it_whole(tmp_path, digest):
    ear = Ear()
    for patience_s in (0.0, 0.001, 0.01, 0.03):
        chain = EmbeddedChain(tmp_path)
        with trio.fail_after(LIMIT_S):
            await chain.submit_anchor(digest(patience_s), digest("root"))
            with trio.move_on_after(patience_s):
                await chain.run(ear)
    chain = EmbeddedChain(tmp_path)
    async with running(chain, ear):
        await ear.heard(4)


async def test_a_full_disk_is_a_state_that_passes(tmp_path, digest):
    chain, ear = EmbeddedChain(tmp_path), Ear()
    async with running(chain, ear):
        await until(lambda: chain.status()["state"] == "ready")
        evm_file = chain._machine.client._kv._connection
        pages = evm_file.execute("PRAGMA page_count").fetchone()[0]
        evm_file.execute(f"PRAGMA max_page_count={pages}")
        for n in range(40):
            await chain.submit_anchor(digest(n), digest("root"))
        await until(lambda: chain.status()["state"] == "degraded")
        assert "chain-storage: database or disk is full" in chain.status()["error"]
        assert chain.status()["pending"] > 0
        evm_file.execute("PRAGMA max_page_count=1000000")
        await ear.heard(40)
        await until(lambda: chain.status()["state"] == "ready")
        assert chain.status()["error"] == ""
    assert len(ear.told) == 40


async def test_an_anchor_that_cannot_be_written_is_not_promised(tmp_path, digest):
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S):
        await chain.submit_anchor(digest("first"), digest("root"))
        database = chain._outbox._db
        database.execute(f"PRAGMA max_page_count={database.execute('PRAGMA page_count').fetchone()[0]}")
        written = 0
        with pytest.raises(LocalFault, match="chain-storage: database or disk is full"):
            for written in range(1000):  # until the last page is full
                await chain.submit_anchor(digest(written), digest("root"))
        assert await chain.anchor_state(digest(written)) == "unknown"
        assert chain.status()["pending"] == written + 1
        await chain.aclose()


async def test_a_folder_that_cannot_be_made_is_a_named_fault(tmp_path, digest):
    (tmp_path / "chain").write_text("in the way")
    chain = EmbeddedChain(tmp_path)
    with trio.fail_after(LIMIT_S), pytest.raises(LocalFault, match="chain-storage"):
        await chain.submit_anchor(digest(1), digest("root"))
