"""What the rules of work take as given: genesis, and the rosters that checkpoints fixed."""

from dataclasses import dataclass, field

from swarmd.protocol.genesis import Genesis


@dataclass(slots=True)
class Terms:
    """`rosters`: epoch -> its verifiers, sorted; of epochs that have begun, and of the next one."""

    genesis: Genesis
    rosters: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rosters:
            # Whoever chooses an id now must not know the draw it will meet: a roster is fixed an epoch ahead.
            self.rosters = {0: self.genesis.roster, 1: self.genesis.roster}

    def roster(self, epoch: int) -> tuple[str, ...]:
        """The verifiers of an epoch that has begun here."""
        return self.rosters[epoch]
