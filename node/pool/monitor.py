"""Tells the log when bootstrap mode begins, ends, or is near its end (seed 004, command 36: BootstrapMonitor)."""

import logging

import trio
from swarmd.node.pool.views import bootstrap
from swarmd.node.runner import Runner

log = logging.getLogger("swarmd.bootstrap")

LOOK_S = 1.0  # modes change at checkpoints only; between two looks there is at most one


async def watch_bootstrap(runner: Runner) -> None:
    """Until cancelled."""
    epoch, on, enough = -1, None, False
    while True:
        if runner.state.epoch != epoch:
            epoch = runner.state.epoch
            found = bootstrap(runner.state)
            if on is not None and on != found["on"]:
                log.warning("bootstrap mode has %s with epoch %d", "begun" if found["on"] else "ended", epoch)
            if found["on"] and not found["missing"] and not enough:
                log.info("%d verifiers: bootstrap mode ends in %d s", found["active"], found["left_s"])
            on, enough = found["on"], not found["missing"]
        await trio.sleep(LOOK_S)
