"""USDC as people write it and as the core counts it: decimal text <-> integer minor units (6 decimals)."""

from swarmd.protocol.faults import LocalFault
from swarmd.protocol.limits import MAX_AMOUNT

USDC_DECIMALS = 6
_ONE_USDC = 1_000_000
# MAX_AMOUNT has 29 digits; with 6 decimals and the point no honest text is longer.
_MAX_TEXT_CHARS = 40
_FIX = "write an amount of USDC such as 0.02 or 15: digits, at most 6 of them after the point"


def parse_usdc(text: str) -> int:
    """The minor units of a decimal text ("0.02" -> 20000). Exact: nothing is ever rounded.

    Raises LocalFault `bad-amount` for anything but plain ASCII digits with at most 6 decimals (so no
    sign, exponent, NaN, separator or space) and for more than MAX_AMOUNT minor units.
    """
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT_CHARS:
        raise LocalFault("bad-amount", f"not an amount: {str(text)[:60]!r}", fix=_FIX)
    whole, point, fraction = text.partition(".")
    # isdigit() alone would let Arabic-Indic digits and superscripts through.
    if not (whole.isascii() and whole.isdigit()):
        raise LocalFault("bad-amount", f"not an amount: {text!r}", fix=_FIX)
    if point and not (fraction.isascii() and fraction.isdigit()):
        raise LocalFault("bad-amount", f"not an amount: {text!r}", fix=_FIX)
    if len(fraction) > USDC_DECIMALS:
        raise LocalFault("bad-amount", f"{text!r} has more than {USDC_DECIMALS} decimals", fix=_FIX)
    amount = int(whole) * _ONE_USDC + int(fraction.ljust(USDC_DECIMALS, "0"))
    if amount > MAX_AMOUNT:
        raise LocalFault("bad-amount", f"{text!r} is more than the most allowed", fix=_FIX)
    return amount


def format_usdc(amount: int) -> str:
    """The shortest decimal text of `amount` minor units: 20000 -> "0.02", 1000000 -> "1".

    A negative amount (a difference of two) keeps its sign.
    """
    whole, fraction = divmod(abs(amount), _ONE_USDC)
    text = f"{whole}.{fraction:0{USDC_DECIMALS}d}".rstrip("0").rstrip(".")
    return f"-{text}" if amount < 0 else text
