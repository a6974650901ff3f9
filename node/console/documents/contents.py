"""Documents of commands about content, backups and agents."""

from collections.abc import Mapping

from swarmd.node.console.documents.shapes import (
    AT_NS,
    AT_S,
    CID,
    COUNT,
    COUNTS,
    DID,
    HEX,
    NUMBER,
    TEXT,
    USDC,
    YES,
    Schema,
    either,
    many,
    maybe,
    more,
    named,
    nullable,
    one_of,
    record,
    row,
    text,
)

AGENT = record(
    name=TEXT,
    kind=TEXT,
    capabilities=many(record(name=TEXT, price=USDC)),
    argv=many(TEXT),
    cwd=nullable(TEXT),
    env=named(TEXT, "what is secret is not shown"),
    timeout_s=nullable(NUMBER),
    memory_mb=COUNT,
    output_limit_bytes=COUNT,
    concurrency=COUNT,
    enabled=YES,
)
_RUNS = {"available": YES, "running": COUNT, "done": COUNT, "failed": COUNTS}
ATTACHED = record(
    name=TEXT,
    kind=one_of("attached"),
    capabilities=many(record(name=TEXT, price=USDC)),
    concurrency=COUNT,
    enabled=YES,
    **_RUNS,
)
AGENT_LISTED = either(more(AGENT, **_RUNS), ATTACHED)

PIN = record(cid=CID, recursive=YES, name=TEXT, at_s=AT_S)
BACKUP = record(
    file=TEXT,
    bytes=COUNT,
    swarmd=text("the version that made it"),
    created_ns=AT_NS,
    did=DID,
    mesh=CID,
    schema=COUNT,
    inputs=COUNT,
    mesh_digest=HEX,
    state_digest=HEX,
    files=named(row(COUNT, HEX), "file -> [bytes, SHA-256]"),
)
# A restored node is silent until it has heard enough verifiers.
LISTENING = record(
    heard=COUNT, needed=COUNT, backup_ns=nullable(AT_NS, "none: its journal was lost"), restored_ns=AT_NS
)
_GROUP = record(group=TEXT, members=many(DID))

DOCUMENTS: Mapping[str, Schema] = {
    "agent add": AGENT,
    "agent list": record(agents=many(AGENT_LISTED)),
    "agent rm": AGENT,
    "agent on": AGENT,
    "agent off": AGENT,
    "agent stderr": record(stderr=TEXT),
    "content add": record(
        added=many(record(path=TEXT, cid=CID, kind=TEXT, size=COUNT, dag_bytes=COUNT, files=COUNT))
    ),
    "content get": record(cid=CID, file=TEXT, bytes=COUNT, files=COUNT),
    "content ls": either(
        record(pins=many(PIN)),
        record(cid=CID, entries=many(record(name=TEXT, cid=CID, kind=TEXT, dag_bytes=COUNT))),
    ),
    "content pin": PIN,
    "content unpin": record(unpinned=CID),
    "content stat": either(
        record(
            blocks=COUNT,
            bytes=COUNT,
            disk_bytes=COUNT,
            max_bytes=COUNT,
            corrupt=COUNT,
            pins=COUNT,
            journal_blocks=COUNT,
            journal_bytes=COUNT,
        ),
        record(cid=CID, kind=TEXT, bytes=maybe(COUNT), blocks=COUNT, dag_bytes=COUNT, missing=COUNT),
    ),
    "content gc": record(
        blocks=COUNT,
        bytes=COUNT,
        kept_blocks=COUNT,
        young_blocks=COUNT,
        young_bytes=COUNT,
        disk_bytes=COUNT,
        packs_rewritten=COUNT,
    ),
    "content verify": record(blocks=COUNT, bytes=COUNT, corrupt=many(CID)),
    "content export": record(file=TEXT, roots=many(CID), blocks=COUNT, bytes=COUNT),
    "content import": record(imported=many(record(file=TEXT, roots=many(CID), blocks=COUNT))),
    "content migrate": record(
        mapping=TEXT,
        hashes=COUNT,
        verified=YES,
        files=COUNT,
        bytes=COUNT,
        resumed=COUNT,
        wrong=many(TEXT),
        left_out=many(TEXT),
        unverified=many(TEXT),
        root=TEXT,
    ),
    "content group list": record(groups=named(many(DID))),
    "content group add": _GROUP,
    "content group rm": _GROUP,
    "backup create": BACKUP,
    "backup verify": BACKUP,
    "backup restore": BACKUP,
    "backup recover": record(
        did=DID,
        mesh=TEXT,
        damage=text("what was wrong with the journal"),
        aside=nullable(TEXT, "where what was left of it is"),
    ),
    "backup speak": LISTENING,
}
