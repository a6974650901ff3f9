"""Taking a stake on the chain: evidence that convicts a node, signed by a quorum of the registry's verifiers, sent once.

The evidence is a certificate of the mesh (docs/certificates.md), which anybody checks with nothing but its genesis. A
verifier signs whatever it has checked itself, whoever asks. Blocking; the chain's thread only.
"""

from dataclasses import dataclass

from swarmd.node.chain.codec import checksum
from swarmd.node.chain.desk import CALL_GAS, STAKES, Desk, Sent
from swarmd.node.chain.evm_signatures import recover
from swarmd.node.consensus import certificates
from swarmd.node.settling.bindings import BindingBook
from swarmd.node.settling.wire import Charge, Refused
from swarmd.protocol.canonical_json import BadJson, parse_json
from swarmd.protocol.faults import LocalFault, RemoteFault
from swarmd.protocol.genesis import Genesis
from swarmd.protocol.ledger.eip712 import require_signer
from swarmd.protocol.ledger.slashing import offence_of, registry_domain, slash_digest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a charge comes to: whose stake, how much of it, for what, and what is signed."""

    who: str
    offender: bytes
    amount: int
    offence: bytes
    digest: bytes


def judge(desk: Desk, genesis: Genesis, charge: Charge, bindings: BindingBook) -> Verdict:
    """Check a charge as a verifier does.

    RemoteFault as `certificates.check` where the evidence shows nothing, `bad-json`, `no-offence`. Refused: `wrong-chain`,
    `other-contract`, `other-roster`, `unbound-offender`, `already-punished`.
    """
    try:
        document = parse_json(charge.evidence)
    except BadJson as error:
        raise RemoteFault("bad-json", str(error)[:200]) from None
    shown = certificates.check(genesis, document)
    offence = offence_of(genesis.mesh_id, shown)
    if charge.chain_id != desk.machine.client.chain_id:
        raise Refused("wrong-chain", f"this node's chain is {desk.machine.client.chain_id}")
    if charge.contract != desk.contract(STAKES):
        raise Refused(
            "other-contract", f"this node's StakeRegistry lies at {checksum(desk.contract(STAKES))}"
        )
    roster_epoch = desk.view(STAKES, "rosterEpoch")[0]
    if charge.roster_epoch != roster_epoch:
        raise Refused("other-roster", f"the registry is at its roster {roster_epoch}")
    bound = bindings.of(shown["who"])
    if bound is None:
        raise Refused("unbound-offender", f"nobody knows the account of {shown['who']}")
    if desk.view(STAKES, "isPunished", offence)[0]:
        raise Refused("already-punished", "each offence is punished once")
    domain = registry_domain(charge.chain_id, charge.contract)
    digest = slash_digest(domain, bound.account, genesis.verifier_stake, offence, roster_epoch)
    return Verdict(shown["who"], bound.account, genesis.verifier_stake, offence, digest)


def charge_of(desk: Desk, evidence: bytes) -> Charge:
    """A charge before our own registry."""
    roster_epoch = desk.view(STAKES, "rosterEpoch")[0]
    return Charge(desk.machine.client.chain_id, desk.contract(STAKES), roster_epoch, evidence)


def verifiers(desk: Desk) -> tuple[list[bytes], int]:
    """The registry's roster by ascending address, and its quorum."""
    roster = [bytes.fromhex(account.removeprefix("0x")) for account in desk.view(STAKES, "roster")[0]]
    return roster, desk.view(STAKES, "quorum")[0]


def check_vote(verdict: Verdict, account: bytes, signature: bytes) -> None:
    """RemoteFault `bad-signature`."""
    require_signer(recover, verdict.digest, signature, account)


def slash(desk: Desk, verdict: Verdict, votes: dict[bytes, bytes]) -> Sent:
    """Bring the verdict to the chain. LocalFault `quorum-missed`, `refused-on-chain`, `nothing-at-stake`."""
    _, quorum = verifiers(desk)
    if len(votes) < quorum:
        text = f"{len(votes)} of {quorum} verifiers of the registry have signed"
        raise LocalFault("quorum-missed", text, fix="ask again when more of them are connected")
    bonded, unbonding, _ = desk.view(STAKES, "stakeOf", verdict.offender)
    if not bonded + unbonding:
        text = f"{checksum(verdict.offender)} has no stake"
        raise LocalFault("nothing-at-stake", text, fix="swarmd stake show ADDRESS")
    signatures = [votes[account] for account in sorted(votes)]
    return desk.send(
        verdict.offence.hex(),
        STAKES,
        "slash",
        verdict.offender,
        verdict.amount,
        verdict.offence,
        signatures,
        gas=CALL_GAS + 10_000 * len(signatures),
    )
