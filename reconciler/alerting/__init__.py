"""Alerts: what statuses say is wrong, who is told of it and when (pure), and the sending (at the edge)."""
