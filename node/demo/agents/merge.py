"""Demo agent `text.merge`: add up word counts.

Input: `{"parts": [count, ...]}`, or one argument for each count: `{"a": count, "b": count}`. A count is
`{"words": int, "top": {word: int}}`; so is the output.
"""

import json
import sys
from collections import Counter
from typing import Any, NoReturn


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    words = 0
    top: Counter[str] = Counter()
    for part in parts:
        words += part["words"]
        top.update(part["top"])
    return {"words": words, "top": dict(sorted(top.items()))}


def main() -> None:
    given = read_input()
    parts = given["parts"] if "parts" in given else [given[name] for name in sorted(given)]
    if not isinstance(parts, list):
        fail("input.parts must be a list")
    for at, part in enumerate(parts):
        if not _is_count(part):
            fail(f"part {at} is no count: {{'words': int, 'top': {{word: int}}}}")
    json.dump(merge(parts), sys.stdout)


def _is_count(part: object) -> bool:
    return (
        isinstance(part, dict)
        and type(part.get("words")) is int
        and isinstance(part.get("top"), dict)
        and all(type(number) is int for number in part["top"].values())
    )


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
    print(f"text.merge: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
