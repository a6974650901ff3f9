"""Settling the payments of needs between the accounts of their owners and workers, on a chain all of them share."""
