"""Every metric with its type, labels and meaning: what is exposed, documented and asked for by dashboards and rules is named here. Pure.

Names and units follow Prometheus' conventions (prometheus.io/docs/practices/naming): base units, `_total` for counters. No label ever holds
a Ref, a message or anything else that grows with the work: kinds, projects, tools, nodes and closed sets of words only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

PREFIX = "mlops_reconciler_"
MOST_PROJECTS = 200
"""Projects that are told one by one; of more, the largest, and the rest together as `OTHERS`."""
OTHERS = "(others)"

Type: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of series."""

    name: str
    """Without the prefix, and without the `_total` of a counter."""
    type: Type
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, without infinity."""

    @property
    def family(self) -> str:
        """The name as it is exposed in the TYPE line of OpenMetrics."""
        return PREFIX + self.name

    @property
    def series(self) -> tuple[str, ...]:
        """The names that samples have."""
        match self.type:
            case "counter":
                return (f"{self.family}_total",)
            case "histogram":
                return tuple(f"{self.family}_{each}" for each in ("bucket", "count", "sum"))
            case _:
                return (self.family,)


PASS_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
CALL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WAIT_BOUNDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400)

# --- passes --------------------------------------------------------------------------------------------------------

BUILD = Metric("build_info", "gauge", "Always 1; the version is a label.", ("version",))
LEADER = Metric("leader", "gauge", "1 while this loop leads, 0 while it stands by; a standby tells nothing of the installation.")
STUCK = Metric("stuck", "gauge", "1 while the loop does not get on: what /healthz answers 503 for.")
PASS_SECONDS = Metric(
    "pass_duration_seconds", "histogram", "Passes, by whether they looked at everything (`whole`) or at a part.", ("scope",), PASS_BOUNDS
)
PASSES = Metric(
    "passes",
    "counter",
    "Passes by what became of them: `ok`; `failed` (an action did); `unread` (a tool could not be read); `interrupted`; `not_made`.",
    ("scope", "outcome"),
)
FAILED_PASSES = Metric("consecutive_failed_passes", "gauge", "Passes in a row that could not be made; 0 = the last one was.")
WHOLE_AGE = Metric(
    "last_whole_pass_age_seconds",
    "gauge",
    "Since the last whole pass that got to its end and could read every tool; absent before the first.",
)
ACTIONS = Metric("actions", "counter", "What was done in tools: `result` is `done`, `started` or `failed`.", ("kind", "verb", "result"))
ERRORS = Metric("errors", "counter", "Failures by class; `kind` is empty for a pass that could not be made at all.", ("kind", "reason"))

# --- what there is -------------------------------------------------------------------------------------------------

RESOURCES = Metric("resources", "gauge", "Declared resources by health.", ("kind", "health"))
CHILDREN = Metric("child_resources", "gauge", "Runs, replicas, tasks, windows by health; `kind` is their parent's.", ("kind", "health"))
UNWELL = Metric("project_unwell_resources", "gauge", "Resources of a project that are Degraded, Missing or Unknown.", ("project",))
DRIFTED = Metric("drifted_resources", "gauge", "Resources that somebody changed in the tool, and that were not put back.", ("kind",))
PUT_BACK = Metric("drift_corrected", "counter", "Resources that were put back after somebody had changed them in the tool.", ("kind",))
MISTAKES = Metric("manifest_mistakes", "gauge", "Mistakes in manifests that the last whole pass found.", ("severity",))
SUSPENDED = Metric("suspensions", "gauge", "Resources and projects that a person took out of reconciliation.")

# --- tools ---------------------------------------------------------------------------------------------------------

TOOL_UP = Metric("tool_up", "gauge", "1 when the tool could be read the last time that it was to be.", ("tool",))
TOOL_AGE = Metric("tool_reading_age_seconds", "gauge", "Since the tool was read the last time without trouble.", ("tool",))
CIRCUIT = Metric("tool_circuit_open", "gauge", "1 while a tool that does not answer is left alone, but for a probe.", ("tool",))
CALL_SECONDS = Metric("tool_call_duration_seconds", "histogram", "Calls to tools.", ("tool",), CALL_BOUNDS)
CALLS = Metric("tool_calls", "counter", "Calls to tools: `answered`, `refused` (4xx, 5xx) or `silent` (no answer).", ("tool", "result"))

# --- admission -----------------------------------------------------------------------------------------------------

QUEUE = Metric("queue_length", "gauge", "Work that waits for room, by the reason of the last decision.", ("project", "reason"))
OLDEST = Metric("queue_oldest_wait_seconds", "gauge", "How long the work has waited that waits longest.", ("project",))
WAIT = Metric("admission_wait_seconds", "histogram", "What admitted work had waited, by kind of the work's parent.", ("kind",), WAIT_BOUNDS)
LEASES = Metric("leases", "gauge", "Work that runs, or is about to start.", ("project",))
QUOTA = Metric("quota_nominal", "gauge", "Nominal quota: bytes of memory, cores, devices, watts.", ("project", "resource"))
QUOTA_USED = Metric("quota_used", "gauge", "What leases of a project hold, in the same units.", ("project", "resource"))
QUOTA_BORROWED = Metric("quota_borrowed", "gauge", "What of it is above the nominal quota.", ("project", "resource"))

# --- forecasts -----------------------------------------------------------------------------------------------------

JUDGED = Metric("forecast_judged_runs", "gauge", "Measured runs that were foretold from those before: `length` or `memory`.", ("figure",))
HELD = Metric("forecast_held_ratio", "gauge", "Share of them whose actual value lay within what was foretold.", ("figure",))
OFF = Metric("forecast_off_ratio", "gauge", "Middle factor, at least 1, by which actual and predicted differ.", ("figure",))

# --- hardware ------------------------------------------------------------------------------------------------------

NODE_MEMORY = Metric("node_memory_bytes", "gauge", "Memory of a node: `total`, and `available` to new work.", ("node", "state"))
NODE_HEAT = Metric("node_heat_used_ratio", "gauge", "Heat headroom used: 1 = throttling begins; absent where no sensor tells.", ("node",))
NODE_LEVEL = Metric("node_heat_level", "gauge", "-1 unknown, 0 nominal, 1 fair, 2 serious, 3 critical.", ("node",))
NODE_PRESSURE = Metric("node_memory_pressure_level", "gauge", "Memory pressure on the same scale.", ("node",))
NODE_WATTS = Metric("node_power_watts", "gauge", "Power; absent where it is not measured.", ("node",))
NODE_AGE = Metric("node_sample_age_seconds", "gauge", "Age of the sample that the others of this node are from.", ("node",))

# --- alerts --------------------------------------------------------------------------------------------------------

FIRING = Metric("alerts_firing", "gauge", "Alerts of AlertPolicies that fire.", ("severity",))
DELIVERIES = Metric("alert_deliveries", "gauge", "Messages to receivers: `queued`, `sending`, `failed` (of 30 days).", ("state",))

# --- telling itself ------------------------------------------------------------------------------------------------

STORE_UP = Metric("store_up", "gauge", "1 when the Store could be read for this answer; 0 = what it would tell is absent.")
COLLECT_SECONDS = Metric("collect_duration_seconds", "gauge", "What collecting took for the answer before this one.")

ALL: Sequence[Metric] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
BY_NAME: Mapping[str, Metric] = {name: each for each in ALL for name in each.series}


def most(found: Mapping[str, float]) -> dict[str, str]:
    """Each project's label: its name, or `OTHERS` for all but the largest where there are more than `MOST_PROJECTS`."""
    if len(found) <= MOST_PROJECTS:
        return {each: each for each in found}
    ranked = sorted(found, key=lambda each: (-found[each], each))
    return {each: each if at < MOST_PROJECTS else OTHERS for at, each in enumerate(ranked)}
