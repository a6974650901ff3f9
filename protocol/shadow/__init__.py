"""Shadow balances: money that moves inside the mesh, from a deposit on a chain to a withdrawal to one (docs/balances.md)."""
