"""The agent of the benchmarks: answers with what it got; with --hold it takes the work and never answers.

`--agents N` attaches N agents from this process, each by a connection and a name of its own. `bench.size` answers with how
much it got, for inputs whose echo would say more about the answer than about the input.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import trio
from swarmd.node.agents import Agent
from swarmd.node.home import socket_path
from swarmd.protocol.faults import LocalFault

PRICE = "0.001"
RETRY_S = 0.5


def make_agent(name: str, hold: bool) -> Agent:
    agent = Agent(name, concurrency=256)

    if hold:

        @agent.task("bench.echo", price=PRICE)
        async def wait(task: Any) -> Any:
            await trio.sleep_forever()

    else:

        @agent.task("bench.echo", price=PRICE, inline=True)
        def echo(task: Any) -> Any:
            return {"echo": task.input["value"]}

        @agent.task("bench.size", price=PRICE, inline=True)
        def size(task: Any) -> Any:
            return {"size": len(task.input["value"])}

    return agent


async def serve_many(agents: list[Agent], path: Path) -> None:
    """Until this process is ended: after a restart of the daemon they attach again."""

    async def serve(agent: Agent) -> None:
        while True:
            try:
                await agent.serve(path)
            except LocalFault:
                await trio.sleep(RETRY_S)

    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(serve, agent)


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--agents", type=int, default=1)
    args = parser.parse_args()
    if args.agents == 1:
        make_agent("bench-echo", args.hold).run(home=args.home)
    else:
        agents = [make_agent(f"bench-echo-{number}", args.hold) for number in range(args.agents)]
        trio.run(serve_many, agents, socket_path(Path(args.home)))


if __name__ == "__main__":
    main()
