"""Mutants: known bugs, planted in the core one at a time. A net that does not catch them is no net.

Each is a change of source text that must fit exactly once. `python -m swarmd.simulations.mutants NAME` runs
simulations with that core until one breaks a property; without a name, all of them, each in a process of its
own, with the results as a table. What the runs miss must be caught by a test of tests/protocol (looked for in the
working directory), or it is a gap.
"""

from swarmd.simulations.mutants import checkpoints, consensus, escrows, money, work
from swarmd.simulations.mutants.planting import Mutant, plant_in_core

MUTANTS: dict[str, Mutant] = {
    **work.MUTANTS,
    **consensus.MUTANTS,
    **checkpoints.MUTANTS,
    **money.MUTANTS,
    **escrows.MUTANTS,
}


def plant(name: str) -> None:
    """Have this process import the core with that bug in it, for good. RuntimeError if the module is loaded already."""
    plant_in_core(MUTANTS[name])
