"""The verifier pool: who may sit in committees, what it has at stake, and how it loses its seat or its stake."""
