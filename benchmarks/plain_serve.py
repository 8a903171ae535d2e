"""The same Bento as an ordinary application of Ray Serve, behind Serve's own HTTP proxy. Imported by Ray's workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

import reconciler.serving.replica  # noqa: F401  # for one thing: with it, Serve's replicas listen on loopback only

NAME = "Plain"


def build(args: Mapping[str, Any]) -> serve.Application:
    """The application, as `import_path` of a Serve config names it; `args` hold the Bento's tag."""
    tag = str(args["bento"])

    def answering() -> Any:
        import bentoml

        service: Any = bentoml.load(tag)
        return service.to_asgi()

    @serve.deployment(name=NAME, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0})
    @serve.ingress(answering)
    class Plain:
        """Nothing of its own: the Bento answers."""

    return Plain.bind()  # type: ignore[attr-defined,no-any-return]
