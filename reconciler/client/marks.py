"""Words that the reconciler and the client share. The client imports nothing of the reconciler, so they are written twice; a test holds the
two together."""

from __future__ import annotations

API_VERSION = "reconciler.mlops/v1"
UNMANAGED = "unmanaged:"
"""Begins the mark of what this client makes in a tool: `unmanaged:<project>`. A manifest of that name adopts it."""
INSTALLATION, REF, KEY = "mlops.installation", "mlops.ref", "mlops.key"
"""Tags of the mark. `mlops.key` is on runs that the reconciler launched."""
PROJECT = "mlops.project"
DATASET = "mlops.dataset."
"""Begins the tag that says which version of a dataset a run read."""
CONTEXT = "mlops.context."
"""Begins the tags that say on what a run was made."""
CLIENT_RUN = "mlops.client.run"
"""Tag of a run that this client made: its own name for it, by which one that was made without an answer is found again."""
MANIFESTS, STATE = "manifests", ".mlops"
"""Folders of an installation, relative to its root."""
OVERLAYS, IGNORE = "overlays", ".reconcileignore"
LARGEST_MANIFEST = 1 << 20
"""Bytes."""
LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""What a project, a dataset and every other resource may be called."""
