"""The agent of the benchmarks: answers with what it got; with --hold it takes the work and never answers."""

import sys
from typing import Any

import trio
from swarmd.node.agents import Agent


def main() -> None:
    agent = Agent("bench-echo", concurrency=256)

    if "--hold" in sys.argv:

        @agent.task("bench.echo", price="0.001")
        async def hold(task: Any) -> Any:
            await trio.sleep_forever()

    else:

        @agent.task("bench.echo", price="0.001", inline=True)
        def echo(task: Any) -> Any:
            return {"echo": task.input["value"]}

    home = sys.argv[sys.argv.index("--home") + 1]
    agent.run(home=home)


if __name__ == "__main__":
    main()
