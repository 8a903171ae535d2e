"""The interface is what `/openapi.json` says: requests made from it, and from what it rules out, are answered as it says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from reconciler.model.serving import Bounds
from tests.contract.gateway_lab import INPUT, TOKEN, Lab, lab, route, target

pytestmark = pytest.mark.xdist_group("gateway")
OUTPUT = {"type": "number"}
KEY = {"Authorization": f"Bearer {TOKEN}"}


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: Any, value: Any) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def up() -> Iterator[Lab]:
    with lab() as found:
        found.replica("p.n.1", input=INPUT | {"properties": {"x": INPUT["properties"]["x"]}}, output=OUTPUT)
        nested = {"definitions": {"row": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}}, "$ref": "#/definitions/row"}
        found.replica("p.rows.1", input=nested, example=([1, 2],))
        found.routes(route("n", target("p.n.1"), limits=Bounds(batch=5)), route("rows", target("p.rows.1"), auth="none"))
        found.start()
        yield found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda each: each.value)
def test_answers_are_as_described(up: Lab, mode: GenerationMode) -> None:
    """Whatever is sent: no 5xx, and each status, type and body is one that is described."""
    asked = 0
    for found in schemathesis.openapi.from_url(f"{up.url}/openapi.json", headers=KEY).get_all_operations():
        with contextlib.suppress(Unsatisfiable):  # where nothing can be wrong
            asked += hold_against(found.ok(), mode)
    assert asked > 50
    assert all(each["status"] < 500 for each in up.lines() if "status" in each)


def hold_against(operation: Any, mode: GenerationMode) -> int:
    """Ask many times; how often."""
    # lines that are wrong are answered line by line: to whom any text is a batch, nothing is a wrong one
    out = [negative_data_rejection] if operation.path.endswith("/batch") else []
    asked = 0

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    def answers(case: Case) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(headers=KEY, excluded_checks=out)

    answers()
    return asked


def test_each_deployment_is_described_with_its_own_schema(up: Lab) -> None:
    with up.client() as client:
        found = client.get("/openapi.json").json()
    assert {f"/predict/p/{name}{end}" for name in ("n", "rows") for end in ("", "/batch")} <= set(found["paths"])
    body = found["paths"]["/predict/p/n"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["instances"]["items"] == {"$ref": "#/components/schemas/p.n.instance"}
    assert body["schema"]["properties"]["instances"]["maxItems"] == 5
    assert body["example"] == {"instances": [{"x": 1}, {"x": 2.5}]}
    assert found["components"]["schemas"]["p.n.prediction"]["type"] == "number"
    assert found["paths"]["/predict/p/rows"]["post"]["security"] == []
