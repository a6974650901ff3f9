"""Backups of a node: one encrypted file that another host can take the node's place with (docs/backup.md)."""
