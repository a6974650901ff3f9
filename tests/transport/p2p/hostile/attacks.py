"""A process that makes attacks: `attacks.py ADDR MESH`, a name per line on stdin, JSON per line back."""

import json
import os
import sys
from contextlib import asynccontextmanager

import trio
from attacking import TABLE, Attack, Stage
from raw import Cut, Key

CLOSED = (Cut, trio.BrokenResourceError, trio.ClosedResourceError, OSError)


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


@asynccontextmanager
async def staged(addr: str, mesh: str, key: Key):
    async with trio.open_nursery() as nursery:
        stage = Stage(addr, mesh, nursery, key)
        try:
            yield stage
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                for raw in stage.opened:
                    if hasattr(raw, "stream"):
                        await trio.aclose_forcefully(raw.stream)


async def once(chosen: Attack, addr: str, mesh: str, key: Key) -> tuple[bool, str]:
    """(did the victim close a connection?, what went wrong with the attack itself)"""
    stage = None
    try:
        with trio.fail_after(chosen.timeout_s):
            async with staged(addr, mesh, key) as stage:
                await chosen.run(stage)
    except (Exception, ExceptionGroup) as error:
        found = leaves(error)
        if all(isinstance(each, CLOSED) for each in found):
            return True, ""
        return False, "; ".join(repr(each) for each in found)
    return any(raw.closed.is_set() for raw in stage.opened), ""


async def is_refused(addr: str, mesh: str, key: Key, within_s: float) -> bool:
    """Is a further connection of this key closed at once?"""
    with trio.move_on_after(10):
        try:
            async with staged(addr, mesh, key) as stage:
                raw = await stage.peer()
                return await raw.until_cut(within_s)
        except (Exception, ExceptionGroup) as error:
            return all(isinstance(each, CLOSED) for each in leaves(error))
    return False


async def together(names: list[str], addr: str, mesh: str) -> dict[str, object]:
    found: dict[str, object] = {}

    async def one(name: str) -> None:
        found[name] = await perform(name, addr, mesh)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(one, name)
    return found


async def perform(name: str, addr: str, mesh: str) -> dict[str, object]:
    chosen, key = TABLE[name], Key()
    cut, problem = False, ""
    rounds = 0
    for _ in range(chosen.repeats):
        rounds += 1
        cut, problem = await once(chosen, addr, mesh, key)
        if problem or (chosen.ends == "cut" and await is_refused(addr, mesh, key, 0.3)):
            break
    refused = chosen.ends == "cut" and await is_refused(addr, mesh, key, 3.0)
    return {
        "peer_id": key.peer_id,
        "cut": cut,
        "refused": refused,
        "rounds": rounds,
        "problem": problem,
    }


async def main() -> None:
    addr, mesh = sys.argv[1:]
    lines = trio.lowlevel.FdStream(os.dup(0))
    buffer = b""
    while data := await lines.receive_some(4_096):
        buffer += data
        while b"\n" in buffer:
            line, buffer = buffer.split(b"\n", 1)
            print(json.dumps(await together(json.loads(line), addr, mesh)), flush=True)


if __name__ == "__main__":
    trio.run(main)
