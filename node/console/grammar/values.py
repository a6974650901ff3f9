"""Types of arguments, and flags that several commands have."""

import argparse


def seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no time in seconds")
    return value


_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def duration_s(text: str) -> float:
    """`90s`, `10m`, `24h` or `7d`, in seconds; a plain number is seconds."""
    unit = text[-1:]
    try:
        value = seconds(text[:-1]) * _UNITS_S[unit] if unit in _UNITS_S else seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90s, 10m, 24h or 7d") from None
    return value


def patience_s(text: str) -> float:
    """As `duration_s`, and 0: not to wait at all."""
    return 0.0 if text in ("0", "0s") else duration_s(text)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is less than 0")
    return value


def timeout_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", help="give up waiting after so long, with exit code 5"
    )


def irrevocable(parser: argparse.ArgumentParser, what: str) -> None:
    """Ask before it is done; `what`: what can't be undone, as the question says it."""
    parser.set_defaults(irrevocable=what)
    parser.add_argument("--yes", action="store_true", help="do not ask: it can't be undone, and is meant")


def watch_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch", dest="watch_again", action="store_true", help="again and again, until Ctrl-C"
    )
    parser.add_argument(
        "--interval", type=seconds, default=2.0, metavar="S", help="with --watch: so often (2)"
    )
