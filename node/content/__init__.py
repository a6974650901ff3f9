"""Content: blocks by CID, files as DAGs of blocks, and fetching them from peers."""
