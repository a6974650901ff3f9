"""The verifier pool: join, leave, list, attest."""

from swarmd.node.console.grammar.values import irrevocable
from swarmd.node.console.parser import Commands


def add(commands: Commands) -> None:
    group = commands.group("verifier", "who decides and judges, and be one", "swarmd verifier join")
    group.add(
        "list",
        "verifiers:run_list",
        "list the pool: who is active, jailed, leaving, expelled, and what is at stake",
        "swarmd verifier list --json | jq .bootstrap",
    )
    join = group.add(
        "join",
        "verifiers:run_join",
        "lock a stake and ask to be a verifier",
        "swarmd verifier join --stake 10.00",
        "The next checkpoint makes the node a member; it is drawn into committees an epoch later. Who votes twice loses the "
        "stake and never returns; who is silent for two epochs is jailed until it shows itself.",
    )
    join.add_argument("--stake", metavar="USDC", help="what to lock (default: the least of this mesh)")
    leave = group.add(
        "leave",
        "verifiers:run_leave",
        "give the seat back; the stake returns four epochs later",
        "swarmd verifier leave --reason 'moving house'",
    )
    leave.add_argument("--reason", default="", help="for people")
    irrevocable(leave, "the seat is given back, and a new one takes a new stake and some epochs")
    attest = group.add(
        "attest",
        "verifiers:run_attest",
        "show that this verifier runs in an enclave, for twice the weight",
        "swarmd verifier attest --quote quote.bin",
        "Without --quote it says what the quote of this epoch must be over (docs/verifiers.md).",
    )
    attest.add_argument("--quote", metavar="FILE", help="the quote, as its attester made it")
    attest.add_argument("--form", default="software", help="its format (default: software)")
