"""What a frame costs whose code and data other processes have driven out of the CPU's caches meanwhile.

`python -m swarmd.node.bench.cold`: CPU us to verify and decode a frame of some envelopes, after each turn of a few frames
some megabytes are read. Many daemons that take turns on few cores do that to each other.
"""

import json
import os
import time
from typing import Final

from nacl.signing import SigningKey
from swarmd.node.bench.envelopes import EnvelopeMaker
from swarmd.node.sealing import seal
from swarmd.protocol.batch import parse_flush
from swarmd.protocol.cbor import decode
from swarmd.protocol.chains import Chains
from swarmd.protocol.didkey import did_of

_MESH_ID: Final = bytes(32)
_FRAMES: Final = 144
_ROUNDS: Final = 3
_SIZE_BYTES: Final = 500
_ENVELOPES: Final = (1, 5)
_EVICTED_MB: Final = (0, 2, 8, 40)
_TURNS: Final = (1, 4, 16)


def frames(envelopes: int) -> list[bytes]:
    """Of one author, `envelopes` in each."""
    key = SigningKey(os.urandom(32))
    did = did_of(bytes(key.verify_key))
    maker, chains, made = EnvelopeMaker(did, _SIZE_BYTES), Chains(), []
    for _ in range(_FRAMES):
        group = [maker.make(time.time_ns()) for _ in range(envelopes)]
        for frame, batches in seal(_MESH_ID, did, chains, group, lambda data: key.sign(data).signature):
            for batch in batches:
                chains.accept(batch)
            made.append(frame)
    return made


def cost_us(made: list[bytes], evicted_mb: int, turn: int) -> float:
    """CPU us a frame, the least of some rounds; reading `evicted_mb` before each turn is not counted."""
    other = bytearray(evicted_mb << 20)
    least = float("inf")
    for _ in range(_ROUNDS):
        used_ns = 0
        for first in range(0, len(made), turn):
            other.count(1)
            began_ns = time.thread_time_ns()
            for frame in made[first : first + turn]:
                parse_flush(_MESH_ID, decode(frame))
            used_ns += time.thread_time_ns() - began_ns
        least = min(least, used_ns / len(made) / 1e3)
    return round(least, 1)


def main() -> None:
    for envelopes in _ENVELOPES:
        made = frames(envelopes)
        for evicted_mb in _EVICTED_MB:
            costs = {f"us_in_turns_of_{turn}": cost_us(made, evicted_mb, turn) for turn in _TURNS}
            print(json.dumps({"envelopes": envelopes, "evicted_mb": evicted_mb, **costs}))


if __name__ == "__main__":
    main()
