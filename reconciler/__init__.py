"""The reconciler: a straight corridor from manifests to real things in ML tools. `reconciler.loop` shows it whole."""

__version__ = "0.1.0"
