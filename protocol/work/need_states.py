"""How far a need has come. Imports nothing: commands that must be quick to start read it, too."""

from typing import Final

# In the order in which a need comes to them; after the last of these it is at one of its ends.
STAGES: Final = ("OPEN", "PROPOSED", "DECIDED", "RUNNING")
ENDS: Final = ("FINALIZED", "REFUNDED", "EXPIRED")
