"""Documents of commands that start, stop, watch and wait for the daemon."""

from collections.abc import Mapping

from swarmd.node.console.documents.contents import AGENT_LISTED
from swarmd.node.console.documents.money import BALANCE
from swarmd.node.console.documents.needs import NEED_LISTED
from swarmd.node.console.documents.node import PEERS, STATUS
from swarmd.node.console.documents.shapes import (
    AT_NS,
    COUNT,
    DID,
    MESH,
    MULTIADDR,
    NEED,
    PEER,
    TEXT,
    YES,
    Schema,
    either,
    many,
    maybe,
    nullable,
    one_of,
    record,
    report,
    text,
)

DOCUMENTS: Mapping[str, Schema] = {
    "up": record(
        event=one_of("ready"),
        did=DID,
        peer_id=PEER,
        addrs=many(MULTIADDR),
        mesh=MESH,
        api=text("where the HTTP API is, or nothing"),
        at_ns=AT_NS,
        pid=maybe(COUNT),
        log=maybe(text("with --detach: the file that it logs to")),
    ),
    "stop": record(stopping=YES),
    "down": record(stopped=YES, pid=nullable(COUNT)),
    "logs": report(
        "a line of the log: of log_format = json with the ids that it is about, of text only `message`",
        message=TEXT,
        ts_ns=maybe(AT_NS),
        level=maybe(TEXT),
        logger=maybe(TEXT),
    ),
    "top": record(
        status=STATUS,
        peers=PEERS["properties"]["peers"],
        needs=many(NEED_LISTED),
        agents=many(AGENT_LISTED),
        balance=BALANCE,
    ),
    "wait ready": record(ready=YES, did=DID, peers=COUNT),
    "wait need": record(need=either(NEED, TEXT), state=TEXT, reached=YES),
}
