"""Money on the chain: wallet, stake, settle, receipt, channel."""

import argparse

from swarmd.node.console.grammar.values import duration_s, irrevocable, positive, watch_flag
from swarmd.node.console.parser import Commands


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="TEXT", help="a name of this call: asked again with it, it is done once"
    )


def _amount(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("amount", metavar="USDC", help="such as 1.50")


def add(commands: Commands) -> None:
    _add_wallet(commands)
    _add_stake(commands)
    _add_settle(commands)
    _add_channel(commands)
    _add_invoices(commands)


def _add_wallet(commands: Commands) -> None:
    wallet = commands.group("wallet", "this node's account on the chain", "swarmd wallet show")
    wallet.add(
        "create",
        "money:run_wallet_create",
        "make an encrypted key for a chain elsewhere",
        "swarmd wallet create",
        "The passphrase is asked for, or taken from SWARMD_KEYSTORE_PASSPHRASE. The embedded chain has a key of its own.",
    )
    imported = wallet.add(
        "import",
        "money:run_wallet_import",
        "take over a key of another wallet",
        "swarmd wallet import UTC--2026-...json",
        "The file is a Web3 Secret Storage keystore with the same passphrase, or a key in hex.",
    )
    imported.add_argument("file", metavar="FILE", help="a keystore or a key; - reads stdin")
    wallet.add(
        "address", "money:run_wallet_address", "print the account's address", "swarmd wallet address -q"
    )
    wallet.add("show", "money:run_wallet_show", "say what the account has", "swarmd wallet show --json")
    wallet.add(
        "bind",
        "money:run_wallet_bind",
        "say that this node and its account are one owner's",
        "swarmd wallet bind",
        "Signed by both keys and published with what the node offers. From then on what its needs pay and earn is\n"
        "settled between accounts on the chain, if the chain is one that others see (chain_kind rpc).",
    )
    wallet.add(
        "bound",
        "money:run_wallet_bound",
        "list whose account is whose",
        "swarmd wallet bound --json",
        "What other nodes published, checked. A binding that is not signed by both keys is not here.",
    )
    fund = wallet.add(
        "fund",
        "money:run_wallet_fund",
        "mint test tokens",
        "swarmd wallet fund 100",
        "On the embedded chain, and wherever the account may mint the test token.",
    )
    _amount(fund)
    fund.add_argument("--to", metavar="ADDRESS", help="for another account")
    _key(fund)


def _add_stake(commands: Commands) -> None:
    stake = commands.group("stake", "what this node has at stake on the chain", "swarmd stake show")
    show = stake.add("show", "money:run_stake_show", "say what is at stake", "swarmd stake show --json")
    show.add_argument("account", nargs="?", metavar="ADDRESS", help="whose (default: this node's)")
    for name, text in (("add", "put more at stake"), ("unbond", "start some of it on its way out")):
        command = stake.add(name, f"money:run_stake_{name}", text, f"swarmd stake {name} 50")
        _amount(command)
        _key(command)
        if name == "unbond":
            irrevocable(command, "it counts as stake no longer, and comes back only after the delay")
    slash = stake.add(
        "slash",
        "money:run_stake_slash",
        "take the stake of a node that contradicted itself",
        "swarmd stake slash did:key:z6Mk...",
        "By the evidence on record here (swarmd consensus evidence), or in a file of swarmd consensus export. Every\n"
        "verifier of the stake registry checks it before it signs; with a quorum of them it goes on the chain, once.",
    )
    slash.add_argument("who", nargs="?", metavar="DID", help="whose forked chain, or with --need whose votes")
    slash.add_argument("--need", metavar="NEED", help="about which need it contradicted itself")
    slash.add_argument("--evidence", metavar="FILE", help="a certificate that convicts it; - reads stdin")
    irrevocable(slash, "the stake is taken for good")
    _key(
        stake.add(
            "withdraw",
            "money:run_stake_withdraw",
            "take what has been leaving for long enough",
            "swarmd stake withdraw",
        )
    )


def _add_settle(commands: Commands) -> None:
    settle = commands.group("settle", "settling payments on the chain", "swarmd settle status")
    status = settle.add(
        "status",
        "money:run_settle_status",
        "say what waits, what is under way, and what is wrong with the chain",
        "swarmd settle status --json | jq .chain.trouble",
    )
    watch_flag(status)
    settle.add("now", "money:run_settle_now", "settle what waits, however little", "swarmd settle now")
    added = settle.add(
        "add",
        "money:run_settle_add",
        "hand over receipts of payments to settle",
        "swarmd settle add receipts.json",
        "A list of objects with id (32 bytes of hex), payer, payee (addresses), amount (USDC), memo.",
    )
    added.add_argument("file", metavar="FILE", help="a JSON file; - reads stdin")
    deposit = settle.add(
        "deposit",
        "money:run_settle_deposit",
        "put tokens where settlements take them from",
        "swarmd settle deposit 100",
    )
    _amount(deposit)
    deposit.add_argument("--to", metavar="ADDRESS", help="into another account's deposit")
    _key(deposit)
    withdraw = settle.add(
        "withdraw",
        "money:run_settle_withdraw",
        "ask for part of the deposit, or take what is ready",
        "swarmd settle withdraw 20 && sleep 86400 && swarmd settle withdraw",
    )
    withdraw.add_argument("amount", metavar="USDC", nargs="?", help="how much to ask for; without: take it")
    _key(withdraw)
    deploy = settle.add(
        "deploy",
        "money:run_settle_deploy",
        "put the contracts on the chain from this account",
        "swarmd settle deploy",
        "Ask again until all have an address, then name those in chain_contracts on every node.",
    )
    irrevocable(deploy, "new contracts are put on the chain, for gas of this account")
    receipt = commands.group(
        "receipt", "proofs that a payment was settled", "swarmd receipt verify proof.json"
    )
    show = receipt.add(
        "show",
        "money:run_receipt_show",
        "print the proof of a settled payment",
        "swarmd receipt show 0x4f...",
    )
    show.add_argument("id", metavar="ID", help="the payment's id")
    verify = receipt.add(
        "verify",
        "money:run_receipt_verify",
        "check a proof against the chain, and nothing else",
        "swarmd receipt verify proof.json",
        "Exit code 4 with the reason if the chain does not bear it out.",
    )
    verify.add_argument("file", metavar="FILE", help="what receipt show printed; - reads stdin")


def _add_channel(commands: Commands) -> None:
    channel = commands.group("channel", "payment channels", "swarmd channel list")
    opened = channel.add(
        "open",
        "money:run_channel_open",
        "lock money for one payee",
        "swarmd channel open 0x... 10 --challenge 24h",
    )
    opened.add_argument("payee", metavar="ADDRESS")
    _amount(opened)
    opened.add_argument(
        "--challenge", type=duration_s, metavar="TIME", help="how long the payee has once we close (24h)"
    )
    _key(opened)
    for name, text in (("pay", "sign a voucher for so much more"), ("topup", "add to the deposit")):
        command = channel.add(name, f"money:run_channel_{name}", text, f"swarmd channel {name} 0x... 0.05")
        command.add_argument("channel", metavar="ID")
        _amount(command)
        if name == "topup":
            _key(command)
    receive = channel.add(
        "receive", "money:run_channel_receive", "check and keep a voucher", "swarmd channel receive VOUCHER"
    )
    receive.add_argument("voucher", metavar="VOUCHER", help="what channel pay printed")
    receive.add_argument(
        "--watch", action="store_true", help="for another payee: claim it if the payer closes"
    )
    for name, text in (
        ("claim", "bring the best voucher to the chain"),
        ("close", "take the next step of closing a channel"),
    ):
        command = channel.add(name, f"money:run_channel_{name}", text, f"swarmd channel {name} 0x...")
        command.add_argument("channel", metavar="ID")
        if name == "close":
            irrevocable(command, "a channel that closes can't be paid through again")
    channel.add(
        "list", "money:run_channel_list", "list the channels of this node", "swarmd channel list --json"
    )


def _add_invoices(commands: Commands) -> None:
    invoice = commands.group(
        "invoice", "what needs were charged, and what may be spent", "swarmd invoice list"
    )
    listed = invoice.add(
        "list",
        "invoices:run_list",
        "list what this node's needs were charged",
        "swarmd invoice list --json | jq '.invoices[] | .charged'",
    )
    listed.add_argument("--all", action="store_true", help="of everybody's needs")
    listed.add_argument("--limit", type=positive, default=50, metavar="N", help="at most so many (50)")
    show = invoice.add(
        "show",
        "invoices:run_show",
        "say what a need was charged, by whom, and which receipts say so",
        "swarmd invoice show need-abc",
        "With the receipt's id: swarmd receipt show prints the proof of what is settled on the chain.",
    )
    show.add_argument("need", metavar="NEED", help="a need's id, or the beginning of it")
    invoice.add(
        "limits",
        "invoices:run_limits",
        "say what was spent in 24 hours, and what may be",
        "swarmd invoice limits --json",
        "The limits are spending_per_* in swarmd.toml. A need that goes over one is refused before anything is said.",
    )
