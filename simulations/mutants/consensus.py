"""Bugs in committees, rounds, the pool of verifiers, chains and what the engine lets in."""

from swarmd.simulations.mutants.planting import Mutant

MUTANTS: dict[str, Mutant] = {
    "decide-quorum-off-by-one": Mutant(
        "a decision stands with one vote too few",
        "consensus.ballot",
        "if len(voters) < quorum:",
        "if len(voters) < quorum - 1:",
    ),
    "votes-of-any-proposal": Mutant(
        "votes for another proposal count",
        "consensus.ballot",
        "is not None and vote[1] == proposal.id",
        "is not None",
    ),
    "even-committee": Mutant(
        "committees have 2K members, so two halves can each decide",
        "consensus.committee",
        "else 2 * k - 1",
        "else 2 * k",
    ),
    "half-is-a-quorum": Mutant(
        "half of a committee decides",
        "consensus.committee",
        "(size + liars_borne(size, mode)) // 2 + 1",
        "(size + liars_borne(size, mode)) // 2",
    ),
    "bft-by-majority": Mutant(
        "in quorum mode bft a majority of 3f+1 decides",
        "consensus.committee",
        "(size + liars_borne(size, mode)) // 2 + 1",
        "size // 2 + 1",
    ),
    "before-the-arbiter": Mutant(
        "a member decides without the arbiter",
        "consensus.arbitration",
        "    need.waiting_for = WAITING\n    return False\n",
        "    return True\n",
    ),
    "causes-ignored": Mutant(
        "an envelope is judged before what it refers to is here",
        "engine",
        "        if missing is not None:",
        "        if False:",
    ),
    "forgets-the-parked": Mutant(
        "what waited is not taken when its cause comes",
        "engine",
        "        _apply(state, need, envelope, out)\n        todo.extend(_unpark(state, thread, envelope.id))",
        "        _apply(state, need, envelope, out)",
    ),
    "round-unasked": Mutant(
        "a round opens with one skip too few",
        "consensus.ballot",
        "if len(skips) < quorum:",
        "if len(skips) < quorum - 1:",
    ),
    "gap-skipped": Mutant(
        "a batch is taken though earlier ones are missing",
        "chains",
        """        if batch.seq > seq:
            self._keep(chain, batch)
            known = min(early for early in self._early[chain] if early > seq)
            return [], Gap(chain, seq, known - 1)
        if batch.prev != prev:
""",
        "        if batch.seq == seq and batch.prev != prev:\n",
    ),
    "any-future": Mutant(
        "a clock may be ahead by any amount",
        "chains",
        "if envelope.ts_ns > latest_ns:",
        "if False:",
    ),
    "unsigned-batches": Mutant(
        "a bad signature is let through",
        "batch",
        "    except (nacl.exceptions.BadSignatureError, ValueError):\n"
        '        raise RemoteFault("bad-signature", f"not signed by {author} for this mesh") from None',
        "    except (nacl.exceptions.BadSignatureError, ValueError):\n        return",
    ),
    "fence-skipped": Mutant(
        "what is said late about a closed need is kept for it as if it were open",
        "engine",
        "            if thread in state.closed or adopting.is_fenced(state, envelope):",
        "            if False:",
    ),
    "ahead-at-once": Mutant(
        "what is said in an epoch that has not begun here is taken at once",
        "engine",
        "        if envelope.epoch > state.epoch:\n",
        "        if False:\n",
    ),
    "silence-costs-nothing": Mutant(
        "a verifier that is gone for good keeps its seat",
        "pool.folding",
        "if missed >= MISSED_EPOCHS:",
        "if False:",
    ),
    "nobody-is-slashed": Mutant(
        "who votes twice keeps seat and stake",
        "pool.folding",
        "if did in guilty and member.state != EXPELLED:",
        "if False:",
    ),
    "stake-home-at-once": Mutant(
        "who leaves has its stake back before it can be slashed for what it did",
        "pool.folding",
        "    if member.state == LEAVING and epoch >= member.until:\n",
        "    if member.state == LEAVING:\n",
    ),
    "left-and-seated": Mutant(
        "who left keeps its seat",
        "pool.folding",
        "active = [member for member in members.values() if member.state == ACTIVE]",
        "active = [member for member in members.values() if member.state in (ACTIVE, LEAVING)]",
    ),
    "joins-for-nothing": Mutant(
        "a verifier needs no stake",
        "pool.taking",
        'if payload["op"] == "join" and payload["amount"] < state.genesis.verifier_stake:',
        "if False:",
    ),
    "draws-without-beacon": Mutant(
        "a key can be made for a seat in a committee to come",
        "consensus.committee",
        '\\0{task}\\0{epoch}\\0".encode() + beacon',
        '\\0{task}\\0{epoch}\\0".encode()',
    ),
    "closed-chains-count": Mutant(
        "what is said in a chain that a checkpoint closed counts where it is heard",
        "chains",
        "        if self.is_over(chain):\n            raise RemoteFault(CLOSED",
        "        if False:\n            raise RemoteFault(CLOSED",
    ),
}
