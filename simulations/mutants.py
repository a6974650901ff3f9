"""Mutation check: plant known bugs in the core one at a time; tests and simulator must catch each.

`python -m swarmd.simulations.mutants` (or `make mutants`) copies the tree, plants one bug, runs the named tests
first and the whole suite of the core and a few simulator seeds only if those let it live. A mutant that survives
everything is a hole in the tests: the command ends with 1 and names it. docs/mutants.md has the last result.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` occurs exactly once in `file` and becomes `new`; `tests` are where it should be caught first."""

    name: str
    file: str
    old: str
    new: str
    tests: str = "tests/protocol"


_ENGINE = "tests/protocol/test_engine.py"
_RULES = "tests/protocol/test_rules.py"
_LEDGER = "tests/protocol/test_ledger.py"
_CHAINS = "tests/protocol/test_chains.py"
_BATCH = "tests/protocol/test_batch.py"
_COMMITTEE = "tests/protocol/test_committee.py"
_PLAN = "tests/protocol/test_plan.py"

MUTANTS = (
    Mutant(
        "quorum off by one: half is enough",
        "protocol/consensus/committee.py",
        "len(members) // 2 + 1",
        "len(members) // 2 or 1",
        _COMMITTEE,
    ),
    Mutant(
        "a committee of 2K instead of 2K-1",
        "protocol/consensus/committee.py",
        "eligible[: 2 * k - 1]",
        "eligible[: 2 * k]",
        _COMMITTEE,
    ),
    Mutant(
        "bootstrap mode left one verifier early",
        "protocol/consensus/committee.py",
        "return active < genesis.bootstrap_threshold",
        "return active < genesis.bootstrap_threshold - 1",
        _COMMITTEE,
    ),
    Mutant(
        "K of a plan rounded up",
        "protocol/consensus/committee.py",
        "return max(1, min(genesis.k_target, active * genesis.alpha_permille // 1000))",
        "return max(1, min(genesis.k_target, -(-active * genesis.alpha_permille // 1000)))",
        _COMMITTEE,
    ),
    Mutant(
        "a decision needs one vote less",
        "protocol/work/rules.py",
        "if len(voters) < drawn.quorum:",
        "if len(voters) < drawn.quorum - 1:",
        _RULES,
    ),
    Mutant(
        "votes for another proposal count",
        "protocol/work/rules.py",
        "if (vote := need.vote_of.get(ref)) is not None and vote[1] == proposal.id",
        "if (vote := need.vote_of.get(ref)) is not None",
        _RULES,
    ),
    Mutant(
        "a result is final without a quorum",
        "protocol/work/rules.py",
        "if len(by_judge) < drawn.quorum:",
        "if len(by_judge) < 0:",
        _RULES,
    ),
    Mutant(
        "judges outside the committee count",
        "protocol/work/rules.py",
        "        and attest.judge in drawn.members\n",
        "",
        _RULES,
    ),
    Mutant(
        "strangers may be in any committee",
        "protocol/work/rules.py",
        "    if did not in committee.members:\n",
        "    if not committee.members:\n",
        _RULES,
    ),
    Mutant(
        "a lease does not end on expiry",
        "protocol/work/rules.py",
        "if envelope.ts_ns > claim.until_ns:",
        "if envelope.ts_ns > claim.until_ns + 10**15:",
        _RULES,
    ),
    Mutant(
        "a lease can be released before it expires",
        "protocol/work/rules.py",
        "if envelope.ts_ns < claim.until_ns:",
        "if envelope.ts_ns < claim.ts_ns:",
        _RULES,
    ),
    Mutant(
        "anybody commits under a lease",
        "protocol/work/rules.py",
        'if claim.worker != envelope.sender or claim.task != payload["task"]:',
        'if claim.task != payload["task"]:',
        _RULES,
    ),
    Mutant(
        "any candidate claims any attempt",
        "protocol/work/rules.py",
        '    if worker != envelope.sender:\n        raise Void("the plan gives this attempt to another worker")\n    lease_s',
        "    lease_s",
        _RULES,
    ),
    Mutant(
        "an attempt need not show how the last one ended",
        "protocol/work/rules.py",
        "if attempt > 0 and not any(",
        "if attempt > 99 and not any(",
        _RULES,
    ),
    Mutant(
        "a task may start before its parents are done",
        "protocol/work/rules.py",
        "for parent in proposal.specs[task].parents:\n        if not any(",
        "for parent in ():\n        if not any(",
        _RULES,
    ),
    Mutant(
        "the epoch fence is open",
        "protocol/work/rules.py",
        "if envelope.epoch != 0:",
        "if envelope.epoch < 0:",
        _RULES,
    ),
    Mutant(
        "a need expires before its grace",
        "protocol/work/rules.py",
        "need.deadline_ns + genesis.expiry_grace_s * S_NS:",
        "need.deadline_ns:",
        _RULES,
    ),
    Mutant(
        "a plan may cost more than the budget",
        "protocol/work/rules.py",
        "if total > need.budget:",
        "if total > need.budget * 10:",
        _RULES,
    ),
    Mutant(
        "a price over the task's top price",
        "protocol/work/rules.py",
        "if top > specs[task].max_price:",
        "if top > specs[task].max_price * 10:",
        _RULES,
    ),
    Mutant(
        "an effect before its cause: lamports are not compared",
        "protocol/work/rules.py",
        "if need.seen[ref][0] >= envelope.lamport:",
        "if need.seen[ref][0] > envelope.lamport + 10**6:",
        _RULES,
    ),
    Mutant(
        "a cycle passes",
        "protocol/work/rules.py",
        "if done != len(parents):",
        "if done > len(parents):",
        _RULES,
    ),
    Mutant(
        "the wrong tie-break: the larger decider id wins",
        "protocol/work/need.py",
        "return (one.decider, one.id) < (other.decider, other.id)",
        "return (one.decider, one.id) > (other.decider, other.id)",
        _RULES,
    ),
    Mutant(
        "the wrong tie-break: the lower epoch wins",
        "protocol/work/need.py",
        "return one.epoch > other.epoch",
        "return one.epoch < other.epoch",
        _RULES,
    ),
    Mutant(
        "results after the closing are paid",
        "protocol/work/need.py",
        "self.closed.ts_ns < f.ts_ns",
        "self.closed.ts_ns < f.ts_ns - 10**15",
        _RULES,
    ),
    Mutant(
        "conservation slip: the payee gets a unit more",
        "protocol/ledger/accounts.py",
        "payee.available += amount",
        "payee.available += amount + 1",
        _LEDGER,
    ),
    Mutant(
        "the rest of an escrow is lost on closing",
        "protocol/ledger/accounts.py",
        "owner.available += escrow.held",
        "owner.available += 0",
        _LEDGER,
    ),
    Mutant(
        "a result is paid twice",
        "protocol/ledger/accounts.py",
        "            if task in escrow.paid:\n                continue\n",
        "",
        _LEDGER,
    ),
    Mutant(
        "an account may be overdrawn",
        "protocol/ledger/accounts.py",
        "if entry.amount > account.available:",
        "if entry.amount > account.available + 10**9:",
        _LEDGER,
    ),
    Mutant(
        "a double spend: the larger hash stands",
        "protocol/ledger/accounts.py",
        "return min(fitting, key=lambda entry: entry.hash) if fitting else None",
        "return fitting[0] if fitting else None",
        _LEDGER,
    ),
    Mutant(
        "a replayed entry counts again",
        "protocol/ledger/accounts.py",
        "        if entry.hash in known:\n            return\n        known[entry.hash] = entry",
        "        known[entry.hash] = entry",
        _LEDGER,
    ),
    Mutant(
        "a replayed envelope is taken again",
        "protocol/engine.py",
        "        if envelope.id in need.seen:\n            continue\n",
        "",
        "tests/protocol",
    ),
    Mutant(
        "an envelope is taken before what it refers to",
        "protocol/engine.py",
        "        if missing is not None:\n            _park(",
        "        if missing is not None and False:\n            _park(",
        _ENGINE,
    ),
    Mutant(
        "our own denial has no effect",
        "protocol/engine.py",
        "        if reason is not None:\n            _deny(",
        "        if reason is None:\n            _deny(",
        _ENGINE,
    ),
    Mutant(
        "a fork of a chain is followed",
        "protocol/chains.py",
        "        if batch.prev != prev:\n",
        "        if not batch.prev and prev:\n",
        _CHAINS,
    ),
    Mutant(
        "a second batch with a known seq is followed",
        "protocol/chains.py",
        "if batch.seq < seq:",
        "if batch.seq < seq - 10**6:",
        _CHAINS,
    ),
    Mutant(
        "the future is accepted",
        "protocol/chains.py",
        "if envelope.ts_ns > now_ns + limits.MAX_FUTURE_NS:",
        "if envelope.ts_ns > now_ns + 10**18:",
        _CHAINS,
    ),
    Mutant(
        "time may run backwards in a chain",
        "protocol/chains.py",
        "if envelope.ts_ns < ts_ns or envelope.lamport <= last:",
        "if envelope.lamport <= last:",
        _CHAINS,
    ),
    Mutant(
        "a bucket root that leaves out the heads' hashes",
        "protocol/chains.py",
        "                digest.update(chains[chain].hash)\n",
        "",
        _CHAINS,
    ),
    Mutant(
        "signatures of another mesh are good",
        "protocol/batch.py",
        'return b"swarmd/flush/1\\0" + mesh_id + root',
        'return b"swarmd/flush/1\\0" + root',
        _BATCH,
    ),
    Mutant(
        "the envelopes need not be those of the header",
        "protocol/batch.py",
        'if merkle.root_of([envelope.id for envelope in envelopes]) != head["root"]:',
        "if not envelopes:",
        _BATCH,
    ),
    Mutant(
        "anybody's envelope in anybody's batch",
        "protocol/batch.py",
        'if envelope.sender != head["author"]:\n            raise RemoteFault("sender-mismatch", f"{envelope.kind}',
        'if not envelope.sender:\n            raise RemoteFault("sender-mismatch", f"{envelope.kind}',
        _BATCH,
    ),
    Mutant(
        "a merkle proof that is too long passes",
        "protocol/merkle.py",
        "return node if used == len(path) else None",
        "return node",
        "tests/protocol/test_merkle.py",
    ),
    Mutant(
        "leaf and node hashes share a domain",
        "protocol/merkle.py",
        'return sha256(b"\\x00" + data).digest()',
        'return sha256(b"\\x01" + data).digest()',
        "tests/protocol/test_merkle.py",
    ),
    Mutant(
        "a terminal state is left again",
        "protocol/work/plan.py",
        "new = (_TERMINAL.get(state, 0), lamport, op_id, state)",
        "new = (0, lamport, op_id, state)",
        _PLAN,
    ),
    Mutant(
        "the first writer of an annotation wins",
        "protocol/work/plan.py",
        "if known is None or (lamport, op_id) > known[:2]:",
        "if known is None:",
        _PLAN,
    ),
    Mutant(
        "a member votes for every proposal",
        "protocol/duties.py",
        'if _once(need, "voted", need.epoch):',
        'if _once(need, "voted", proposal.id):',
        "tests/protocol",
    ),
    Mutant(
        "the last vote's caster does not decide",
        "protocol/duties.py",
        '        if mine != last and not _due(\n            state, need, need.seen[last][1] + CERTIFY_BACKUP_NS, out, "decide", proposal.id\n        ):\n            continue\n',
        "        if mine == last:\n            continue\n",
        _ENGINE,
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    caught_by: str
    seconds: float


def check_one(mutant: Mutant, tree: Path, work: Path) -> Outcome:
    """Plant one bug in a copy of the tree and run what should notice."""
    started = time.monotonic()
    copy = work / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(
        tree,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            ".git", ".venv", "node_modules", "__pycache__", ".*_cache", ".tools", "dist"
        ),
    )
    target = copy / mutant.file
    source = target.read_text("utf-8")
    if source.count(mutant.old) != 1:
        raise SystemExit(
            f"mutants: {mutant.name!r}: its place in {mutant.file} is there {source.count(mutant.old)} times"
        )
    target.write_text(source.replace(mutant.old, mutant.new), "utf-8")
    for tests in dict.fromkeys((mutant.tests, "tests/protocol", "tests/simulations")):
        if (copy / tests).exists() and _fails(copy, tests):
            return Outcome(mutant.name, tests, time.monotonic() - started)
    return Outcome(mutant.name, "", time.monotonic() - started)


def _fails(copy: Path, tests: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", tests]
    # The copy's rooms first: swarmd is a namespace, its parts are searched in the order of the path.
    env_path = str(copy / ".layout")
    run = subprocess.run(
        ["env", f"PYTHONPATH={env_path}", "PYTHONDONTWRITEBYTECODE=1", *command],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if run.returncode not in (0, 1, 5):  # 5: no tests there
        raise SystemExit(f"mutants: the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="mutants", description="Plant known bugs; every one must be caught."
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants whose name holds TEXT")
    parser.add_argument("--list", action="store_true", help="say which mutants there are")
    args = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if args.only in mutant.name]
    if args.list:
        print("\n".join(f"{mutant.file}: {mutant.name}" for mutant in chosen))
        return 0
    spec = find_spec("swarmd.protocol")
    assert spec is not None and spec.origin is not None
    tree = Path(spec.origin).resolve().parent.parent
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="swarmd-mutants-") as work:
        for number, mutant in enumerate(chosen, 1):
            outcome = check_one(mutant, tree, Path(work))
            outcomes.append(outcome)
            said = f"caught by {outcome.caught_by}" if outcome.caught_by else "SURVIVED"
            print(
                f"[{number}/{len(chosen)}] {said}: {mutant.name} ({outcome.seconds:.1f} s)", file=sys.stderr
            )
    survivors = [outcome.name for outcome in outcomes if not outcome.caught_by]
    if args.json:
        rows = [{"mutant": o.name, "caught_by": o.caught_by} for o in outcomes]
        print(json.dumps({"mutants": len(outcomes), "survivors": survivors, "outcomes": rows}))
    else:
        print(f"{len(outcomes) - len(survivors)} of {len(outcomes)} mutants caught")
        for name in survivors:
            print(f"  survived: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
