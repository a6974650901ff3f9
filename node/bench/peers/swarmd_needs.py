"""swarmd itself: the agent, and the driver that posts needs over the daemons' local sockets.

driver: need with the text as its input (the daemon keeps it as content, the need names its CID)
the rest is a need's whole life; the driver gets the result from the daemon that it posted to
"""

import sys
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents import Agent
from swarmd.node.bench.peers import driver
from swarmd.node.bench.peers.work import payload, work
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.canonical_json import parse_json

CAPABILITY = "bench.peers"
DEADLINE_S = 600
TASK = "task"


class SwarmdDriver:
    """`homes`: of the daemons, which get the needs in turn. `spec`: what of the need and its task differs."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._needs: dict[int, str] = {}

    def _need(self, number: int) -> dict[str, Any]:
        text = payload(number, self._settings["payload_bytes"])
        task = {
            "capability": CAPABILITY,
            "id": TASK,
            "input": {"text": {"text": text}},
            **self._settings["task"],
        }
        return {
            "title": f"bench {number}",
            "budget": self._settings["budget"],
            "deadline_s": DEADLINE_S,
            "tasks": [task],
        }

    def run(self, numbers: Iterable[int], into: driver.Run) -> None:
        left = iter(numbers)

        async def post_some(client: AsyncLocalClient) -> None:
            for number in left:
                into.posted(number)
                posted = await client.call("need.post", {"spec": self._need(number)})
                self._needs[number] = posted["need"]
                await client.call("need.wait", {"need": posted["need"]})
                into.done(number, await _result(client, posted["need"]))

        async def all_of_them() -> None:
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connect_local(path)) for path in self._sockets()]
                async with trio.open_nursery() as nursery:
                    for index in range(self._settings["window"]):
                        nursery.start_soon(post_some, clients[index % len(clients)])

        trio.run(all_of_them)

    def _sockets(self) -> list[Path]:
        return [socket_path(Path(home)) for home in self._settings["homes"]]

    def stored(self, numbers: Iterable[int]) -> Mapping[int, Any]:
        """Asked of the last daemon, which did not get most of them from us."""
        found: dict[int, Any] = {}

        async def read() -> None:
            async with connect_local(self._sockets()[-1]) as client:
                for number in numbers:
                    found[number] = await _result(client, self._needs[number])

        trio.run(read)
        return found


async def _result(client: AsyncLocalClient, need: str) -> Any:
    """The result of a finished need; a large one that is elsewhere is fetched by its CID."""
    shown = await client.call("need.show", {"need": need})
    if shown["state"] != "FINALIZED":
        return {"state": shown["state"]}
    if TASK in shown["values"]:
        return shown["values"][TASK]
    return parse_json((await client.call("content.cat", {"cid": shown["result"][TASK]}))["data"])


def serve_agent(home: str, price: str) -> None:
    agent = Agent("bench-peers", concurrency=256)

    @agent.task(CAPABILITY, price=price, inline=True)
    def do_work(task: Any) -> Any:
        return work(task.input["text"])

    agent.run(home=home)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        serve_agent(sys.argv[sys.argv.index("--home") + 1], sys.argv[sys.argv.index("--price") + 1])
    else:
        driver.serve(SwarmdDriver)
