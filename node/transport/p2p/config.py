"""Every bound and timing of the libp2p transport in one record; units last in each name."""

from dataclasses import dataclass

from swarmd.protocol import limits

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class P2PLimits:
    """Defaults suit a host with some tens of peers. What all peers together can make us hold is
    `max_held_bytes`; over it, who holds most is cut off."""

    # Connections. Of `max_connections` some are kept for those we dial ourselves: strangers cannot take all.
    max_connections: int = 100
    outbound_part: float = 0.25
    max_connections_per_peer: int = 2
    max_connections_per_ip: int = 64  # of an IPv4 address or an IPv6 /64
    inbound_per_ip_per_s: float = 20.0  # connections accepted from there, in the long run ...
    inbound_per_ip_burst: int = 200  # ... and at once
    max_pending_inbound: int = 64  # handshakes under way
    max_pending_inbound_per_ip: int = 32
    handshake_timeout_s: float = 5.0
    dial_timeout_s: float = 10.0
    up_timeout_s: float = 30.0  # who neither answers our pings nor subscribes by then is disconnected
    close_timeout_s: float = 1.0

    # The pool: how many peers we want, and how we get rid of bad ones.
    target_peers: int = 8
    pool_interval_s: float = 2.0
    rotate_interval_s: float = 300.0  # at most one peer is exchanged in this time ...
    rotate_below: float = 0.6  # ... and only one that scores less
    rotate_after_s: float = 60.0  # and had that long to show what it can

    # Streams of one connection.
    max_inbound_streams: int = 32
    max_streams_per_protocol: int = 8  # of those, on one protocol; gossip and requests have one each
    stream_opens_per_s: float = 20.0
    stream_opens_burst: int = 200
    stream_window_bytes: int = MIB
    max_connection_buffer_bytes: int = 8 * MIB
    max_held_bytes: int = 192 * MIB  # received or queued for all peers, not yet done with
    write_stall_timeout_s: float = 30.0

    # Rates. Who exceeds one is read more slowly; nothing is dropped here. A wait is counted as throttled-*.
    mux_frames_per_s: float = 20_000.0  # of one connection
    mux_frames_burst: int = 60_000
    max_mux_throttled_s: float = 3.0  # of a minute; more is a fault
    gossip_frames_per_s: float = 4_000.0  # new ones, of one peer
    gossip_frames_burst: int = 8_000
    gossip_rpcs_per_s: float = 8_000.0  # of one peer, whatever is in them
    gossip_rpcs_burst: int = 16_000
    gossip_copies_per_s: float = 4_000.0  # messages of one peer that we have already
    gossip_copies_burst: int = 16_000
    gossip_control_per_s: float = 100.0  # IHAVE, IWANT, GRAFT and PRUNE entries of one peer
    gossip_control_burst: int = 1_000
    requests_per_s: float = 500.0  # of one peer
    requests_burst: int = 1_000
    all_gossip_frames_per_s: float = 12_000.0  # of all peers together; who uses little does not wait
    all_gossip_frames_burst: int = 24_000
    all_requests_per_s: float = 4_000.0
    all_requests_burst: int = 8_000

    # Gossip.
    max_frame_bytes: int = limits.MAX_FLUSH_BYTES + 65_536
    mesh_degree: int = 6
    mesh_degree_low: int = 4
    mesh_degree_high: int = 12
    max_flood_peers: int = 32  # up to so many subscribers get our own frames from us directly
    heartbeat_interval_s: int = 1
    seen_ttl_s: float = 120.0
    max_seen_ids: int = 1_000_000
    max_cache_bytes: int = 32 * MIB
    max_queue_frames: int = 8_192  # per peer, outbound
    max_queue_bytes: int = 16 * MIB

    # Requests.
    max_message_bytes: int = 8 * MIB
    max_requests_in_flight: int = 64  # per peer and direction
    max_inbound_request_bytes: int = 16 * MIB  # bodies being handled, per peer

    # Liveness: a peer that misses `max_missed_pings` in a row is disconnected.
    ping_interval_s: float = 2.0
    max_unpinged_s: float = 10.0  # who says enough by itself is pinged no more often than this
    ping_timeout_s: float = 3.0
    max_missed_pings: int = 3

    # Redial of static peers, and restart of a fallen host.
    redial_min_s: float = 0.25
    redial_max_s: float = 30.0
    # A peer that came makes us dial those that were not reached, but no more often than this.
    rouse_interval_s: float = 2.0
    restart_min_s: float = 0.2
    restart_max_s: float = 10.0

    # Scores.
    score_threshold: float = 0.3
    greylist_below: float = 0.6  # between the two a peer is greylisted: a quarter of the rates
    good_rtt_ms: float = 250.0
    save_interval_s: float = 5.0
    score_half_life_s: float = 120.0
    deny_min_s: float = 60.0
    deny_max_s: float = 3_600.0
    denial_forgotten_s: float = 3_600.0
    max_tracked_peers: int = 4_096
