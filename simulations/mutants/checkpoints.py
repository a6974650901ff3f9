"""Bugs in how checkpoints are made, agreed on and adopted."""

from swarmd.simulations.mutants.planting import Mutant

MUTANTS: dict[str, Mutant] = {
    "no-window": Mutant(
        "a checkpoint ends a window that it has only just found",
        "checkpoint.settling",
        "if since_ns is None or at_ns < since_ns + window_ns:",
        "if False:",
    ),
    "window-begins-again": Mutant(
        "each checkpoint finds a result for the first time",
        "checkpoint.settling",
        "return {ref: need.found.get(ref, at_ns) for ref in refs}",
        "return dict.fromkeys(refs, at_ns)",
    ),
    "no-reward": Mutant(
        "who has a result reversed earns nothing",
        "checkpoint.settling",
        "        if amount > 0:\n",
        "        if False:\n",
    ),
    "bound-by-the-quickest": Mutant(
        "the first to ask for a round of a checkpoint bind it to a snapshot that nobody can make",
        "checkpoint.ballots",
        "    if _refused(ballot, values) and _more_to_come(state, ballot, drawn, round_, out):\n        return\n",
        "",
    ),
    "closed-need-stays": Mutant(
        "a node keeps needs that a checkpoint closed",
        "checkpoint.adopting",
        "        if name not in snapshot.open\n"
        "        and (name in snapshot.bonds or need.fund_seq < applied.get(need.owner, 0))",
        "        if False",
    ),
    "redraw-skipped": Mutant(
        "a need that two checkpoints found undecided keeps its old committee",
        "checkpoint.making",
        "            draws = (*draws, epoch)  # the second checkpoint that finds it so, and it could have been decided",
        "            pass",
    ),
    "redraw-at-once": Mutant(
        "the first checkpoint that finds a need undecided draws it anew",
        "checkpoint.making",
        "            undecided = epoch\n",
        "            undecided, draws = epoch, (*draws, epoch)\n",
    ),
    "not-derived-anew": Mutant(
        "a node keeps the decision that another committee took over from",
        "checkpoint.adopting",
        "any(decide.epoch < max(record.draws) for decide in need.decides.values())",
        "False",
    ),
    "votes-unseen": Mutant(
        "a member votes for a checkpoint that it comes to another snapshot of",
        "checkpoint.ballots",
        "    if not given.same:\n",
        "    if False:\n",
    ),
    "checkpoint-quorum-off-by-one": Mutant(
        "a certificate of a checkpoint stands with one vote too few",
        "checkpoint.ballots",
        "    if len(voters) < drawn.quorum:\n",
        "    if len(voters) < drawn.quorum - 1:\n",
    ),
    "votes-of-strangers-certify": Mutant(
        "votes of who does not sit in the committee certify a checkpoint",
        "checkpoint.ballots",
        "        and vote.refs == (proposal.id,)\n        and vote.sender in drawn.members\n",
        "        and vote.refs == (proposal.id,)\n",
    ),
    "ahead-forgotten": Mutant(
        "what waited for its epoch is not taken when that begins",
        "checkpoint.adopting",
        "    done.todo += _due(state)\n",
        "",
    ),
    "woken-by-nothing": Mutant(
        "what waited for a need that the snapshot brings waits on",
        "checkpoint.adopting",
        "    done.todo += _woken(state)\n",
        "",
    ),
    "votes-twice-for-checkpoints": Mutant(
        "a member votes for a checkpoint in a round below the one it asked for",
        "checkpoint.ballots",
        "    if proposal.round < ballot.promised or proposal.round in ballot.voted:\n        return\n    # Two votes",
        "    # Two votes",
    ),
    "parked-not-carried": Mutant(
        "a snapshot leaves out what waits for its causes",
        "checkpoint.making",
        "            parked=parked,\n",
        "            parked={},\n",
    ),
    "cut-into-the-future": Mutant(
        "a cut has chains of epochs that have not begun",
        "checkpoint.making",
        "for chain, head in heads.items() if chain[1] < epoch and not is_over(over, chain)}",
        "for chain, head in heads.items() if not is_over(over, chain)}",
    ),
    "two-needs-lock-money": Mutant(
        "of two NEEDs under one entry both lock money where both were heard, though a checkpoint has one",
        "checkpoint.adopting",
        "    _withdraw(state, need)\n    if record.escrow is None:",
        "    if record.escrow is None:",
    ),
    "first-need-undoes-what-is-final": Mutant(
        "of two NEEDs under one entry the first stands, though something final comes after the other",
        "checkpoint.making",
        "swapped = self._state, rivals.to_swap(self._state, self._raws)",
        "swapped = self._state, {}",
    ),
    "stale-words-stand": Mutant(
        "who heard what is in no cut before its chain was closed goes on with it",
        "checkpoint.adopting",
        "before = closing.drop(state, stale)",
        "before = closing.drop(state, ())",
    ),
    "closed-an-epoch-early": Mutant(
        "a chain is closed though its author was present once too few since",
        "checkpoint.closing",
        "max(over.get(author, -1), epochs[-chain_epochs] - 1)",
        "max(over.get(author, -1), epochs[-chain_epochs])",
    ),
    "absent-and-closed": Mutant(
        "an author's late words of an epoch count as its having been present at the end of it",
        "checkpoint.closing",
        "for author, said, _ in cut if said == epoch - 1}",
        "for author, said, _ in cut}",
    ),
    "stale-money-stays-locked": Mutant(
        "what words in closed chains lock stays locked",
        "checkpoint.closing",
        "    _unlock(state, locks)\n",
        "",
    ),
    "closed-chains-in-cuts": Mutant(
        "a cut goes on with chains that the one before closed",
        "checkpoint.making",
        "for chain, head in base.cut.items() if not is_over(base.over, chain)}",
        "for chain, head in base.cut.items()}",
    ),
    "unpaid-needs-draw-committees": Mutant(
        "each checkpoint that finds a need unpaid draws it another committee, and keeps that roster",
        "checkpoint.making",
        "elif self._was_paid_for(need.id) and",
        "elif",
    ),
    "another-committee-each-epoch": Mutant(
        "a need that nobody decides has another committee, and its roster in each snapshot, with every epoch for good",
        "checkpoint.making",
        "and _may_draw(draws[-1], undecided, epoch)",
        "and epoch > draws[-1]",
    ),
    "unpaid-needs-owe-votes": Mutant(
        "who does not vote on what nobody has paid for is jailed for it",
        "checkpoint.making",
        "asked = planned and self._was_paid_for(name)",
        "asked = planned",
    ),
    "lapsed-entries-lock": Mutant(
        "an account waits for good for the money of a need that was let go of",
        "checkpoint.settling",
        "            ledger.lapse(entry)\n",
        "            break\n",
    ),
    "unpaid-needs-lapse-at-once": Mutant(
        "an unpaid need is let go of at its deadline, though its money may be on its way",
        "checkpoint.settling",
        "genesis.expiry_grace_s + LAPSE_EPOCHS * genesis.epoch_s",
        "genesis.expiry_grace_s",
    ),
    "let-go-and-opened-again": Mutant(
        "the NEED of a need that was let go of before its account came to its entry opens it again",
        "checkpoint.adopting",
        "envelope.thread in state.bonds or is_closed",
        "is_closed",
    ),
}
