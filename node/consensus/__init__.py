"""What operators see of consensus: how it stands, why a need was decided as it was, and certificates as files."""
