"""Every bound and timing of the libp2p transport in one record; units last in each name."""

from dataclasses import dataclass

from swarmd.protocol import limits

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class P2PLimits:
    """Defaults suit a host with some tens of peers. Memory a peer can make us hold is
    `max_connection_buffer_bytes` (muxer) + one gossip RPC + `max_inbound_request_bytes`."""

    # Connections.
    max_connections: int = 100
    max_connections_per_peer: int = 2
    max_pending_inbound: int = 64  # handshakes under way
    max_pending_inbound_per_ip: int = 32
    handshake_timeout_s: float = 5.0
    dial_timeout_s: float = 10.0
    close_timeout_s: float = 1.0

    # Streams of one connection.
    max_inbound_streams: int = 32
    stream_window_bytes: int = MIB
    max_connection_buffer_bytes: int = 8 * MIB
    write_stall_timeout_s: float = 30.0

    # Gossip.
    max_frame_bytes: int = limits.MAX_FLUSH_BYTES + 65_536
    mesh_degree: int = 6
    mesh_degree_low: int = 4
    mesh_degree_high: int = 12
    max_flood_peers: int = 16  # up to so many subscribers get our own frames from us directly
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
    ping_timeout_s: float = 3.0
    max_missed_pings: int = 3

    # Redial of static peers, and restart of a fallen host.
    redial_min_s: float = 0.25
    redial_max_s: float = 30.0
    restart_min_s: float = 0.2
    restart_max_s: float = 10.0

    # Scores.
    score_threshold: float = 0.3
    score_half_life_s: float = 120.0
    deny_min_s: float = 60.0
    deny_max_s: float = 3_600.0
    max_tracked_peers: int = 4_096
