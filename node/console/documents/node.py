"""Documents of commands about the node itself and its peers."""

from collections.abc import Mapping

from swarmd.node.console.documents.contents import LISTENING
from swarmd.node.console.documents.mesh import BOOTSTRAP, POOL_COUNTS
from swarmd.node.console.documents.records import CHECKPOINT_STATUS
from swarmd.node.console.documents.shapes import (
    ANY,
    AT_S,
    CID,
    COUNT,
    COUNTS,
    DID,
    DURATION_S,
    HEX,
    MESH,
    MULTIADDR,
    NUMBER,
    PEER,
    TEXT,
    USDC,
    YES,
    Schema,
    count,
    either,
    many,
    maybe,
    more,
    named,
    nullable,
    one_of,
    record,
    text,
)

CHAIN = record(
    kind=one_of("embedded", "rpc"),
    chain_id=COUNT,
    contract=text("that holds the anchors, once it is there"),
    account=text("of this node, once the chain has started"),
    head=nullable(count("number of the newest block")),
    pending=count("transactions that are under way"),
    state=one_of("stopped", "starting", "ready", "anchoring", "degraded"),
    trouble=text("a code, or nothing"),
    error=text("the trouble in words"),
    fix=TEXT,
    reorged=count("transactions that a reorganisation took out"),
    requests=COUNTS,
)
API = record(
    state=one_of("off", "starting", "up", "down"),
    url=TEXT,
    error=TEXT,
    connections=COUNT,
    refused=maybe(COUNTS),
    sessions=maybe(COUNT),
    streams=maybe(COUNT),
)
CONNECTIONS = record(
    connections=COUNT,
    outbound=COUNT,
    inbound=COUNT,
    peers_up=COUNT,
    held_bytes=count("kept in memory for peers"),
    held_bytes_peak=COUNT,
    max_connections=COUNT,
    target_peers=COUNT,
    max_held_bytes=COUNT,
    restarts=COUNT,
)
NETWORK = record(pool=CONNECTIONS, dropped=COUNTS)
STATUS = record(
    version=TEXT,
    did=DID,
    peer_id=PEER,
    addrs=many(MULTIADDR),
    mesh=MESH,
    epoch=COUNT,
    checkpoint=nullable(CHECKPOINT_STATUS),
    uptime_s=DURATION_S,
    peers=COUNT,
    needs=COUNTS,
    refused_needs=COUNT,
    parked=count("envelopes that wait for what they refer to"),
    agents=COUNT,
    capabilities=many(TEXT),
    roles=many(TEXT),
    roster=count("verifiers of the epoch"),
    lamport=COUNT,
    mesh_digest=HEX,
    state_digest=HEX,
    balance=USDC,
    chain=CHAIN,
    policy_hash=HEX,
    gates=COUNTS,
    journal=record(inputs=COUNT, bytes=COUNT, proofs=COUNT),
    ingress=record(faults=COUNTS, duplicates=COUNT, dropped=COUNT),
    sync=record(rounds=COUNT, repaired=COUNT),
    network=NETWORK,
    trouble=nullable(TEXT),
    bridge=nullable(named(ANY), "the NATS bridge, if there is one"),
    arbiter=nullable(named(ANY), "etcd, if the mesh has an arbiter"),
    api=nullable(API),
    restored=nullable(LISTENING, "of a node that was made of a backup"),
    manifests=COUNT,
    offers=COUNT,
    counters=COUNTS,
    bus_ms=record(p50=nullable(NUMBER), p95=nullable(NUMBER), p99=nullable(NUMBER)),
    bus_buckets=COUNTS,
    k_plan=count("signatures that decide a plan"),
    k_result=count("signatures that accept a result"),
    bootstrap=YES,
    pool=record(bootstrap=BOOTSTRAP, counts=POOL_COUNTS, mine=TEXT),
)

STANDING = record(
    peer_id=PEER,
    score=NUMBER,
    trust=NUMBER,
    rtt_ms=nullable(NUMBER),
    delivery=NUMBER,
    state=TEXT,
    faults=COUNTS,
    denials=COUNT,
    denied_for_s=DURATION_S,
    reason=TEXT,
)
ACCESS = record(
    entries=many(record(entry=TEXT, verdict=one_of("allow", "deny"), origin=TEXT)),
    entry=maybe(nullable(TEXT)),
)
PEERS = more(
    NETWORK,
    peers=many(
        record(
            peer_id=PEER,
            did=TEXT,
            addrs=many(TEXT),
            direction=one_of("inbound", "outbound"),
            rtt_ms=nullable(NUMBER),
            score=NUMBER,
            state=TEXT,
            faults=COUNTS,
            frames_in=COUNT,
            frames_out=COUNT,
            bytes_in=COUNT,
            bytes_out=COUNT,
            connected_s=DURATION_S,
            offers=many(TEXT),
        )
    ),
)

