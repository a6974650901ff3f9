"""Chaos on real daemons: docs/chaos.md."""
