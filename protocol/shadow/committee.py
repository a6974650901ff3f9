"""Who signs entries and attests events of the chain: the committee that ends the epoch."""

from swarmd.protocol.checkpoint import ballots
from swarmd.protocol.consensus.committee import Committee
from swarmd.protocol.shadow.record import KEPT_EPOCHS
from swarmd.protocol.state import NOBODY, State


def committee_of(state: State, epoch: int) -> Committee:
    """That of `epoch`, which has begun here."""
    return ballots.epoch_committee(state.terms.roster(epoch), epoch)


def too_late(state: State, epoch: int) -> bool:
    """Is what a committee said in `epoch` no longer counted?"""
    return epoch <= state.epoch - KEPT_EPOCHS


def sits(state: State) -> bool:
    """Is this node in the committee of this epoch?"""
    return state.me != NOBODY and state.me in committee_of(state, state.epoch).members
