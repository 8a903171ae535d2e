"""For code inside projects: `from reconciler.client import MLOpsClient`.

Imports nothing of the reconciler, and tools' packages only when they are needed."""

from reconciler.client.client import MLOpsClient
from reconciler.client.errors import ClientError, MLOpsWarning, NotAsked, NotConfigured, Refused, Unavailable
from reconciler.client.patience import Patience
from reconciler.client.runs import Run

__all__ = ["ClientError", "MLOpsClient", "MLOpsWarning", "NotAsked", "NotConfigured", "Patience", "Refused", "Run", "Unavailable"]
