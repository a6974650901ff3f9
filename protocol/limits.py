"""Every bound of the wire and the core in one place; units last in each name."""

PROTOCOL_VERSION = 1

# Wire. The payload bound is the seed's (004, command 41: "max_payload_size = 1048576").
MAX_PAYLOAD_BYTES = 1_048_576
MAX_ENVELOPE_BYTES = MAX_PAYLOAD_BYTES + 8_192
MAX_FLUSH_BYTES = 2 * 1_048_576
MAX_ENVELOPES_PER_BATCH = 64
MAX_BATCHES_PER_FLUSH = 64
MAX_REFS = 64
MAX_NESTING = 32
BUCKETS = 256

# Clocks. A lamport may jump ahead of ours (we were away), never so far that it could exhaust the range.
MAX_LAMPORT = 1 << 62
MAX_LAMPORT_JUMP = 1 << 32
MAX_FUTURE_NS = 30 * 1_000_000_000

# Work.
MAX_TASKS_PER_NEED = 1_024
MAX_EDGES_PER_NEED = 8_192
MAX_CANDIDATES = 8
MAX_PARKED_PER_AUTHOR = 10_000
MAX_REFUSED = 10_000
MAX_MANIFESTS = 16_384
MAX_INLINE_BYTES = 2_048
MAX_LEASE_S = 86_400
DEFAULT_LEASE_S = 60
CLAIM_TIMEOUT_S = 10
EPOCH_S = 600
CHAIN_EPOCHS = 10  # of those in which an author spoke: as many have open chains (adr/0043)
MAX_VERIFIERS = 4_096
MAX_QUOTE_BYTES = 16_384
BOOTSTRAP_STABLE_S = 86_400
MAX_DEADLINE_S = 30 * 86_400
EXPIRY_GRACE_S = 60
MIN_BOND = 10_000  # of a challenge, minor units: a cent

# Content.
MAX_BLOCK_BYTES = 1_048_576
MAX_CONTENT_BYTES = 1 << 32

# Money: USDC minor units (6 decimals). Below 2**63, so that amounts fit dag-cbor, SQLite and any SDK.
MAX_AMOUNT = (1 << 63) - 1
VERIFIER_STAKE = 10_000_000

MAX_CONFIRMED = 256  # entries of accounts that one envelope of votes signs

S_NS = 1_000_000_000
