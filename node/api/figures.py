"""What analytics answers, as schemas for /openapi.json. Each node counts for itself: docs/analytics.md."""

from pydantic import BaseModel, Field


class Amount(BaseModel):
    usdc: str
    minor: int


class Percentiles(BaseModel):
    """Milliseconds, each the upper end of its bucket: at most 12 % above the true value."""

    count: int
    p50: float
    p95: float
    p99: float


class EscrowFigures(BaseModel):
    success_rate: float | None = Field(description="finalized among the ended, 0 to 1; null of none")
    budget: Amount
    paid: Amount
    returned: Amount


class AgentFigures(BaseModel):
    did: str
    reputation: int = Field(ge=0, le=100, description="0 to 100; 50 of the unknown")
    accepted: int
    failed: int
    earned: Amount
    posted: int
    spent: Amount


class Ranked(AgentFigures):
    rank: int = Field(ge=1)


class CapabilityFigures(BaseModel):
    capability: str
    accepted: int
    failed: int
    success_rate: float | None
    paid: Amount


class Hour(BaseModel):
    from_s: int = Field(description="Unix time it begins")
    needs: int
    ended: int
    finalized: int
    paid: Amount


class Leaderboard(BaseModel):
    leaderboard: list[Ranked]
    behind_s: float


class Analytics(Leaderboard):
    level: bool = Field(description="whether the start is counted")
    needs: dict[str, int]
    escrow: EscrowFigures
    tasks: dict[str, int]
    challenges: dict[str, int]
    latency: dict[str, Percentiles]
    capabilities: list[CapabilityFigures]
    hours: list[Hour]
    me: AgentFigures
