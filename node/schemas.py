"""The JSON-Schema checkers of a node: few processes, however many schemas the needs of others bring."""

from dataclasses import dataclass
from typing import Any

import trio
from swarmd.node.agents.launcher import Launcher
from swarmd.node.agents.verifiers import Judgement, SchemaVerifier
from swarmd.node.ports import Job

MAX_WARM = 8
MAX_AT_ONCE = 8


@dataclass(slots=True)
class _Checker:
    verifier: SchemaVerifier
    users: int = 0


class SchemaPool:
    """Keeps the checkers last used warm: at most MAX_WARM idle processes and MAX_AT_ONCE busy ones."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._checkers: dict[bytes, _Checker] = {}
        self._places = trio.CapacityLimiter(MAX_AT_ONCE)

    async def judge(self, cid: bytes, schema: Any, job: Job, output: Any) -> Judgement:
        """Check `output` against `schema`, whose id is `cid`. LocalFault `bad-schema` if it is none."""
        async with self._places:
            checker = self._checkers.pop(cid, None) or _Checker(SchemaVerifier(schema, self._launcher))
            self._checkers[cid] = checker  # last: most recently used
            checker.users += 1
            try:
                return await checker.verifier.judge(job, output)
            finally:
                checker.users -= 1
                with trio.CancelScope(shield=True):
                    await self._trim()

    async def _trim(self) -> None:
        idle = [cid for cid, checker in self._checkers.items() if not checker.users]
        for cid in idle[: max(0, len(idle) - MAX_WARM)]:
            await self._checkers.pop(cid).verifier.aclose()
