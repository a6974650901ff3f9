"""Escrows for operators: the operations of the local socket, and what they show."""
