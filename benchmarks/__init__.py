"""Measurements of whole commands: `make bench`. Ratios within one run; nothing here is a test."""
