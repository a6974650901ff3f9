"""Transfers, withdrawals, deposits and statements of this node's account (docs/balances.md)."""
