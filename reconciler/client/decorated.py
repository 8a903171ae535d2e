"""The decorator that makes each call of a function a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.client.runs import active

if TYPE_CHECKING:
    from inspect import Signature

    from reconciler.client.client import MLOpsClient

F = TypeVar("F", bound=Callable[..., Any])


def tracked(client: MLOpsClient, experiment: str, name: str | None, function: F) -> F:
    """See `MLOpsClient.track_experiment`. A call within a run is a run nested in it."""
    import inspect

    signature, title = inspect.signature(function), name or function.__name__

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def waited(*arguments: Any, **options: Any) -> Any:
            params = _given(signature, arguments, options)
            async with client.aio.start_run(experiment, name=title, params=params, nested=active.get() is not None):
                answer = await function(*arguments, **options)
                if numbers := _numbers(answer):
                    await client.aio.log_metrics(numbers)
                return answer

        return waited  # type: ignore[return-value]

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        params = _given(signature, arguments, options)
        with client.start_run(experiment, name=title, params=params, nested=active.get() is not None) as run:
            answer = function(*arguments, **options)
            if numbers := _numbers(answer):
                run.log_metrics(numbers)
            return answer

    return called  # type: ignore[return-value]


def _given(signature: Signature, arguments: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that are plain values, defaults included."""
    bound = signature.bind(*arguments, **options)
    bound.apply_defaults()
    return {key: value for key, value in bound.arguments.items() if isinstance(value, str | int | float | bool)}


def _numbers(answer: Any) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        return {}
    return {str(key): float(value) for key, value in answer.items() if isinstance(value, int | float) and not isinstance(value, bool)}
