"""Needs posted to every daemon while things go wrong, and what was acknowledged."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio
from swarmd.node.chaos.hosts import ChaosHosts
from swarmd.node.home import socket_path
from swarmd.node.transport.local_async import AsyncLocalClient, connect_local
from swarmd.protocol.faults import LocalFault

ANSWER_TIMEOUT_S = 8.0
RECONNECT_S = 0.1
DEADLINES_S = (6, 15)
SHORT_DEADLINES_S = (3, 6)  # in runs that are too short for the others to pass
AFTER_DEADLINE_S = 60
# What a client sees of a daemon that is killed, stopped or starting; any other refusal is worth a look.
_AWAY = frozenset(("daemon-not-running", "daemon-gone", "daemon-timeout"))


def _echo(value: str, capability: str = "chaos.echo") -> list[dict[str, Any]]:
    return [{"id": "a", "capability": capability, "input": {"value": {"json": value}}}]


def _chain(value: str) -> list[dict[str, Any]]:
    second = {"id": "b", "capability": "chaos.echo", "input": {"value": {"task": "a", "pointer": "/echo"}}}
    return [*_echo(value), second]


# shape -> (weight, tasks of a value): all three ends of a need come about also without any fault.
SHAPES: dict[str, tuple[float, Callable[[str], list[dict[str, Any]]]]] = {
    "echo": (0.55, _echo),
    "chain": (0.20, _chain),
    "slow": (0.15, lambda value: _echo(value, "chaos.slow")),
    "fails": (0.05, lambda value: _echo(value, "chaos.fail")),
    "nobody": (0.05, lambda value: _echo(value, "chaos.nobody")),
}


@dataclass
class Load:
    """`acknowledged`: need -> its title. `unanswered`: titles of posts whose answer never came: they may exist.

    `refused` counts the codes of refusals by daemons that were there.
    """

    hosts: ChaosHosts
    seed: int
    rate_per_s: float
    deadlines_s: tuple[int, int] = DEADLINES_S
    acknowledged: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Post to every node at `rate_per_s` each, until cancelled."""
        async with trio.open_nursery() as nursery:
            for node in range(len(self.hosts.members)):
                nursery.start_soon(self._node, node)

    async def _node(self, node: int) -> None:
        dice = random.Random(f"swarmd/chaos/{self.seed}/load/{node}")
        path = socket_path(self.hosts.members[node].home)
        number = 0
        while True:
            try:
                async with connect_local(path) as client:
                    while True:
                        await trio.sleep(dice.expovariate(self.rate_per_s))
                        number += 1
                        await self._post(client, f"{node}/{number}", dice)
            except LocalFault as fault:
                if fault.code not in _AWAY:
                    self.refused[fault.code] += 1
            await trio.sleep(RECONNECT_S)

    async def _post(self, client: AsyncLocalClient, title: str, dice: random.Random) -> None:
        shape = dice.choices(list(SHAPES), [weight for weight, _ in SHAPES.values()])[0]
        spec = _spec(title, shape, dice.randint(*self.deadlines_s))
        # Until the answer is here nobody knows whether the daemon took it.
        self.unanswered.add(title)
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            answer = await client.call("need.post", {"spec": spec})
            self.acknowledged[answer["need"]] = title
            self.unanswered.discard(title)

    async def after(self) -> list[str]:
        """Post an echo to every node; the needs, which shall all come to their result now that nothing is wrong."""
        needs = []
        for node in range(len(self.hosts.members)):
            title = f"{node}/after"
            self.unanswered.add(title)
            answer = await self.hosts.call(node, "need.post", spec=_spec(title, "echo", AFTER_DEADLINE_S))
            self.acknowledged[answer["need"]] = title
            self.unanswered.discard(title)
            needs.append(answer["need"])
        return needs


def _spec(title: str, shape: str, deadline_s: int) -> dict[str, Any]:
    return {"title": title, "budget": "0.01", "deadline_s": deadline_s, "tasks": SHAPES[shape][1](title)}
