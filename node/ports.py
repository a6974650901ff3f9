"""The ports of the daemon: what the runner needs of the world, as protocols and plain records.

The runner knows these and nothing of libp2p, web3, wasmtime or SQLite; the simulator fits its own.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from swarmd.protocol.effects import Arbitrate, CheckClaim
from trio import TASK_STATUS_IGNORED, TaskStatus


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connected peer as an operator sees it."""

    peer_id: str
    did: str
    addrs: tuple[str, ...]
    direction: str  # "inbound" | "outbound"
    connected_at_ns: int
    rtt_ms: float | None
    score: float  # 0.0 (cut off) to 1.0
    faults: Mapping[str, int]  # fault code -> count
    frames_in: int
    frames_out: int
    bytes_in: int
    bytes_out: int


class PeerGone(Exception):
    """The peer left, or did not answer in time."""


class TransportHandler(Protocol):
    """What the transport calls. A `RemoteFault` raised here is charged to the peer, nothing else happens."""

    def on_frame(self, peer_id: str, frame: bytes) -> None:
        """A gossiped frame (at most MAX_FLUSH_BYTES). Deduplicated by the transport on a best effort.
        Never waits: it is called where the connection is read."""

    async def on_request(self, peer_id: str, body: bytes) -> bytes:
        """A request on the peer's kept-open stream; the returned bytes are the answer."""

    async def on_peer_up(self, peer_id: str, did: str) -> None:
        """A peer finished its handshake and its request stream is open."""

    async def on_peer_down(self, peer_id: str) -> None:
        """A peer is gone."""


