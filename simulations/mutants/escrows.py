"""Bugs in escrows between owners."""

from swarmd.simulations.mutants.planting import Mutant

MUTANTS: dict[str, Mutant] = {
    "strangers-release": Mutant(
        "anybody releases the money of an escrow",
        "escrow.machine",
        '    if said.sender != deal.buyer:\n        raise Void("not the buyer")\n    names',
        "    names",
    ),
    "strangers-accept": Mutant(
        "who was not asked accepts an offer",
        "escrow.machine",
        'if offer.to not in ("", said.sender):',
        "if False:",
    ),
    "offers-for-ever": Mutant(
        "an offer that has expired is accepted",
        "escrow.machine",
        "if said.ts_ns > offer.expires_ns:",
        "if False:",
    ),
    "score-above-eighty": Mutant(
        "a score of 80 releases nothing",
        "escrow.machine",
        "if submission.score >= RELEASE_SCORE:",
        "if submission.score > RELEASE_SCORE:",
    ),
    "panel-quorum-off-by-one": Mutant(
        "a panel decides with one vote too few",
        "escrow.machine",
        "if alike >= terms.quorum:",
        "if alike >= terms.quorum - 1:",
    ),
    "split-loses-a-unit": Mutant(
        "a unit of what a panel splits is nobody's",
        "escrow.machine",
        'deal.home["split"] = left - deal.split',
        'deal.home["split"] = left - deal.split - 1',
    ),
    "paid-without-what-it-waits-for": Mutant(
        "an escrow pays before all is ready",
        "escrow.machine",
        "    if not deal.awaited():\n",
        "    if True:\n",
    ),
    "released-and-refunded": Mutant(
        "what was released can be given back",
        "escrow.machine",
        "    RELEASED: {},",
        '    RELEASED: {"refund": (REFUNDED,)},',
    ),
    "reviews-by-the-sellers-clock": Mutant(
        "a review begins when the seller says so",
        "escrow.machine",
        "if at_ns >= submission.found_ns + _terms(deal)",
        "if at_ns >= submission.ts_ns + _terms(deal)",
    ),
    "escrow-by-arrival": Mutant(
        "words about an escrow count in the order in which they come",
        "escrow.machine",
        "sorted(said, key=lambda e: (e.lamport, e.id))",
        "list(said)",
    ),
    "fee-rounded-up": Mutant(
        "a fee takes the part of a unit that is the seller's",
        "escrow.fees",
        "return amount * FEE_BP // 10_000",
        "return -(-amount * FEE_BP // 10_000)",
    ),
    "unclaimed-money-stays": Mutant(
        "what no escrow claims stays locked",
        "escrow.settling",
        '            ledger.settle(name, {}, "returned")\n',
        "            pass\n",
    ),
    "a-release-is-nobodys-merit": Mutant(
        "what a seller settled well is not remembered",
        "escrow.settling",
        "for did in (deal.buyer, deal.seller) if deal.state == RELEASED else ():",
        "for did in (deal.buyer,) if deal.state == RELEASED else ():",
    ),
}
