"""Turns proposals, reports and statuses into text, JSON and Markdown. Pure; only `progress` writes anything."""
