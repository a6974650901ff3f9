"""Needs, their threads, tasks and reasons; verifiers' judgement of them is in `agreement`."""

from typing import Annotated

import trio
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response
from swarmd.node.api import models
from swarmd.node.api.answering import answer
from swarmd.node.api.asking import Asker
from swarmd.node.api.describing import Routes
from swarmd.node.api.once import Once
from swarmd.node.api.requests import ChallengeSpec, NeedSpec

PAGE = 100
MAX_PAGE = 1_000
MAX_WAIT_S = 60.0

NeedId = Annotated[str, Path(max_length=128, description="its id, or an unambiguous beginning of it")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


def routes(ask: Asker, once: Once) -> APIRouter:
    api = Routes("needs")

    @api.get("/needs", model=models.NeedPage)
    async def list_needs(
        state: Annotated[str | None, Query(max_length=32, description="only those in this state")] = None,
        limit: Limit = PAGE,
        cursor: Annotated[str | None, Query(max_length=512, description="`next` of the page before")] = None,
    ) -> Response:
        """Needs that this node knows, newest first; with `state`, what moved last first. Paged by `next`."""
        return answer(await ask("need.list", state=state, limit=limit, cursor=cursor))

    @api.spend("POST", "/needs", model=models.Posted, status_code=201, problems=(409,))
    async def post_need(request: Request, spec: NeedSpec) -> Response:
        """Post a need; its budget is locked in escrow. There is no way back but its deadline: what was said to the
        mesh stays said. Send an Idempotency-Key to be able to repeat it safely."""

        async def post() -> Response:
            made = await ask("need.post", spec=spec.model_dump(exclude_none=True))
            return answer(made, 201, {"Location": f"/api/v1/needs/{made['need']}"})

        return await once(request, post)

    @api.get("/needs/{need}", model=models.NeedDetail, problems=(404, 409))
    async def show_need(need: NeedId) -> Response:
        """A need with its tasks, money, challenges and result."""
        return answer(await ask("need.show", need=need))

    @api.get("/needs/{need}/wait", model=models.Waited, problems=(404, 409))
    async def wait_for_need(
        need: NeedId, timeout_s: Annotated[float, Query(gt=0, le=MAX_WAIT_S)] = 30.0
    ) -> Response:
        """Answers when the need has ended, or with `ended: false` after `timeout_s`."""
        shown = await ask("need.show", need=need)
        with trio.move_on_after(timeout_s):
            return answer({"ended": True, **await ask("need.wait", need=shown["need"])})
        return answer({"ended": False, "need": shown["need"]})

    @api.get("/needs/{need}/graph", model=models.Graph, problems=(404, 409))
    async def need_graph(need: NeedId, task: Annotated[str | None, Query(max_length=256)] = None) -> Response:
        """What comes after what; with `task`, its relatives."""
        return answer(await ask("need.graph", need=need, task=task))

    @api.get("/needs/{need}/why", model=models.Why, problems=(404, 409))
    async def why_need(need: NeedId) -> Response:
        """The causal chain: each envelope with its gate verdict, its signature checked anew, and the money."""
        return answer(await ask("why", need=need))

    @api.spend("POST", "/needs/{need}/challenges", status_code=201, problems=(404, 409))
    async def challenge(request: Request, need: NeedId, spec: ChallengeSpec) -> Response:
        """Have an accepted result judged again. It binds a bond."""

        async def make() -> Response:
            return answer(await ask("challenge", need=need, **spec.model_dump()), 201)

        return await once(request, make)

    @api.get("/tasks", model=models.Tasks, problems=(404, 409))
    async def list_tasks(
        state: Annotated[str | None, Query(max_length=32)] = None,
        need: Annotated[str | None, Query(max_length=128)] = None,
        ready: bool = False,
        limit: Limit = PAGE,
    ) -> Response:
        """Tasks of all needs or of one, in one state or ready to begin; what moved last comes first."""
        return answer(await ask("task.list", state=state, need=need, ready=ready, limit=limit))

    @api.get("/threads/{need}", model=models.Thread, problems=(404,))
    async def show_thread(
        need: NeedId, after: Annotated[int, Query(ge=0, le=1 << 53)] = 0, limit: Limit = PAGE
    ) -> Response:
        """What was said about a need, in causal order; `after`: how many to leave out."""
        return answer(await ask("thread.show", need=need, after=after, limit=limit))

    @api.get("/threads/{need}/root", model=models.ThreadRoot, problems=(404,))
    async def thread_root(need: NeedId) -> Response:
        """The root that commits to all of the thread."""
        return answer(await ask("proof.root", need=need))

    @api.get("/threads/{need}/proof", problems=(404,))
    async def thread_proof(
        need: NeedId,
        envelope: Annotated[
            str, Query(min_length=1, max_length=128, description="an id, its beginning, or a kind")
        ],
    ) -> Response:
        """A proof file (CAR, base64) that an envelope belongs to the thread; `swarmd proof verify` reads it."""
        return answer(await ask("proof.make", need=need, envelope=envelope))

    return api.router
