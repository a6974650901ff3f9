"""The attacks, in the order in which they are made. What must become of the attacker, who has a fresh key in each:

- "cut": it is charged with one of `codes` and, as it insists, denied: its next connection is refused;
- "refused": it has no name yet; its connection is closed;
- "limited": what it does is legal, so nothing is held against it, but there is a bound to it.
"""

# isort: off
from attacking import connecting, muxing, streams, gossip, bitswap, requests, crowds
from attacking.stage import TABLE, Attack, Stage

__all__ = [
    "TABLE",
    "Attack",
    "Stage",
    "bitswap",
    "connecting",
    "crowds",
    "gossip",
    "muxing",
    "requests",
    "streams",
]
