"""The agent of the benchmark: answers with what it got."""

import sys
from typing import Any

from swarmd.node.agents import Agent


def main() -> None:
    agent = Agent("bench-echo", concurrency=256)

    @agent.task("bench.echo", price="0.001", inline=True)
    def echo(task: Any) -> Any:
        return {"echo": task.input["value"]}

    home = sys.argv[sys.argv.index("--home") + 1]
    agent.run(home=home)


if __name__ == "__main__":
    main()
