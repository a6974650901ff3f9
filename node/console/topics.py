"""`swarmd topic watch`."""

import time
from typing import Any

from swarmd.node.console.context import Context
from swarmd.node.console.outcome import OK, time_limit
from swarmd.node.console.output import clean, short_did


def run_watch(ctx: Context) -> int:
    args, out = ctx.args, ctx.out
    with (
        time_limit(args.timeout, "the topic", "it goes on: swarmd topic watch"),
        ctx.client(None) as client,
    ):
        for item in client.stream("topic.watch", {"topic": args.topic, "count": args.count}):
            if "lost" in item:
                if item["lost"]:
                    out.progress(f"{item['lost']} were said faster than they could be read")
            elif out.as_json:
                out.document(item)
            else:
                out.line(_line(item))
    return OK


def _line(event: dict[str, Any]) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(event["at_ns"] / 1e9))
    return clean(f"{at} {event['topic']} {short_did(event['sender'])} {event['text']}")
