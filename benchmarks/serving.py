"""A deployment on real Ray Serve, BentoML and MLflow: what the way through the gateway costs, and what a client notices of changes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks import serving_events, serving_paths
from benchmarks.page import Budget, Section, budgets, machine
from benchmarks.serving_events import Event
from benchmarks.serving_paths import BENTOML, GATEWAY, PLAIN, SOCKET, Compared
from benchmarks.serving_site import serving

TITLE = "Serving"
ADDED = 3.0
"""Milliseconds."""
ORDER = (SOCKET, GATEWAY, BENTOML, PLAIN)
TOOLS = ("ray", "bentoml", "uvicorn", "starlette", "aiohttp")


def run(folder: Path) -> Section:
    """Both parts, on one installation."""
    with serving(folder) as site:
        key = site.key()
        busy = [psutil.getloadavg()[0]]
        compared = serving_paths.compare(site, key, folder)
        print(*_ways(compared), *_memory(compared), sep="\n", flush=True)
        busy.append(psutil.getloadavg()[0])
        seen = serving_events.happenings(site, key)
        busy.append(psutil.getloadavg()[0])
    return Section(TITLE, [*_budgets(compared, seen), *_about(busy), *_ways(compared), *_memory(compared), *_events(seen)])


def _budgets(compared: Compared, seen: Sequence[Event]) -> list[str]:
    promised = [each for each in seen if each.promised == serving_events.NONE]
    failed, sent = sum(each.failed for each in promised), sum(each.sent for each in promised)
    rows = [
        Budget("gateway adds to the replica's own endpoint, p50, 1 client", ADDED, compared.added(1), "ms"),
        Budget(f"failed of {sent:,} requests while what is promised to cost none happened {len(promised)} times", 0, failed, "requests"),
    ]
    return budgets(rows)


def _about(busy: Sequence[float]) -> list[str]:
    tools = ", ".join(f"{name} {version(name)}" for name in TOOLS)
    loads = ", ".join(f"{each:.1f}" for each in busy)
    return [machine(), f"Also {tools}. Load of the last minute before, between and after the two parts: {loads}.", ""]


def _ways(compared: Compared) -> list[str]:
    lines = [
        "### Four ways to one package",
        "",
        "The same BentoML package of the same model, which multiplies one number; one client program on the same machine, whose",
        "workers ask again as soon as they are answered. The gateway checks an API key, holds each instance against the model's schema",
        "and logs each prediction. The replica's own endpoint is a Unix socket, all others are TCP on loopback. The others run with",
        "access logs off, as replicas do, on their own: `bentoml serve` with one worker, Ray Serve on a head of its own.",
        f"{serving_paths.ROUNDS} rounds of {serving_paths.SECONDS:g} s each, in turn; medians, in brackets the least and the most.",
        "",
        "| way | clients | requests | per second | p50 ms | p99 ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for (name, workers), rounds in sorted(compared.rounds.items(), key=lambda each: (each[0][1], ORDER.index(each[0][0]))):
        number = sum(len(each.answers) for each in rounds)
        rate = _spread([each.rate for each in rounds], 0)
        p50, p99 = (_spread([1000 * each.quantile(part) for each in rounds], 2) for part in (0.5, 0.99))
        lines.append(f"| {name} | {workers} | {number:,} | {rate} | {p50} | {p99} |")
    one, tail, many = compared.added(1), compared.added(1, 0.99), compared.added(16)
    told = (
        f"The budget is {ADDED:g} ms and is {'met' if one <= ADDED else '**not met**'}: with one client the gateway adds {one:.2f} ms",
        f"to the median of the replica's own endpoint ({tail:.1f} ms to its p99). With 16 clients it adds {many:.1f} ms to the median:",
        "client, gateway, replica and whatever else runs share the cores.",
    )
    return [*lines, "", *told, ""]


def _memory(compared: Compared) -> list[str]:
    lines = [
        "Memory in MiB after the rounds, shared pages divided among those that share them (PSS). A model costs one process in each way;",
        "what stands beside it is there once for all models, and so is the Ray head that both ways over Ray have.",
        "",
        "| way | process of the model | beside it, once |",
        "|---|---:|---|",
    ]
    for name, each in compared.memory.items():
        beside = ", ".join(f"{what} {size:.0f}" for what, size in each.items() if what != "model")
        lines.append(f"| {name} | {each['model']:.0f} | {beside} |")
    note = f"{SOCKET[0].upper()}{SOCKET[1:]} is that of the gateway's replica. `bentoml serve` is its worker and the arbiter above it."
    return [*lines, "", note, ""]


def _events(seen: Sequence[Event]) -> list[str]:
    lines = [
        "### Under constant load",
        "",
        f"{serving_events.WORKERS} clients at the gateway, with a key, prediction log on; each asks again",
        f"{1000 * serving_events.PAUSE:.0f} ms after an answer or a failure. They try nothing twice. Failed is everything but 200.",
        "Silence is the longest time between two good answers to whichever client.",
        "",
        "| what happens | may fail | sent | failed | worst latency | silence | took | seen |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for each in seen:
        failed = f"{each.failed} ({each.how})" if each.failed else "0"
        said = f"**not in time:** {' '.join(each.said.split())}" if each.broken else each.said
        lines.append(
            f"| {each.what} | {'nothing' if each.promised == serving_events.NONE else each.promised} | {each.sent:,} | {failed} "
            f"| {each.worst:.2f} s | {each.silence:.2f} s | {each.took:.1f} s | {said.replace('|', '/')} |"
        )
    return [*lines, "", *PROMISES]


PROMISES = (
    "What a Deployment promises: no request fails because of a new version, another number of replicas, a replica that dies while",
    "another one is there, or Ray Serve's controller. A request whose replica dies is sent to another one, three times at most, so",
    "`predict` may be called twice for one request. What it does not promise: with one replica, requests wait for the next one, within",
    "`limits.timeout`; a model that fails tells its callers so (502), and a canary does until its gate has seen `minRequests`; the",
    "gateway is one process: while it is down nothing answers, until the next pass or `reconcile watch` starts it, and requests in hand",
    "are lost when it is killed. Routes, replicas, keys and the number of replicas do not depend on it.",
)


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
