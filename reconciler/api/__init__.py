"""What the loop tells and hears over HTTP, on loopback. Never calls a controller: it reads, and may wake the loop."""
