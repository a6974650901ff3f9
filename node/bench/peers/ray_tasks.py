"""Ray's tasks on one host, with its object store.

driver: input -> the object store (`ray.put`); a task with the reference as its argument (with a verifier a second one,
with the input and the result)
Ray keeps the result in memory, for as long as the driver refers to it: there is no record.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would call home

import ray  # type: ignore[import-not-found]
from swarmd.node.bench.peers import driver
from swarmd.node.bench.peers.work import payload, work

_OBJECT_STORE_BYTES = 256 * 1_048_576


def verify(text: str, result: dict[str, Any]) -> dict[str, Any]:
    return result if work(text) == result else {"rejected": True}


class RayDriver:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        ray.init(
            num_cpus=settings["workers"],
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=settings["folder"],
        )
        self._work, self._verify = ray.remote(work), ray.remote(verify)

    def run(self, numbers: Iterable[int], into: driver.Run) -> None:
        left = iter(numbers)
        under_way: dict[Any, int] = {}
        while True:
            while len(under_way) < self._settings["window"] and (number := next(left, None)) is not None:
                into.posted(number)
                ref = ray.put(payload(number, self._settings["payload_bytes"]))
                result = self._work.remote(ref)
                if self._settings["verified"]:
                    result = self._verify.remote(ref, result)
                under_way[result] = number
            if not under_way:
                return
            ready, _ = ray.wait(list(under_way), num_returns=1)
            for each, value in zip(ready, ray.get(ready), strict=True):
                into.done(under_way.pop(each), value)

    def stored(self, numbers: Iterable[int]) -> None:
        return None


if __name__ == "__main__":
    driver.serve(RayDriver)
