"""Escrows between owners: negotiate, fund, deliver, score, release, dispute."""

import argparse

from swarmd.node.console.grammar.values import duration_s, irrevocable
from swarmd.node.console.parser import Commands


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 100")
    return value


def _score(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is no score from 0 to 100")
    return value


def _escrow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("escrow", metavar="ID", help="an escrow, or the beginning of its id")


def _terms(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("terms")
    group.add_argument("--title", metavar="TEXT")
    group.add_argument("--spec", metavar="TEXT", help="what is to be done; @FILE reads it from a file")
    group.add_argument("--amount", metavar="USDC", help="such as 50.00")
    group.add_argument("--seller", metavar="DID", help="who shall do it (without: whoever accepts)")
    group.add_argument(
        "--milestone",
        action="append",
        metavar="NAME=USDC",
        help="a part that is delivered and paid on its own; again for the next",
    )
    group.add_argument("--deadline", type=duration_s, metavar="TIME", help="for delivery (7d)")
    group.add_argument(
        "--review",
        type=duration_s,
        metavar="TIME",
        help="a delivery that nobody objects to is paid then (24h)",
    )
    group.add_argument(
        "--scorer", action="append", metavar="DID", help="who scores deliveries; again for more"
    )
    group.add_argument("--score-quorum", type=int, metavar="N", help="how many scores it takes")
    group.add_argument("--panel", action="append", metavar="DID", help="who decides disputes; again for more")
    group.add_argument("--quorum", type=int, metavar="N", help="how many of the panel must agree")
    group.add_argument("--panel-time", type=duration_s, metavar="TIME", help="what the panel has (3d)")
    group.add_argument(
        "--undecided",
        type=_percent,
        metavar="PERCENT",
        help="what the seller gets if it does not decide (50)",
    )
    group.add_argument(
        "--after", action="append", metavar="NAME=DID", help="pay only once DID says that NAME is ready"
    )
    group.add_argument("--expires", type=duration_s, metavar="TIME", help="how long the offer stands (24h)")


def add(commands: Commands) -> None:
    group = commands.group(
        "escrow", "agreements with other owners, their money held until it is done", "swarmd escrow list"
    )
    _add_negotiation(group)
    _add_work(group)
    _add_disputes(group)
    show = group.add(
        "show", "escrows:run_show", "show an escrow: offers, milestones, money", "swarmd escrow show 3kq7"
    )
    _escrow(show)
    listed = group.add(
        "list",
        "escrows:run_list",
        "list the escrows that this node has a part in, by the buyer's stake",
        "swarmd escrow list --state funded --json",
    )
    listed.add_argument("--state", metavar="STATE", help="offered, negotiating, accepted, funded, ...")
    listed.add_argument("--role", metavar="ROLE", help="buyer, seller, scorer, panel, bidder, other")
    listed.add_argument("--all", action="store_true", help="those of others too")
    listed.add_argument("--limit", type=int, default=100, metavar="N")
    reputation = group.add(
        "reputation",
        "escrows:run_reputation",
        "show an owner's reputation, stake, tier and discount",
        "swarmd escrow reputation did:key:z6Mk... --json",
    )
    reputation.add_argument("did", nargs="?", metavar="DID", help="whose (default: this node's)")


def _add_negotiation(group: Commands) -> None:
    create = group.add(
        "create",
        "escrows:run_create",
        "open an escrow with a first offer",
        "swarmd escrow create --title 'Translate the manual' --amount 50 --seller did:key:z6Mk...",
        "Nothing is locked before it is funded.",
    )
    _terms(create)
    create.add_argument(
        "--key", metavar="TEXT", help="a name of this call: said again, no second one is made"
    )
    for name, text, more in (
        ("offer", "make another offer of one's own", "What is left out stays as it was."),
        ("counter", "answer the other side's offer with other terms", "What is left out is as it offered."),
    ):
        command = group.add(
            name,
            f"escrows:run_{name}",
            text,
            f"swarmd escrow {name} 3kq7 --amount 60 --note 'more work'",
            more,
        )
        _escrow(command)
        _terms(command)
        command.add_argument("--note", metavar="TEXT", help="for the other side")
    accept = group.add(
        "accept", "escrows:run_accept", "accept the latest offer made to us", "swarmd escrow accept 3kq7"
    )
    _escrow(accept)
    accept.add_argument("--offer", metavar="CID", help="another offer than the latest")
    fund = group.add(
        "fund",
        "escrows:run_fund",
        "lock the money of the accepted offer",
        "swarmd escrow fund 3kq7",
        "The buyer's last word: it chooses the acceptance, and the terms are fixed.",
    )
    _escrow(fund)
    fund.add_argument("--seller", metavar="DID", help="of several who accepted")


def _add_work(group: Commands) -> None:
    submit = group.add(
        "submit",
        "escrows:run_submit",
        "deliver: a CID, or a file that is added",
        "swarmd escrow submit 3kq7 manual.pdf",
    )
    _escrow(submit)
    submit.add_argument("deliverable", metavar="CID|FILE")
    submit.add_argument("--milestone", metavar="NAME", help="of several that are open")
    submit.add_argument("--note", metavar="TEXT", help="for the buyer")
    score = group.add(
        "score",
        "escrows:run_score",
        "score a delivery, 0 to 100",
        "swarmd escrow score 3kq7 92 --reason 'two typos'",
        "For those whom the terms name. Once enough have scored it their median counts: from 80 on it is paid by itself.",
    )
    _escrow(score)
    score.add_argument("score", type=_score, metavar="SCORE")
    score.add_argument("--milestone", metavar="NAME", help="of several that are delivered")
    score.add_argument("--reason", metavar="TEXT")
    ready = group.add(
        "ready",
        "escrows:run_ready",
        "say that what an escrow waits for is there",
        "swarmd escrow ready 3kq7 dataset",
    )
    _escrow(ready)
    ready.add_argument("name", metavar="NAME")
    release = group.add(
        "release", "escrows:run_release", "pay all that is open", "swarmd escrow release 3kq7"
    )
    _escrow(release)
    irrevocable(release, "all that is open is paid, for good")
    milestone = group.add(
        "milestone", "escrows:run_milestone", "pay one milestone", "swarmd escrow milestone 3kq7 draft"
    )
    _escrow(milestone)
    milestone.add_argument("name", nargs="+", metavar="NAME")
    refund = group.add(
        "refund",
        "escrows:run_refund",
        "the seller gives back what is open; before funding, the buyer withdraws",
        "swarmd escrow refund 3kq7 --reason 'no time'",
        "What nobody delivers by the deadline goes back by itself, at the next checkpoint.",
    )
    _escrow(refund)
    refund.add_argument("--reason", metavar="TEXT")
    irrevocable(refund, "what is open goes back, and the escrow ends")


def _add_disputes(group: Commands) -> None:
    dispute = group.add(
        "dispute",
        "escrows:run_dispute",
        "have the panel decide; in a dispute, add to what was said",
        "swarmd escrow dispute 3kq7 --reason 'half is missing' --evidence bafk...",
    )
    _escrow(dispute)
    dispute.add_argument("--reason", required=True, metavar="TEXT")
    dispute.add_argument("--evidence", action="append", default=[], metavar="CID", help="again for more")
    resolve = group.add(
        "resolve",
        "escrows:run_resolve",
        "vote in a panel: what part of the open money the seller gets",
        "swarmd escrow resolve 3kq7 --seller-percent 70 --reason 'chapters 1 to 7 are good'",
        "It is decided once the quorum has voted for one part. A member's latest vote counts.",
    )
    _escrow(resolve)
    resolve.add_argument("--seller-percent", type=_percent, required=True, metavar="PERCENT")
    resolve.add_argument("--reason", metavar="TEXT")
