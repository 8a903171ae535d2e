"""What is sent to us. Unknown fields are refused, and nothing is taken for something else."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from reconciler.api.v1.shapes import RoleName

Words = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Closed(BaseModel):
    """What is sent to us: unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", strict=True)


class Reason(Closed):
    reason: Words = Field(examples=["labels are being corrected by hand"])


class Yes(Closed):
    """A yes to exactly what was seen."""

    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")] = Field(examples=["3f9c2e1ab04d"])
    refs: Annotated[list[Annotated[str, StringConstraints(max_length=500)]], Field(max_length=500)] | None = None
    """Only these; unset = all that waits."""


class Conf(Closed):
    conf: Annotated[dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], Words], Field(max_length=100)] = {}
    """What the tasks see as `${conf.KEY}`."""


class NewToken(Closed):
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._@+-]+$")] = Field(examples=["ci"])
    role: RoleName = "viewer"
    projects: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$")]], Field(min_length=1, max_length=200)
    ] = ["*"]
    """`*` = all, and what belongs to none."""
    expires_in_days: Annotated[float, Field(gt=0, le=3650)] | None = None
