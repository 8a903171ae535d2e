"""The values that flow through the corridor. All frozen; no I/O; imports the envelope's types only.

::

    Manifest -> Resource -> Observation -> Diff -> Action -> Plan -> Result -> Status
"""

from __future__ import annotations

from reconciler.model.actions import Action, Adopt, Blocked, Change, Create, Delete, Diff, Glyph, Keep, Move, Plan, Replace, Update, Write
from reconciler.model.attribution import Attribution, Drift
from reconciler.model.demand import Amounts, Demand, Learned, Limits, WorkClass
from reconciler.model.jobs import Job, JobState, Progress
from reconciler.model.manifests import manifest
from reconciler.model.names import NOWHERE, Diagnostic, Location, Ref, ref_names
from reconciler.model.resources import Absent, Manifest, Mark, Observation, Owned, Patch, Present, Resource, S, Source, Unknown
from reconciler.model.results import Condition, Done, Failed, Health, HealthReport, Outcome, Result, Started, Status
from reconciler.model.values import JSON, KNOWN_AFTER_APPLY, Fields, Outputs, canonical, digest_of, output

__all__ = [
    "JSON",
    "KNOWN_AFTER_APPLY",
    "NOWHERE",
    "Absent",
    "Action",
    "Adopt",
    "Amounts",
    "Attribution",
    "Blocked",
    "Change",
    "Condition",
    "Create",
    "Delete",
    "Demand",
    "Diagnostic",
    "Diff",
    "Done",
    "Drift",
    "Failed",
    "Fields",
    "Glyph",
    "Health",
    "HealthReport",
    "Job",
    "JobState",
    "Keep",
    "Learned",
    "Limits",
    "Location",
    "Manifest",
    "Mark",
    "Move",
    "Observation",
    "Outcome",
    "Outputs",
    "Owned",
    "Patch",
    "Plan",
    "Present",
    "Progress",
    "Ref",
    "Replace",
    "Resource",
    "Result",
    "S",
    "Source",
    "Started",
    "Status",
    "Unknown",
    "Update",
    "WorkClass",
    "Write",
    "canonical",
    "digest_of",
    "manifest",
    "output",
    "ref_names",
]
