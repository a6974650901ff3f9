"""The `Chain` port over the embedded EVM or JSON-RPC endpoints: anchors in, `AnchorSeen` out, each on chain exactly
once.

Files of a home: `chain/account.key` (0600) and `chain/chain.sqlite` of the embedded EVM, or `chain/keystore.json` of
an account elsewhere; `chain/outbox.sqlite` in both cases.
"""

import math
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from swarmd.node.chain.client import Unavailable
from swarmd.node.chain.outbox import Outbox, pack_anchor
from swarmd.node.chain.requests import ANCHOR, CALL
from swarmd.node.chain.troubles import fix_of
from swarmd.node.ports import AnchorSeen
from swarmd.protocol.faults import CorruptState, LocalFault

if TYPE_CHECKING:
    from swarmd.node.chain.anchoring import AnchorMachine

T = TypeVar("T")
OnSeen = Callable[[AnchorSeen], Awaitable[None]]

DEFAULT_CHAIN_ID = 1337
MAX_CHAIN_ID = 2**63 - 1
MAX_COUNT = 2**32 - 1  # the contract's uint32
NOTIFY_BATCH = 64
DUTY_INTERVAL_S = 30.0
RETRY_FIRST_S = 0.25
RETRY_LONGEST_S = 15.0
# Loaded one by one in the worker thread, so that a cancellation waits for one of them at most.
_HEAVY_MODULES = (
    "eth_abi.abi",
    "eth_account",
    "eth.chains.base",
    "eth.vm.forks.prague",
    "swarmd.node.chain.anchoring",
)
# Faults that an operator can mend while we keep trying.
_PATIENT_WITH = frozenset({"chain-storage"})


