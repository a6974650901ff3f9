"""The agent beside each daemon under chaos: one that answers, one that takes its time, one that fails."""

import random
import sys
from typing import Any

import trio
from swarmd.node.agents import Agent


def main() -> None:
    agent = Agent("chaos", concurrency=64)

    @agent.task("chaos.echo", price="0.001", inline=True)
    def echo(task: Any) -> Any:
        return {"echo": task.input["value"]}

    @agent.task("chaos.slow", price="0.002")
    async def slow(task: Any) -> Any:
        # Now and then longer than a lease, so that leases end without any fault, too.
        await trio.sleep(random.uniform(0.5, 6.0))
        return {"echo": task.input["value"]}

    @agent.task("chaos.fail", price="0.001", inline=True)
    def fail(task: Any) -> Any:
        raise ValueError("as it should")

    agent.run(home=sys.argv[sys.argv.index("--home") + 1])


if __name__ == "__main__":
    main()
