"""Receipts of finished needs: gathered, sent to the chain under one Merkle root, and noted where they are when it says so."""

from hashlib import sha256
from typing import Any, Final

from swarmd.protocol import kinds, merkle
from swarmd.protocol.cbor import Link, encode
from swarmd.protocol.effects import Effect, Submit
from swarmd.protocol.inputs import ChainSeen
from swarmd.protocol.state import Anchor, State
from swarmd.protocol.work.need import Need

MAX_RECEIPTS_PER_ANCHOR: Final = 256


def write_receipt(state: State, need: Need, out: list[Effect]) -> None:
    """One for each thing that there is to say: how it was paid, and after a reversal, how that stands now."""
    if not need.once("receipt", *sorted(need.invalid), *([need.complete()] if need.invalid else ())):
        return
    if not state.receipts:
        state.receipts_since_ns = state.now_ns
        state.arm(out, state.now_ns + state.anchor_interval_ns, need.id)
    state.receipts.append((need.id, receipt_of(need)))


def receipt_of(need: Need) -> bytes:
    """The receipt of a finished need, canonical: what was paid to whom for which result, and the certificates.

    `held`: it is paid when the challenge window ends. `invalidated`: results that were accepted and then reversed.
    """
    body: dict[str, Any] = {
        "need": need.id,
        "owner": need.owner,
        "paid": [
            {
                "task": task,
                "worker": run.final.worker,
                "amount": run.final.price,
                "result": Link(run.final.result),
                "final": Link(run.final.id),
            }
            for task, run in sorted(need.runs.items())
            if run.final is not None
        ],
    }
    if need.held():
        body["held"] = True
    if need.invalid:
        body["invalidated"] = [
            {
                "task": commit.task,
                "worker": commit.worker,
                "result": Link(commit.result),
                "invalidate": Link(need.invalid[commit.id]),
            }
            for commit in sorted((need.commits[ref] for ref in need.invalid), key=lambda c: (c.task, c.id))
        ]
    return encode(body)


def attend(state: State, out: list[Effect]) -> None:
    """Send the receipts that waited long enough, or that are many, to the chain under one root."""
    due = state.receipts and (
        len(state.receipts) >= MAX_RECEIPTS_PER_ANCHOR
        or state.now_ns - state.receipts_since_ns >= state.anchor_interval_ns
    )
    if not due:
        return
    batch, state.receipts = state.receipts, []
    leaves = tuple(leaf for _, leaf in batch)
    root = merkle.root_of(leaves)
    anchor_id = sha256(b"swarmd/anchor/1\0" + root).digest()
    needs = tuple(need for need, _ in batch)
    state.anchors[anchor_id] = Anchor(anchor_id, root, needs, leaves)
    for need in needs:
        state.anchor_of[need] = anchor_id
    out.append(Submit(anchor_id, root, leaves))


def chain_seen(state: State, given: ChainSeen, out: list[Effect]) -> None:
    anchor = state.anchors.get(given.anchor_id)
    if anchor is None or anchor.tx_hash:
        return
    anchor.tx_hash = given.tx_hash
    anchor.block_number = given.block_number
    anchor.chain_id = given.chain_id
    anchor.contract = given.contract
    value = f"eip155:{given.chain_id}:0x{given.tx_hash.hex()}"
    for thread in anchor.needs:
        if thread not in state.needs:
            continue  # closed by a checkpoint: the receipt says where it is
        op = {"op": "ANNOTATE", "task": "", "key": "anchor", "value": value}
        state.draft(out, thread, kinds.UPDATE_PLAN, {"ops": [op]}, (state.needs[thread].envelope,))
