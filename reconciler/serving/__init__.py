"""What serves a model: the replica that runs on Ray Serve, its registration, and what a model's folder holds."""
