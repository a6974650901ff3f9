"""What the API is asked, as schemas: strict, and nothing beside what is named."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

USDC = Annotated[
    str,
    Field(min_length=1, max_length=40, description="decimal USDC with at most 6 places", examples=["1.50"]),
]
Account = Annotated[
    str, Field(min_length=40, max_length=42, description="an account of the chain: 0x and 40 hex digits")
]
Cid = Annotated[str, Field(min_length=1, max_length=128, description="a CIDv1")]


class Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class TaskSpec(Body):
    """docs/cli.md has the format; what is wrong in it is answered with its place."""

    capability: str = Field(max_length=256, examples=["text.wordcount"])
    id: str | None = Field(None, max_length=256)
    input: dict[str, Any] | None = Field(None, examples=[{"text": {"text": "how many words?"}}])
    max_price: str | None = Field(None, max_length=40)
    verify: Any = None
    after: list[str] | None = Field(None, max_length=1_000)


class NeedSpec(Body):
    """A need: its tasks, what they may cost and until when."""

    tasks: list[TaskSpec] = Field(min_length=1, max_length=1_000)
    budget: USDC
    title: str | None = Field(None, max_length=1_000)
    deadline_s: int | None = Field(None, description="seconds from now")
    agent: str | None = Field(None, max_length=64)
    pay: str | None = Field(None, max_length=16)


class ChallengeSpec(Body):
    reason: str = Field(max_length=4_000)
    task: str | None = Field(None, max_length=256, description="needed where the need has several")
    evidence: list[Cid] = Field(default_factory=list, max_length=64)


class BanSpec(Body):
    for_s: float = Field(86_400.0, gt=0, description="seconds")
    reason: str = Field("operator", min_length=1, max_length=200)


class AccessSpec(Body):
    entry: str = Field(min_length=1, max_length=256, description="a peer id, did:key or network")
    verdict: str = Field(description="allow, deny or none", pattern="^(allow|deny|none)$")


class InviteSpec(Body):
    ttl_s: int = Field(7 * 86_400, gt=0)
    addrs: list[str] = Field(default_factory=list, max_length=32)


class PinSpec(Body):
    name: str = Field("", max_length=256)
    recursive: bool = True


class GcSpec(Body):
    grace_s: float = Field(3_600.0, ge=0, lt=1e9, description="what is younger stays")


class CapsuleSpec(Body):
    cid: Cid


class ActivateSpec(Body):
    cid: Cid
    at_lamport: int = Field(0, ge=0)


class AmountSpec(Body):
    amount: USDC


class FundSpec(AmountSpec):
    to: Account | None = None


class DepositSpec(AmountSpec):
    account: Account | None = None


class WithdrawalSpec(Body):
    amount: USDC | None = Field(None, description="ask for it; without: take what is ready")


class Receipt(Body):
    id: str = Field(max_length=66, description="32 bytes of hex")
    payer: Account
    payee: Account
    amount: USDC
    memo: str = Field("", max_length=1_000)


class ReceiptsSpec(Body):
    receipts: list[Receipt] = Field(min_length=1, max_length=10_000)


class ProofSpec(Body):
    proof: dict[str, Any] = Field(description="what GET /settlement/receipts/{id} answered")


class ChannelSpec(AmountSpec):
    payee: Account
    challenge_s: int | None = Field(None, gt=0, lt=1 << 32)


class VoucherSpec(Body):
    voucher: str = Field(max_length=2_000)
    watch: bool = Field(False, description="someone else's: bring it if its payer closes")


class JoinSpec(Body):
    stake: USDC | None = None


class LeaveSpec(Body):
    reason: str = Field("", max_length=200)


class Milestone(Body):
    name: str = Field(min_length=1, max_length=256)
    amount: USDC


class Wait(Body):
    name: str = Field(min_length=1, max_length=256)
    by: str = Field(max_length=128, description="the did:key that says it is so")


class Terms(Body):
    """What two parties agree on (docs/escrow.md). What is left out is as in the last offer, or the default."""

    title: str | None = Field(None, max_length=1_000)
    spec: str | None = Field(None, max_length=65_536)
    amount: USDC | None = Field(None, description="or the sum of the milestones")
    seller: str | None = Field(None, max_length=128, description="a did:key; without one anybody may offer")
    milestones: list[Milestone] | None = Field(None, min_length=1, max_length=64)
    deadline_s: int | None = Field(None, ge=0)
    review_s: int | None = Field(None, ge=0)
    scorers: list[str] | None = Field(None, max_length=64)
    score_quorum: int | None = Field(None, ge=0, le=255)
    panel: list[str] | None = Field(None, max_length=64)
    quorum: int | None = Field(None, ge=0, le=255)
    panel_s: int | None = Field(None, ge=0)
    undecided_bp: int | None = Field(
        None, ge=0, le=10_000, description="the seller's part if the panel is silent"
    )
    after: list[Wait] | None = Field(None, max_length=64)
    expires_s: int | None = Field(None, ge=0, description="how long the offer holds")


class EscrowSpec(Terms):
    title: str = Field(max_length=1_000)


class OfOne(Body):
    escrow: str = Field(min_length=1, max_length=128, description="its id, or an unambiguous beginning of it")


class OfferSpec(Terms, OfOne):
    note: str | None = Field(None, max_length=4_000)


class AcceptSpec(OfOne):
    offer: Cid | None = None


class FundEscrowSpec(OfOne):
    seller: str | None = Field(None, max_length=128)


class SubmitSpec(OfOne):
    cid: Cid = Field(description="of what is delivered")
    milestone: str | None = Field(None, max_length=256)
    note: str | None = Field(None, max_length=4_000)


class ScoreSpec(OfOne):
    score: int = Field(ge=0, le=100)
    milestone: str | None = Field(None, max_length=256)
    reason: str | None = Field(None, max_length=4_000)


class ReadySpec(OfOne):
    name: str = Field(min_length=1, max_length=256)


class ReleaseSpec(OfOne):
    milestones: list[str] = Field(default_factory=list, max_length=64, description="all, if none is named")


class RefundSpec(OfOne):
    reason: str | None = Field(None, max_length=4_000)


class DisputeSpec(OfOne):
    reason: str = Field(min_length=1, max_length=4_000)
    evidence: list[Cid] = Field(default_factory=list, max_length=64)


class ResolveSpec(OfOne):
    seller_bp: int = Field(ge=0, le=10_000, description="the seller's part, in hundredths of a percent")
    reason: str | None = Field(None, max_length=4_000)


class Paying(Body):
    wait_s: float | None = Field(None, ge=0, le=60, description="wait so long for it to be final (10)")


class TransferSpec(Paying, AmountSpec):
    to: str = Field(min_length=1, max_length=128, description="a did:key")
    memo: str = Field("", max_length=1_000)


class ShadowDepositSpec(Paying, AmountSpec):
    pass


class ShadowWithdrawSpec(Paying, AmountSpec):
    to: Account | None = Field(None, description="default: this node's account on the chain")
    memo: str = Field("", max_length=1_000)
