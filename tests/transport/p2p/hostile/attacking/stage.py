"""What attacks have to work with, and the table they are in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from raw import MESHSUB, Key, Raw

MIB = 1 << 20
Run = Callable[["Stage"], Awaitable[None]]


@dataclass
class Stage:
    """What an attack has to work with: the victim's address, a key, and connections that are closed after it."""

    addr: str
    mesh: str
    nursery: trio.Nursery
    key: Key = field(default_factory=Key)
    opened: list[Raw] = field(default_factory=list)
    captured: list[bytes] = field(default_factory=list)  # RPCs the victim sent to an earlier connection

    async def tcp(self, key: Key | None = None, source: str | None = None) -> Raw:
        raw = await Raw(self.addr, self.mesh, key or self.key).tcp(source)
        self.opened.append(raw)
        return raw

    async def noised(self, **wrong) -> Raw:
        return await (await self.tcp()).noised(**wrong)

    async def peer(self, key: Key | None = None, *, answers: bool = True, source: str | None = None) -> Raw:
        raw = await self.tcp(key, source)
        raw.answers = answers
        await raw.noised()
        return await raw.muxed(self.nursery)

    async def gossip(self) -> tuple[Raw, int]:
        raw = await self.peer()
        return raw, await raw.open(MESHSUB)


@dataclass(frozen=True)
class Attack:
    name: str
    run: Run
    ends: str  # "cut" | "refused" | "limited"
    codes: tuple[str, ...] = ()
    repeats: int = 1
    timeout_s: float = 30.0
    batch: str = ""  # attacks of one batch run at the same time


TABLE: dict[str, Attack] = {}


def attack(
    name: str, ends: str, *codes: str, repeats: int = 0, timeout_s: float = 30.0, batch: str = ""
) -> Callable[[Run], Run]:
    """Add to the table. Who only waits to be closed waits together with the others."""

    def add(run: Run) -> Run:
        count = repeats or (12 if ends == "cut" else 1)
        together = batch or ("waiting" if ends == "refused" else "")
        TABLE[name] = Attack(name, run, ends, codes, count, timeout_s, together)
        return run

    return add
