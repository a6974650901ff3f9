"""The HTTP API: the operations of the local socket for programs and browsers, with tokens (docs/api.md)."""
