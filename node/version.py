"""The version of the installed package."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution


@cache  # the package's metadata is read and parsed each time
def version() -> str:
    """Such as "0.1.0"; "0+unknown" when run from a tree that is not installed."""
    try:
        return distribution("swarmd").version
    except PackageNotFoundError:
        return "0+unknown"