class Transport(Protocol):
    """Frames to everybody, requests to one. Lossy gossip, reliable requests."""

    @property
    def peer_id(self) -> str: ...

    @property
    def addrs(self) -> tuple[str, ...]:
        """Multiaddrs ending in /p2p/PEER_ID that others can dial."""

    async def run(
        self, handler: TransportHandler, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled. `started()` once listening."""

    async def publish(self, frame: bytes) -> None:
        """Gossip `frame` to the mesh. Never blocks on a slow peer."""

    async def request(self, peer_id: str, body: bytes, *, timeout_s: float = 30.0) -> bytes:
        """Ask one peer. Raises PeerGone, or RemoteFault if the peer answered with an error."""

    async def connect(self, addr: str) -> str:
        """Dial a multiaddr, return the peer id. Raises LocalFault (bad address) or PeerGone (with why)."""

    def report(self, peer_id: str, code: str) -> None:
        """Charge a fault to a peer; the transport scores it down and cuts it off below its threshold."""

    def peers(self) -> Sequence[PeerInfo]: ...


class BlockStore(Protocol):
    """Blocks by binary CIDv1 (36 bytes: raw, dag-pb or dag-cbor, sha2-256). What goes in is verified against its CID
    (RemoteFault `cid-mismatch`, `bad-cid`, `block-too-big`), and so is what comes out: a block that rotted is missing.

    Calls are short but may wait for a disk. `put_many` of more than a few blocks belongs in a worker thread, where the
    implementation may be called from one.
    """

    def put(self, cid: bytes, block: bytes) -> None: ...

    def put_many(self, blocks: Iterable[tuple[bytes, bytes]], /) -> int:
        """Store `(cid, block)` pairs as they come, at constant memory; returns how many were given."""

    def get(self, cid: bytes) -> bytes | None: ...

    def has(self, cid: bytes) -> bool: ...

    def size_of(self, cid: bytes) -> int | None:
        """The bytes of a block that is here, without reading it; None if it is not."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What is kept: a block, or with `recursive` all that it links to as well."""

    cid: bytes
    recursive: bool
    name: str  # for people; may be empty
    at_s: int  # Unix time


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store holds and may hold."""

    blocks: int
    bytes: int  # of the blocks
    disk_bytes: int  # of its files
    max_bytes: int  # quota over `bytes`; 0: none
    corrupt: int  # blocks found not to hash to their CIDs since it was opened
    pins: int


class ContentStore(BlockStore, Protocol):
    """Blocks that stay: pins, quota, garbage collection. Safe to call from any thread; the embedded store
    (`node.content.repo`) and a kubo daemon are the two that there are.
    """

    def sync(self) -> None:
        """Whatever was put before survives a power cut once this returns."""

    def delete(self, cid: bytes) -> bool:
        """Forget a block, pinned or not; False if there was none."""

    def cids(self) -> Iterator[bytes]:
        """Every block that is here, in no order."""

    def pin(self, cid: bytes, *, recursive: bool = True, name: str = "") -> Pin:
        """Keep a block or a whole DAG. LocalFault `content-missing` names a block of it that is not here."""

    def unpin(self, cid: bytes) -> bool:
        """Let go; what nothing else keeps goes with the next garbage collection. False if it was not pinned."""

    def pins(self) -> Sequence[Pin]:
        """Oldest first."""

    def usage(self) -> Usage: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy gate said of one input."""

    allow: bool
    reasons: tuple[str, ...]  # names of the rules hit
    gas: int
    digest: bytes  # 32 bytes: H(input || verdict || policy hash || gas || engine version)
    obligations: tuple[str, ...] = ()  # what the policy asks of the node beside: "log"


class PolicyGate(Protocol):
    @property
    def policy_hash(self) -> bytes:
        """32 bytes naming module, data, gas limit and engine: equal hashes give equal verdicts and digests."""

    def evaluate(self, gate: str, facts: Mapping[str, Any]) -> Verdict:
        """`gate` is "preflight", "ingress" or "commit". Never raises: what goes wrong is a deny."""


@dataclass(frozen=True, slots=True)
class AnchorSeen:
    """An anchor of ours is on chain."""

    anchor_id: bytes  # 32 bytes
    tx_hash: bytes  # 32 bytes
    block_number: int
    chain_id: int
    contract: str  # checksummed address


class Chain(Protocol):
    async def run(
        self,
        on_seen: Callable[[AnchorSeen], Awaitable[None]],
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; calls `on_seen` for each anchor that got on chain, at least once each."""

    async def submit_anchor(self, anchor_id: bytes, root: bytes, *, count: int = 1) -> None:
        """Queue the 32-byte `root` for anchoring. Durable and idempotent by `anchor_id` once it returns."""

    def status(self) -> Mapping[str, Any]:
        """State for operators: kind, chain_id, contract, head, pending, state (named), account."""


class Arbiter(Protocol):
    """Which plan wins, where genesis names one beside the committee."""

    async def decide(self, asked: Arbitrate) -> bytes:
        """The plan on record for the need and epoch, after recording the one asked for if there was none; b"" where it is
        too late for that. Tries until it is cancelled or has an answer; may be asked again."""

    def status(self) -> Mapping[str, Any]:
        """State for operators: kind, state (named), error, pending."""


class Attestation(Protocol):
    """Who can tell whether a verifier runs where it says."""

    @property
    def forms(self) -> Sequence[str]:
        """The formats of quotes that it can verify."""

    def verify(self, form: str, quote: bytes, data: bytes) -> str:
        """ "" if `quote` is genuine and over `data` (32 bytes), else why not. Never raises for what a peer made."""


class Claims(Protocol):
    """Who can tell what happened on the chain."""

    async def check(self, claim: CheckClaim) -> tuple[int, str]:
        """(minor units that the chain says, "" or why the claim is not so). Never raises for what a peer made."""


@dataclass(frozen=True, slots=True)
class Job:
    """One task for one local agent."""

    job_id: str
    need: str
    task: str
    capability: str
    input: Mapping[str, Any]  # argument -> JSON value
    timeout_s: float
    purpose: str = "work"  # "work" | "verify"
    traceparent: str = ""  # W3C, of the span of this job, where its need is traced


@dataclass(frozen=True, slots=True)
class JobResult:
    """What an agent made of a job. `error` is None exactly when `output` is the agent's JSON answer."""

    job_id: str
    output: Any
    error: str | None  # stable code: "crashed", "timeout", "bad-output", "output-too-big", "no-agent", ...
    detail: str  # for people: exit status, the last lines of stderr
    telemetry: Mapping[str, int] = field(default_factory=dict)  # wall_ms, cpu_ms, max_rss_kb, output_bytes


@dataclass(frozen=True, slots=True)
class Capability:
    """What a local agent offers."""

    name: str  # e.g. "text.wordcount"
    price: int  # USDC minor units for one task


class AgentHost(Protocol):
    """The agents of this host."""

    def capabilities(self) -> Sequence[Capability]:
        """The cheapest offer for each capability that some enabled local agent can serve now."""

    async def run_job(self, job: Job) -> JobResult:
        """Run to the end, within its limits. Never raises for what the agent does."""
