"""Yamux."""

import trio
from raw import ACK, DATA, FIN, GO_AWAY, HEADER, MULTISTREAM, PING, RST, SYN, WINDOW, YPING, said

from attacking.stage import MIB, Stage, attack

for _name, _frames, _code in (
    ("a wrong version", HEADER.pack(9, 0, 0, 1, 0), "bad-yamux-frame"),
    ("a wrong type", HEADER.pack(0, 9, 0, 1, 0), "bad-yamux-frame"),
    ("a stream id that is not its to give", HEADER.pack(0, WINDOW, SYN, 2, 0), "bad-stream-id"),
    ("stream 0", HEADER.pack(0, WINDOW, SYN, 0, 0), "bad-stream-id"),
    ("a stream twice", HEADER.pack(0, WINDOW, SYN, 1, 0) * 2, "bad-stream-id"),
    ("a window of 4 GB", HEADER.pack(0, WINDOW, SYN, 1, 2**32 - 1), "window-overflow"),
    (
        "a window grown to 4 GB",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, WINDOW, 0, 1, 1 << 30) * 4,
        "window-overflow",
    ),
    (
        "a frame of 4 GB",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, DATA, 0, 1, 2**32 - 1) + bytes(9_000),
        "flow-control",
    ),
    (
        "a frame beyond the window",
        HEADER.pack(0, WINDOW, SYN, 1, 0) + HEADER.pack(0, DATA, 0, 1, MIB + 1) + bytes(9_000),
        "flow-control",
    ),
):

    @attack(f"yamux: {_name}", "cut", _code, batch="yamux")
    async def yamux(stage: Stage, frames: bytes = _frames) -> None:
        raw = await stage.peer()
        await raw.plain(frames)
        await raw.until_cut()


@attack("yamux: data without regard to windows", "cut", "flow-control")
async def no_windows(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    sid = await raw.syn()
    await raw.send(sid, said(MULTISTREAM) + said(PING))
    for _ in range(600):  # 39 MB where 1 MiB may be on its way
        await raw.send(sid, bytes(65_000), rude=True)
    await raw.until_cut()


async def _flood(stage: Stage, frames: bytes, seconds: float = 12.0) -> None:
    """The same frames as fast as they are taken, reading everything that comes back."""
    raw = await stage.peer()
    block = frames * max(1, 60_000 // len(frames))
    with trio.move_on_after(seconds):
        while not raw.closed.is_set():
            await raw.plain(block)
            await trio.lowlevel.checkpoint()


for _name, _frames in {
    "pings": HEADER.pack(0, YPING, SYN, 0, 7),
    "pongs": HEADER.pack(0, YPING, ACK, 0, 7),
    "window updates of no stream": HEADER.pack(0, WINDOW, 0, 77, 1),
    "resets of no stream": HEADER.pack(0, WINDOW, RST, 77, 0),
    "empty data": HEADER.pack(0, DATA, 0, 77, 0),
    "data of a byte": HEADER.pack(0, DATA, 0, 77, 1) + b"x",
    "odd flags": HEADER.pack(0, DATA, FIN | RST | ACK | 64, 77, 0),
}.items():

    @attack(
        f"yamux: a flood of {_name}",
        "cut",
        "frame-flood",
        "reads-nothing",
        repeats=4,
        timeout_s=60,
        batch="floods",
    )
    async def flood(stage: Stage, frames: bytes = _frames) -> None:
        await _flood(stage, frames)


@attack(
    "yamux: pings, and nothing read",
    "cut",
    "frame-flood",
    "reads-nothing",
    repeats=4,
    timeout_s=60,
    batch="floods",
)
async def deaf(stage: Stage) -> None:
    raw = await stage.tcp()
    await raw.noised()
    await raw.plain(said(MULTISTREAM) + said("/yamux/1.0.0"))
    with trio.move_on_after(12):
        while True:
            await raw.plain(HEADER.pack(0, YPING, SYN, 0, 7) * 5_000)


@attack("yamux: 10,000 streams left open", "cut", "stream-flood")
async def idle_streams(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    for first in range(1, 20_001, 2_000):
        await raw.plain(
            b"".join(HEADER.pack(0, WINDOW, SYN, sid, 0) for sid in range(first, first + 2_000, 2))
        )
    await raw.until_cut()


@attack("yamux: 10,000 streams opened and reset", "cut", "stream-flood")
async def rapid_reset(stage: Stage) -> None:
    raw = await stage.peer(answers=False)
    for first in range(1, 20_001, 2_000):
        await raw.plain(
            b"".join(
                HEADER.pack(0, WINDOW, SYN, sid, 0) + HEADER.pack(0, WINDOW, RST, sid, 0)
                for sid in range(first, first + 2_000, 2)
            )
        )
    await raw.until_cut()


@attack("yamux: half a header, and silence", "limited")
async def half_header(stage: Stage) -> None:
    raw = await stage.peer(answers=False)  # another frame would be taken for the rest of it
    await raw.plain(HEADER.pack(0, DATA, 0, 1, 100)[:5])
    await trio.sleep(0.5)


@attack("yamux: goes away, and goes on", "limited")
async def gone_away(stage: Stage) -> None:
    raw = await stage.peer()
    await raw.plain(HEADER.pack(0, GO_AWAY, 0, 0, 0) + HEADER.pack(0, WINDOW, SYN, 1, 0) * 50)
    await raw.until_cut()
