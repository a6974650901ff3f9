"""Demo agent `text.split`: cut a text into parts of about equal length, losing nothing.

Input: `{"text": str, "parts": int}` (default 4, at most 256). Output: `{"chunks": [str, ...]}`, exactly
`parts` of them, some empty for a short text; joined they are the text. Cuts are made behind a line end if
one is near, else behind white space, so no word is cut.
"""

import json
import sys
from typing import Any, NoReturn

MAX_PARTS = 256
_NEAR_CHARS = 400


def split(text: str, parts: int) -> list[str]:
    chunks = []
    start = 0
    for left in range(parts, 1, -1):
        aim = start + (len(text) - start) // left
        cut = _boundary(text, start, aim)
        chunks.append(text[start:cut])
        start = cut
    chunks.append(text[start:])
    return chunks


def _boundary(text: str, start: int, aim: int) -> int:
    """A place at or after `start` near `aim` behind which a new word may begin."""
    line_end = text.rfind("\n", max(start, aim - _NEAR_CHARS), aim)
    if line_end >= 0:
        return line_end + 1
    cut = aim
    while cut > start and not text[cut - 1].isspace():
        cut -= 1
    if cut > start:
        return cut
    # One long word: to its end, since it must stay whole.
    while aim < len(text) and aim > start and not text[aim - 1].isspace():
        aim += 1
    return aim


def main() -> None:
    given = read_input()
    text, parts = given.get("text"), given.get("parts", 4)
    if not isinstance(text, str):
        fail("input.text must be text")
    if type(parts) is not int or not 1 <= parts <= MAX_PARTS:
        fail(f"input.parts must be an integer of 1 to {MAX_PARTS}")
    json.dump({"chunks": split(text, parts)}, sys.stdout)


def read_input() -> dict[str, Any]:
    try:
        job = json.load(sys.stdin.buffer)
    except ValueError as error:
        fail(f"the job is no JSON: {error}")
    if not isinstance(job, dict) or not isinstance(job.get("input"), dict):
        fail("the job has no input")
    found: dict[str, Any] = job["input"]
    return found


def fail(why: str) -> NoReturn:
    print(f"text.split: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
