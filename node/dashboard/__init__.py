"""The dashboard: pages that the daemon serves itself, and what they read (docs/dashboard.md)."""
