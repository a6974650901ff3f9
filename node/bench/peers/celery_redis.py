"""Celery with Redis as broker and as the store of results.

    driver: input -> a Redis key; its name -> a task (with a verifier: a chain of two)
    worker: reads the input, works; the verifier reads it again, works again and compares
    Celery keeps the result in Redis, and tells the driver

Tasks are acknowledged when they are done (`task_acks_late`), so that a worker's death loses none.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

import celery  # type: ignore[import-not-found]
import redis  # type: ignore[import-not-found]
from swarmd.node.bench.peers import driver
from swarmd.node.bench.peers.work import payload, work

# The worker is Celery's own command, which leaves argv to itself.
settings: dict[str, Any] = json.loads(os.environ[driver.SETTINGS])
app = celery.Celery("peers", broker=settings["redis"], backend=settings["redis"])
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_ignore_result=False,
    result_expires=86_400,
)
_inputs: Any = None


def read_input(ref: str) -> str:
    global _inputs
    if _inputs is None:  # in each process of the pool
        _inputs = redis.Redis.from_url(settings["redis"])
    return str(_inputs.get(ref).decode())


@app.task(name="peers.work")  # type: ignore[untyped-decorator]
def do_work(ref: str) -> dict[str, Any]:
    return work(read_input(ref))


@app.task(name="peers.verify")  # type: ignore[untyped-decorator]
def do_verify(result: dict[str, Any], ref: str) -> dict[str, Any]:
    return result if work(read_input(ref)) == result else {"rejected": True}


class CeleryDriver:
    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        self._inputs = redis.Redis.from_url(told["redis"])
        self._ids: dict[int, str] = {}

    def run(self, numbers: Iterable[int], into: driver.Run) -> None:
        left, under_way = iter(numbers), set()

        def post() -> bool:
            number = next(left, None)
            if number is None:
                return False
            into.posted(number)
            ref = f"input-{number}"
            self._inputs.set(ref, payload(number, self._told["payload_bytes"]))
            tasks = do_work.s(ref)
            if self._told["verified"]:
                tasks |= do_verify.s(ref)
            result = tasks.apply_async()
            self._ids[number] = result.id
            under_way.add(number)

            def finished(ready: Any) -> None:
                into.done(number, ready.result)
                under_way.discard(number)

            result.then(finished)
            if self._told["verified"]:
                # Of a chain the last task's channel is subscribed to by `then` only; what was said before is on record.
                app.backend.result_consumer.on_wait_for_pending(result)
            return True

        # One thread, as Celery's own `get` does it: whatever result comes next is taken.
        while True:
            while len(under_way) < self._told["window"] and post():
                pass
            if not under_way:
                return
            app.backend.result_consumer.drain_events(timeout=1)

    def stored(self, numbers: Iterable[int]) -> Mapping[int, Any]:
        found = {number: app.backend.get_task_meta(self._ids[number], cache=False) for number in numbers}
        return {number: meta["result"] for number, meta in found.items() if meta["status"] == "SUCCESS"}


if __name__ == "__main__":
    driver.serve(CeleryDriver)
