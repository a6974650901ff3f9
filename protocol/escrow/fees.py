"""Fees, what stake takes off them, and who comes first: integers, each rounding stated.

The fee is 0.5 % of what a seller is paid (seed 000: "Escrow fees (0.5%)"), stake takes 50-100 % off it (seed 000: "staking
discounts"). The amounts of stake are ours: USDC that a verifier has locked, in minor units.
"""

from dataclasses import dataclass

FEE_BP = 50
FEES = "mesh:fees"  # the account that fees go to: no key opens it
RELEASE_SCORE = 80  # from this score on a milestone is paid by itself (seed 000)

# (stake from, per cent off the fee), the dearest first.
TIERS: tuple[tuple[str, int, int], ...] = (
    ("platinum", 100_000_000_000, 100),
    ("gold", 10_000_000_000, 80),
    ("silver", 1_000_000_000, 65),
    ("bronze", 100_000_000, 50),
    ("none", 0, 0),
)


@dataclass(frozen=True, slots=True)
class Tier:
    name: str
    off_percent: int


def tier_of(stake: int) -> Tier:
    """What a stake of so many minor units is worth."""
    return next(Tier(name, off) for name, least, off in TIERS if stake >= least)


def fee_of(amount: int) -> int:
    """The fee on a payment of `amount` minor units, rounded down: what is below a unit the seller keeps."""
    return amount * FEE_BP // 10_000


def discount_of(fee: int, stake: int) -> int:
    """What of a fee goes back to a seller with that stake, rounded down."""
    return fee * tier_of(stake).off_percent // 100


def priority_of(stake: int) -> int:
    """0..100 by the buyer's stake: five for each doubling of whole USDC, so that a stake in pieces never gains."""
    return min(100, 5 * (stake // 1_000_000).bit_length())


def rating(settled_well: int, settled_badly: int) -> int:
    """Reputation 0..100 of settled outcomes; 50 for the unknown."""
    return 100 * (settled_well + 1) // (settled_well + settled_badly + 2)
