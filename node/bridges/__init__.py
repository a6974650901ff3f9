"""Bridges to other message fabrics."""
