"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, distribution


def version() -> str:
    """Such as "0.1.0"; "0+unknown" when run from a tree that is not installed."""
    try:
        return distribution("swarmd").version
    except PackageNotFoundError:
        return "0+unknown"