FINDINGS = many(
    record(
        code=text("stays what it is from version to version"),
        status=one_of("ok", "warning", "bad", "unknown"),
        message=TEXT,
        fix=TEXT,
        docs=TEXT,
    )
)
DIALS = many(
    record(addr=TEXT, peer_id=TEXT, origin=TEXT, ok=YES, error=TEXT, fix=TEXT, rtt_ms=nullable(NUMBER)),
    "what came of dialing each known address",
)
CHECKS = many(record(name=TEXT, ok=nullable(YES), message=TEXT, fix=TEXT))
DOCTOR_NET = record(
    ok=YES,
    daemon=one_of("up", "down"),
    peers=COUNT,
    reach=named(ANY, "how others reach this node; empty while the daemon is down"),
    checks=CHECKS,
    dials=DIALS,
    clock_skew_s=named(NUMBER),
)

SERVICE = record(kind=one_of("systemd", "launchd"), path=TEXT)

TOKEN = record(
    id=TEXT,
    name=TEXT,
    scopes=many(one_of("read", "operate", "spend")),
    did=DID,
    created_s=COUNT,
    expires_s=COUNT,
    state=TEXT,
    used_s=nullable(AT_S),
)

DOCUMENTS: Mapping[str, Schema] = {
    "version": record(version=TEXT, python=TEXT, platform=TEXT),
    "init": record(home=TEXT, did=DID, mesh=maybe(MESH)),
    "invite": record(
        ticket=text("a secret if the mesh is private"),
        mesh=MESH,
        addrs=many(MULTIADDR),
        expires_s=AT_S,
        private=YES,
        loopback_only=YES,
    ),
    "join": record(home=TEXT, did=DID, mesh=MESH, inviter=DID, private=YES),
    "seeds sign": record(
        type=TEXT,
        version=COUNT,
        mesh=CID,
        signer=DID,
        issued_s=AT_S,
        expires_s=AT_S,
        addrs=many(MULTIADDR),
        signature=HEX,
    ),
    "seeds check": record(addrs=many(MULTIADDR)),
    "status": STATUS,
    "sync": record(asked=COUNT, silent=COUNT, repaired=COUNT),
    "peers": PEERS,
    "peers list": PEERS,
    "peers score": record(standings=many(STANDING)),
    "peers ban": record(peer_id=PEER, for_s=DURATION_S),
    "peers unban": record(peer_id=PEER, forgiven=YES),
    "peers allow": ACCESS,
    "peers deny": ACCESS,
    "config show": record(
        home=TEXT,
        file=TEXT,
        settings=named(record(value=ANY, origin=text("default, swarmd.toml, a variable or a flag"))),
    ),
    "config check": record(ok=YES, home=TEXT, findings=FINDINGS),
    "doctor": record(ok=YES, daemon=one_of("up", "down"), home=TEXT, findings=FINDINGS, dials=DIALS),
    "doctor net": DOCTOR_NET,
    "doctor chain": DOCTOR_NET,
    "doctor content": record(ok=YES, daemon=one_of("up", "down"), checks=CHECKS, dials=DIALS),
    "bugreport": record(file=TEXT, bytes=COUNT, holds=many(TEXT), replaced=COUNTS),
    "api status": API,
    "dashboard": record(url=text("opens it once, within a minute"), scopes=many(TEXT)),
    "metrics": record(content_type=TEXT, text=TEXT),
    "completion": record(shell=TEXT, script=TEXT),
    "schema": named(ANY, "a JSON Schema"),
    "ids": record(ids=many(record(id=TEXT, hint=TEXT))),
    "man": record(folder=TEXT, pages=many(TEXT)),
    "service install": either(
        more(SERVICE, changed=YES, started=YES), more(SERVICE, text=text("with --print"))
    ),
    "service uninstall": more(SERVICE, note=text("why it could not be stopped first, or nothing")),
    "service status": more(SERVICE, installed=YES, current=YES, manager=TEXT, pid=nullable(COUNT)),
    "token create": more(TOKEN, token=text("the secret; it is not shown again")),
    "token list": record(tokens=many(TOKEN)),
    "token revoke": TOKEN,
}
