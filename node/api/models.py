"""What the API answers, as schemas for /openapi.json. Answers are what the operations of the local socket give;
these say what of it can be relied on. Amounts are decimal USDC as text, `minor` the same in millionths."""

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """RFC 9457, with the fault's stable code and what to do about it."""

    type: str
    title: str
    status: int
    code: str = Field(description="stable, for programs")
    detail: str = Field(description="a sentence for people")
    fix: str = Field(description="what to do about it; may be empty")


class Mesh(BaseModel):
    id: str
    name: str


class Status(BaseModel):
    version: str
    did: str
    peer_id: str
    addrs: list[str]
    mesh: Mesh
    epoch: int
    uptime_s: int
    peers: int
    needs: dict[str, int] = Field(description="state -> how many")
    agents: int
    roles: list[str]
    lamport: int
    mesh_digest: str
    balance: str
    chain: dict[str, Any]


class Session(BaseModel):
    did: str
    name: str
    scopes: list[str]
    expires_s: float
    csrf: str = Field(description="for the header X-Swarmd-CSRF; empty for a token")


class Need(BaseModel):
    need: str
    title: str
    state: str
    owner: str
    budget: str
    paid: str
    tasks: int
    done: int
    created_ns: int


class NeedPage(BaseModel):
    needs: list[Need]
    total: int
    next: str | None = Field(description="the cursor of the next page; null on the last")


class NeedDetail(BaseModel):
    need: str
    title: str
    state: str
    owner: str
    budget: str
    paid: str
    created_ns: int
    deadline_ns: int
    reason: str
    tasks: list[dict[str, Any]]
    escrow: dict[str, Any]
    challenges: list[dict[str, Any]]
    result: dict[str, str] = Field(description="task -> CID")
    values: dict[str, Any] = Field(description="task -> the result itself, where it is here and JSON")
    anchor: dict[str, Any] | None


class Agents(BaseModel):
    agents: list[dict[str, Any]]


class Peers(BaseModel):
    peers: list[dict[str, Any]]
    pool: dict[str, Any]
    dropped: dict[str, int]


class Posted(BaseModel):
    need: str


class Waited(BaseModel):
    ended: bool
    need: str


class Graph(BaseModel):
    need: str


class Why(BaseModel):
    need: str
    title: str
    state: str
    reason: str
    steps: list[dict[str, Any]] = Field(description="each envelope in causal order")
    money: dict[str, Any]
    anchor: dict[str, Any] | None


class Tasks(BaseModel):
    tasks: list[dict[str, Any]]
    counts: dict[str, int]


class Thread(BaseModel):
    thread: str
    envelopes: list[dict[str, Any]]
    total: int
    next: int | None = Field(description="`after` of the next page; null on the last")


class ThreadRoot(BaseModel):
    thread: str
    root: str
    count: int
    pages: int


class State(BaseModel):
    state_digest: str
    mesh_digest: str
    epoch: int
    needs: int
    batches: int
    journal: dict[str, Any]


class Synced(BaseModel):
    """How many peers answered and what was got."""


class Invite(BaseModel):
    ticket: str
    addrs: list[str]
    expires_s: int
    private: bool


class Stderr(BaseModel):
    stderr: str


class Standings(BaseModel):
    standings: list[dict[str, Any]]


class Access(BaseModel):
    entry: str | None
    entries: list[dict[str, Any]]


class Net(BaseModel):
    """Sources of peers, what each dial came to, and how this node is reached."""


class Policy(BaseModel):
    active: str
    policy_hash: str
    stored: list[dict[str, Any]]
    offered: list[dict[str, Any]]
    gates: dict[str, int]


class Consensus(BaseModel):
    epoch: int
    quorum_mode: str
    roster: int
    needs: dict[str, Any]
    evidence: int


class Verifiers(BaseModel):
    epoch: int
    stake: str
    counts: dict[str, int]
    verifiers: list[dict[str, Any]]


class Checkpoints(BaseModel):
    epoch: int
    checkpoints: list[dict[str, Any]]


class Balance(BaseModel):
    did: str
    available: str
    pending: str
    locked: str
    earned: str
    spent: str
    minor: dict[str, int]


class Settlement(BaseModel):
    chain: dict[str, Any]
    waits_for: str
    epochs: list[dict[str, Any]]


class Channels(BaseModel):
    channels: list[dict[str, Any]]


class Usage(BaseModel):
    blocks: int
    bytes: int
    max_bytes: int


class Added(BaseModel):
    cid: str
    size: int


class Pins(BaseModel):
    pins: list[dict[str, Any]]


class Escrow(BaseModel):
    escrow: str
    title: str
    state: str
    role: str = Field(description="what this node is in it")
    buyer: str
    seller: str | None
    amount: str
    held: str
    paid: str
    returned: str
    waits_for: list[Any]


class Escrows(BaseModel):
    escrows: list[dict[str, Any]]
    total: int


class Reputation(BaseModel):
    did: str
    reputation: int = Field(description="0 to 100")
    settled_well: int
    settled_badly: int
    stake: str
    tier: str
