"""The work of the need, the same for all systems: a text comes by reference, its digest and its words go back.

Only the standard library: it runs in the peers' interpreter too.
"""

from hashlib import sha256
from typing import Any

_FILLER = "the quick brown fox jumps over the lazy dog "


def payload(number: int, size_bytes: int) -> str:
    """The text of need `number`: ASCII, `size_bytes` long, another one for each number."""
    begin = f"need {number} "
    return (begin + _FILLER * (size_bytes // len(_FILLER) + 1))[:size_bytes]


def work(text: str) -> dict[str, Any]:
    """What the need asks for."""
    return {"sha256": sha256(text.encode()).hexdigest(), "words": len(text.split())}
