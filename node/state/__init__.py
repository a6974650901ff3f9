"""The replicated state beside the journal: sync with peers, the Automerge replica, imports and exports."""

# How the replica's process ends when its documents are not what the journal gives.
REPLICA_DIVERGED = 3
