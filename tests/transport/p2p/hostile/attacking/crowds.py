"""Many connections, keys and places, and what they can have us hold."""

import struct

import trio
from raw import MESHSUB, MULTISTREAM, Cut, Key, Raw, said, varint

from attacking.stage import MIB, Stage, attack


@attack("churn: 2,000 connections with fresh keys", "limited", timeout_s=120)
async def churn(stage: Stage) -> None:
    limit = trio.CapacityLimiter(8)
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        async with limit:
            raw = Raw(stage.addr, stage.mesh)
            try:
                with trio.move_on_after(10):
                    await raw.tcp(f"127.0.3.{number % 250 + 1}")
                    await raw.noised()
                    await raw.plain(said(MULTISTREAM) + said("/yamux/1.0.0"))
                    await raw._noise_in()
                    done += 1
            except (Cut, OSError):
                pass
            finally:
                with trio.CancelScope(shield=True):
                    if hasattr(raw, "stream"):
                        await raw.aclose()

    async with trio.open_nursery() as nursery:
        for number in range(2_000):
            nursery.start_soon(one, number)
    assert done >= 1_900, f"{done} of 2,000"


@attack("churn: 1,000 connections from one address", "limited", timeout_s=120)
async def churn_of_one(stage: Stage) -> None:
    refused = 0
    for _ in range(1_000):
        raw = await Raw(stage.addr, stage.mesh).tcp("127.0.4.1")
        try:
            with trio.move_on_after(5):
                await raw.noised()
        except Cut:
            refused += 1
        await raw.aclose()
    assert refused >= 300, f"only {refused} of 1,000 were refused"


@attack("crowd: 150 keys from one address stay", "limited", timeout_s=60)
async def crowd(stage: Stage) -> None:
    kept = 0
    for _ in range(150):
        try:
            await stage.peer(Key(), source="127.0.5.1")
            kept += 1
        except (Cut, OSError):
            pass
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 64, f"{alive} connections of one address"


@attack("crowd: 200 keys from 200 addresses stay", "limited", timeout_s=60)
async def crowd_of_places(stage: Stage) -> None:
    for number in range(200):
        try:
            await stage.peer(Key(), source=f"127.0.6.{number + 1}")
        except (Cut, OSError):
            pass
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 75, f"{alive} connections: no slot is left for the victim's own dials"


@attack("crowd: one key 40 times", "limited")
async def one_key(stage: Stage) -> None:
    for _ in range(40):
        await stage.peer()
    await trio.sleep(0.5)
    alive = sum(not raw.closed.is_set() for raw in stage.opened)
    assert alive <= 2, f"{alive} connections of one key"


@attack("memory: 60 keys fill every buffer they can", "limited", timeout_s=120)
async def memory(stage: Stage) -> None:
    async def one(number: int) -> None:
        try:
            raw = await stage.peer(Key(), source=f"127.0.7.{number + 1}")
            sid = await raw.open(raw.sync)
            await raw.send(sid, struct.pack(">I", 8 * MIB) + bytes(8 * MIB - 100_000))
            sid = await raw.open(MESHSUB)
            await raw.send(sid, varint(2 * MIB) + bytes(2 * MIB - 100_000))
            for _ in range(6):
                await raw.send(await raw.syn(), bytes(900_000))
        except (Cut, OSError, trio.TooSlowError):
            pass

    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(one, number)
    await trio.sleep(0.5)
