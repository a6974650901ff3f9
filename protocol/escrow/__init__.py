"""Escrows between two owners: negotiated terms, locked money, scored deliverables, disputes and their panels."""
