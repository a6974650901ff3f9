"""When an epoch of mesh payments is proposed. Light to import."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """Proposed at `min_receipts`, or when the oldest has waited `deadline_s`; a silent payer is waited for `patience_s`."""

    min_receipts: int = 250
    deadline_s: int = 3_600
    patience_s: float = 60.0
    # Where balances of the mesh are backed by a vault (docs/balances.md), withdrawals pay out what needs earned: settling
    # the same payments between accounts would pay them twice.
    has_vault: bool = False
