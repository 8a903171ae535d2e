"""What the loop tells of itself: metrics for Prometheus when it listens, traces where the environment names a collector."""
