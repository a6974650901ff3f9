"""Bugs in accounts, bonds, transfers, deposits and withdrawals."""

from swarmd.simulations.mutants.planting import Mutant

MUTANTS: dict[str, Mutant] = {
    "frivolity-is-free": Mutant(
        "a bond comes home though the result was right",
        "bonds",
        '            state.ledger.settle(challenge.bond, {"bond": (worker, bond.entry.amount)}, FORFEITED)\n',
        "            state.ledger.settle(challenge.bond, {}, RETURNED if worker else FORFEITED)\n",
    ),
    "conservation-slip": Mutant(
        "a payment takes one unit too few from the escrow",
        "ledger.accounts",
        "            escrow.held -= amount\n",
        "            escrow.held -= amount - 1\n",
    ),
    "lost-change": Mutant(
        "what is left of an escrow does not come back",
        "ledger.accounts",
        "            owner.available += escrow.held\n",
        "",
    ),
    "paid-twice": Mutant(
        "a result that was paid is paid again",
        "ledger.accounts",
        "            if task in escrow.paid:\n                continue\n",
        "",
    ),
    "overdraft": Mutant(
        "an entry applies though the money is not there",
        "ledger.accounts",
        "if entry.amount > account.available:",
        "if False:",
    ),
    "locked-stays": Mutant(
        "the lock of a closed escrow stays",
        "ledger.accounts",
        "            owner.locked -= escrow.held\n",
        "",
    ),
    "no-rebuild": Mutant(
        "payments of a lost decision stay",
        "ledger.accounts",
        "            self.rebuild()\n            return\n        self._pay(need)",
        "            self._pay(need)\n            return\n        self._pay(need)",
    ),
    "unbalanced-checkpoint": Mutant(
        "a checkpoint that makes money is adopted",
        "ledger.accounts",
        "        self.rebuild()\n        self.check_all()\n",
        "        self.rebuild()\n",
    ),
    "money-quorum-off-by-one": Mutant(
        "a transfer is final with one signature too few",
        "shadow.taking",
        "if len(voters) == drawn.quorum:\n            state.ledger.certify",
        "if len(voters) == drawn.quorum - 1:\n            state.ledger.certify",
    ),
    "deposit-quorum-off-by-one": Mutant(
        "a deposit counts with one member too few",
        "shadow.taking",
        "if len(voters) == drawn.quorum:\n        _seen_on_chain",
        "if len(voters) == drawn.quorum - 1:\n        _seen_on_chain",
    ),
    "strangers-sign-transfers": Mutant(
        "who is not in the committee makes transfers final",
        "shadow.taking",
        'if envelope.sender not in drawn.members:\n        return "void-confirm"',
        'if not envelope.sender:\n        return "void-confirm"',
    ),
    "transfers-apply-unsigned": Mutant(
        "a transfer moves money before anybody has signed it",
        "ledger.accounts",
        "free = sure or [entry for entry in fitting if entry.hash not in self.gated]",
        "free = sure or fitting",
    ),
    "certified-is-nothing-special": Mutant(
        "of two entries of one number the smaller hash stands, certified or not",
        "ledger.accounts",
        "sure = [entry for entry in fitting if entry.hash in self.certified]",
        "sure = fitting if any(entry.hash in self.certified for entry in fitting) else []",
    ),
    "members-sign-double-spends": Mutant(
        "a member signs one of two entries of one number",
        "shadow.acting",
        "if len(known) != 1 and len(sure) != 1:",
        "if len(known) > 2 and len(sure) != 1:",
    ),
    "members-sign-overdrafts": Mutant(
        "a member signs what the account cannot pay",
        "shadow.acting",
        "if entry.prev != head or entry.amount > left:",
        "if entry.prev != head:",
    ),
    "signs-after-two-needs": Mutant(
        "a member signs what comes after one of two NEEDs that it knows of",
        "shadow.acting",
        "if doubtful is not None and seq > doubtful:",
        "if False:",
    ),
    "promises-have-no-roots": Mutant(
        "a member agrees to a checkpoint with another entry before the one that it signed",
        "shadow.keeping",
        "                promises[at] = name\n",
        "                pass\n",
    ),
    "promises-bind-for-ever": Mutant(
        "what too few have signed stops checkpoints for good",
        "shadow.keeping",
        "state.ledger.certified if round_ >= GIVE_WAY_ROUND else None",
        "None",
    ),
    "deposits-count-twice": Mutant(
        "a checkpoint forgets which deposits were credited before the last one",
        "shadow.keeping",
        "credited = {*shadow.credited, *ledger.credits}",
        "credited = {*ledger.credits}",
    ),
    "checkpoints-drop-withdrawals": Mutant(
        "a checkpoint forgets withdrawals that are not paid",
        "shadow.keeping",
        "if spend.name in payouts or not _passed(ledger.accounts, spend.owner, spend.seq)\n    ]",
        "if not _passed(ledger.accounts, spend.owner, spend.seq)\n    ]",
    ),
    "promises-do-not-bind": Mutant(
        "a member agrees to a checkpoint with another entry than the one that it signed",
        "shadow.keeping",
        "if promises.get(at, applied) != applied:",
        "if at < 0:",
    ),
}
