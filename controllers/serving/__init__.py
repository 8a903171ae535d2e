"""What a Deployment is made of: its revisions, how one takes over from another, how many replicas, and what the gateway is told."""
