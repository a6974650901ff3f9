"""Processes of ours that run a module of ours."""

import sys


def own_python(module: str) -> tuple[str, ...]:
    """The command that runs `module` in this Python, without the folder that we run in: that has no say in what is imported."""
    return (sys.executable, "-P", "-m", module)
