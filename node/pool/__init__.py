"""The node's side of the verifier pool: what operators ask and command, quotes, and what is told of bootstrap mode."""