@contextmanager
def _storage_faults(folder: Path) -> Iterator[None]:
    """Name the faults of the disk: what an operator can mend is LocalFault `chain-storage`, the rest corruption."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:  # full, read-only, I/O error, no permission
        fix = f"free disk space and check that {folder} is writable; it goes on by itself"
        raise LocalFault("chain-storage", str(error), fix=fix) from error
    except sqlite3.DatabaseError as error:
        raise CorruptState("bad-chain-file", f"{folder}: {error}") from error


def _load(module: str) -> None:
    """Import, and put back the recursion limit, which py-evm and py_ecc raise to 100,000 for the whole process.

    They need it for calls nested 1,024 deep; our contracts call a token at most. Deep recursion in C, such as a JSON
    parser's, would end in a stack overflow instead of RecursionError.
    """
    limit = sys.getrecursionlimit()
    try:
        import_module(module)
    finally:
        sys.setrecursionlimit(limit)


class ChainService:
    """The chain of one home. `submit_anchor` works at once and without `run`; `run` brings the anchors on chain.

    All disk and chain work happens in worker threads: one at a time for the chain, another for submissions, so
    that queueing an anchor never waits for a block.
    """

    kind = ""
    poll_s = 0.0  # how often a chain is asked that others make blocks for; 0: it is ours alone
    _modules: tuple[str, ...] = _HEAVY_MODULES

    def __init__(self, home: Path, chain_id: int = DEFAULT_CHAIN_ID) -> None:
        """Touches nothing yet. Raises LocalFault `bad-chain-id`."""
        if not 0 < chain_id <= MAX_CHAIN_ID:
            raise LocalFault(
                "bad-chain-id", f"{chain_id}", fix=f"a chain id lies between 1 and {MAX_CHAIN_ID}"
            )
        self._home = home
        self._folder = home / "chain"
        self._chain_id = chain_id
        self._chain_limiter = trio.CapacityLimiter(1)
        self._outbox_limiter = trio.CapacityLimiter(1)
        self._outbox: Outbox | None = None
        self._machine: AnchorMachine | None = None
        self._ready = trio.Event()
        self._wake = trio.Event()
        self._running = False
        self._state = "stopped"
        self._error = ""
        self._trouble = ""
        self._head = 0
        self._account = ""
        self._contract = ""
        # Work beside the anchors, done in the chain's thread once a round (settlement, channels, watching).
        self.duties: list[Callable[[AnchorMachine], None]] = []
        self.closers: list[Callable[[], None]] = []  # what lets go of files that duties opened

    def _open(self, outbox: Outbox) -> "AnchorMachine":
        """The machine of this kind of chain; in the chain's thread."""
        raise NotImplementedError

    # The port

    async def submit_anchor(self, anchor_id: bytes, root: bytes, *, count: int = 1) -> None:
        """Queue the `root` of a tree of `count` leaves. Durable, and idempotent by `anchor_id`, once it returns.

        Raises LocalFault: `bad-anchor`, `outbox-conflict` if the id was used for another root or count,
        `chain-storage` if it could not be written. Nothing was queued then.
        """
        if len(anchor_id) != 32 or len(root) != 32 or not any(root):
            raise LocalFault("bad-anchor", "an anchor id and a root have 32 bytes, and a root is not zero")
        if not 1 <= count <= MAX_COUNT:
            raise LocalFault("bad-anchor", f"a tree has 1 to {MAX_COUNT} leaves, not {count}")
        payload = pack_anchor(root, count)
        await self._with_outbox(lambda outbox: outbox.submit(ANCHOR, anchor_id, payload))
        self._wake.set()

    async def run(
        self, on_seen: OnSeen, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled. `started()` at once: the chain loads in the background.

        `on_seen` is called once for each anchor that is on chain, and again if a crash came before its return
        was noted. What it raises ends `run`. A full disk or a dead endpoint does not: `status` says so, and it tries
        again. Raises LocalFault (`chain-in-use`, `chain-id-changed`, `key-exposed`) or CorruptState.
        """
        if self._running:
            raise LocalFault("chain-running", "run() was called twice", fix="make one chain per home")
        self._running = True
        self._state, self._error, self._trouble = "starting", "", ""
        task_status.started()
        try:
            await self._patiently(self._start)
            while True:
                self._wake = trio.Event()  # before the work: what is submitted meanwhile sets it
                await self._patiently(lambda: self._round(on_seen))
                if self._pending() == 0:
                    self._state = "ready"
                await self._wait()
        finally:
            self._running = False
            with trio.CancelScope(shield=True):  # waits for one commit at most
                await self.aclose()

    async def _wait(self) -> None:
        """Until there is something to do: at once on a chain of our own, by the clock where others make blocks."""
        if self.poll_s:
            with trio.move_on_after(self.poll_s):
                await self._wake.wait()
        elif self._pending() == 0:
            with trio.move_on_after(DUTY_INTERVAL_S if self.duties else math.inf):
                await self._wake.wait()

    def status(self) -> Mapping[str, Any]:
        """For operators; from memory, never blocks.

        `state`: stopped, starting, ready, anchoring, or degraded (`trouble` names why, `error` says it in words; it
        keeps trying). `trouble`: out-of-gas, stuck, fee-above-cap, rpc-down, behind, wrong-chain, chain-storage, ...
        `requests`: how many are queued, signed, sent, mined, final, failed (the deployment counts as one).
        """
        outbox = self._outbox
        return {
            "kind": self.kind,
            "chain_id": self._chain_id,
            "contract": self._contract,
            "account": self._account,
            "head": self._head,
            "pending": 0 if outbox is None else outbox.pending(),
            "state": self._state,
            "trouble": self._trouble,
            "error": self._error,
            "fix": fix_of(self._trouble) if self._trouble else "",
            "reorged": 0 if outbox is None else outbox.reorged,
            "requests": {} if outbox is None else dict(outbox.counts()),
        }

    # More than the port asks for

    async def proof_on_chain(self, anchor_id: bytes) -> bytes | None:
        """The 32-byte root that the contract holds for our `anchor_id`, None if there is none.

        Waits until the chain has started. Raises LocalFault `chain-stopped` without a `run`.
        """
        if self._running:
            await self._ready.wait()
        return await self._with_machine(lambda machine: machine.root_of(anchor_id))

    async def anchor_state(self, anchor_id: bytes) -> str:
        """Where an anchor is: "queued", "signed", "sent", "mined", "final", "failed:REASON", or "unknown"."""
        request = await self._with_outbox(lambda outbox: outbox.get(ANCHOR, anchor_id))
        return "unknown" if request is None else request.label

    async def copying(self, work: Callable[[Callable[[Path], None] | None], T]) -> T:
        """Run `work` in the chain's thread, so that no block is made and no anchor reported while it copies files.

        It gets what copies `chain.sqlite` to a path, or None where the chain has not started: then anybody can.
        """

        def run() -> T:
            machine = self._machine
            copy = getattr(None if machine is None else machine.client, "copy_to", None)
            return work(copy)

        return await trio.to_thread.run_sync(run, limiter=self._chain_limiter)

    async def aclose(self) -> None:
        """Let go of the files. Only needed where `submit_anchor` was used without `run`, or after it."""
        machine, self._machine = self._machine, None
        self._ready = trio.Event()
        self._state = "stopped"

        def close() -> None:
            for closer in self.closers:
                closer()
            if machine is not None:
                machine.close()

        await trio.to_thread.run_sync(close, limiter=self._chain_limiter)

        def close_outbox() -> None:
            outbox, self._outbox = self._outbox, None
            if outbox is not None:
                outbox.close()

        await trio.to_thread.run_sync(close_outbox, limiter=self._outbox_limiter)

    # Threads. Never abandoned on cancel: a thread left behind would write to files we believe closed.

    async def _in_chain_thread(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            with _storage_faults(self._folder):
                return work()

        return await trio.to_thread.run_sync(guarded, limiter=self._chain_limiter)

    async def _with_machine(self, work: Callable[["AnchorMachine"], T]) -> T:
        machine = self._machine
        if machine is None:
            raise LocalFault("chain-stopped", "the chain is not running", fix="start the daemon")
        return await self._in_chain_thread(lambda: work(machine))

    async def _with_outbox(self, work: Callable[[Outbox], T]) -> T:
        """Run `work` beside the chain's thread, on the outbox, opened on first use."""

        def guarded() -> T:
            with _storage_faults(self._folder):
                return work(self._open_outbox())

        return await trio.to_thread.run_sync(guarded, limiter=self._outbox_limiter)

    def _open_outbox(self) -> Outbox:
        if self._outbox is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._outbox = Outbox(self._folder / "outbox.sqlite")
        return self._outbox

    async def with_machine(self, work: Callable[["AnchorMachine"], T]) -> T:
        """Run `work` in the chain's thread, once the chain has started. LocalFault `chain-stopped` without a `run`,
        `chain-unavailable` if it can't be asked now."""
        if self._running:
            await self._ready.wait()
        try:
            return await self._with_machine(work)
        except Unavailable as error:
            fix = "see swarmd settle status; it goes on by itself when the chain answers again"
            raise LocalFault("chain-unavailable", str(error), fix=fix) from None

    async def visit(self, work: Callable[["AnchorMachine"], T]) -> T:
        """Open the chain without `run`, do one thing, let go: for commands while the daemon is down.

        Raises LocalFault, `chain-in-use` if the daemon is up after all; `chain-unavailable`.
        """
        try:
            refusal = await self._start()
            if refusal and not refusal.startswith("deploying"):
                raise LocalFault("chain-unavailable", refusal, fix="see swarmd settle status")
            return await self._with_machine(work)
        except Unavailable as error:
            raise LocalFault("chain-unavailable", str(error), fix="check chain_rpc in swarmd.toml") from None
        finally:
            with trio.CancelScope(shield=True):
                await self.aclose()

    async def submit_call(self, key: bytes, payload: bytes) -> None:
        """Queue a transaction made by `pack_call`; as `submit_anchor`."""
        await self._with_outbox(lambda outbox: outbox.submit(CALL, key, payload))
        self.wake()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    # The work

    async def _patiently(self, work: Callable[[], Awaitable[str]]) -> None:
        """Repeat `work` until it returns no complaint, waiting longer each time; the state names what is wrong."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                self._error = await work()
                self._trouble = self._error.partition(":")[0]
            except LocalFault as fault:
                if fault.code not in _PATIENT_WITH:
                    raise
                self._error, self._trouble = str(fault), fault.code
            except Unavailable as error:
                self._error, self._trouble = str(error), error.code
            if self._error == "":
                return
            self._state = "degraded"
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_LONGEST_S)

    async def _start(self) -> str:
        for module in self._modules:
            await trio.to_thread.run_sync(_load, module, limiter=self._chain_limiter)
        outbox = await self._with_outbox(lambda outbox: outbox)
        refusal = await self._in_chain_thread(lambda: self._open_machine(outbox))
        if not refusal:
            self._ready.set()
        return refusal

    def _open_machine(self, outbox: Outbox) -> str:
        from swarmd.node.chain.codec import checksum

        if self._machine is None:
            self._machine = self._open(outbox)
        machine = self._machine
        self._account = checksum(machine.signer.account)
        refusal = machine.deploy()
        self._head = machine.client.head()
        self._contract = checksum(machine.contract) if machine.contract else ""
        return refusal

    async def _round(self, on_seen: OnSeen) -> str:
        """What is due, and the notices of what is final; returns what stands in the way, or ""."""
        error = ""
        if self._pending() > 0 or self.poll_s or self.duties:
            if self._pending() > 0:
                self._state = "anchoring"
            error, self._head = await self._with_machine(self._turn)
        while await self._notify(on_seen):
            pass
        return error

    def _turn(self, machine: "AnchorMachine") -> tuple[str, int]:
        for duty in self.duties:
            duty(machine)
        error = machine.tick() if machine.outbox.pending() else ""
        return error, machine.client.head()

    async def _notify(self, on_seen: OnSeen) -> bool:
        """Tell of one batch of final anchors and note that it was told; False if there was none."""
        seen = await self._with_machine(
            lambda m: [(r.seq, m.anchor_seen(r)) for r in m.outbox.unnotified(ANCHOR, NOTIFY_BATCH)]
        )
        for _, anchor in seen:
            await on_seen(anchor)
        if seen:
            await self._with_machine(lambda m: m.outbox.mark_notified([seq for seq, _ in seen]))
        return bool(seen)

    def _pending(self) -> int:
        outbox = self._outbox
        return 0 if outbox is None else outbox.pending()


class EmbeddedChain(ChainService):
    """The EVM inside the daemon: one account, play money, blocks on demand."""

    kind = "embedded"

    def _open(self, outbox: Outbox) -> "AnchorMachine":
        from swarmd.node.chain.anchoring import open_embedded

        return open_embedded(self._folder, self._chain_id, outbox)
