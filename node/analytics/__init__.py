"""What came of the needs: success, volumes, latencies, capabilities, agents."""
