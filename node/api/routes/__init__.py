"""What the HTTP API answers, a module a family."""
