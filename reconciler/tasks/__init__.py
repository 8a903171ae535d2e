"""Programs of the native steps of workflows. Each is a job under a lease, run by the interpreter that serves models."""
