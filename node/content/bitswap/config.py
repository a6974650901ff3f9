"""Every bound and timing of our Bitswap in one record; units last in each name."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class BitswapLimits:
    """For one daemon, or for one of its peers where it says so."""

    # Serving.
    message_target_bytes: int = MIB  # blocks of one message: at least one block, then up to this
    senders: int = 16  # messages with blocks under way, to different peers
    send_timeout_s: float = 30.0  # for one message; then the peer's wants are dropped and it is charged
    replace_have_bytes: int = 1_024  # a block up to this size answers who asked whether it is here
    recheck_interval_s: float = 1.0  # wants of blocks that were not here ...
    recheck_count: int = 256  # ... looked up again, so many at a time

    # Asking.
    idle_timeout_s: float = 10.0  # without a block or a word of the peer we asked
    remember_asked: int = 8_192  # CIDs of a peer, so that a late block is no fault

    # Streams: kubo opens one for each message with blocks, eight at a time, and keeps one for its wants.
    max_streams: int = 24
    open_timeout_s: float = 10.0
    idle_stream_s: float = 60.0
    message_timeout_s: float = 60.0  # from the first byte of a message to its last

    # Rates of one peer, refilled by the second. Beyond `entries` it is read more slowly; beyond the others it is charged.
    entries_per_s: float = 2_000.0
    entries_burst: int = 32_768
    idle_cancels_per_s: float = 200.0
    idle_cancels_burst: int = 4_096
    foreign_wants_per_s: float = 50.0
    foreign_wants_burst: int = 4_096
