"""One event that many wait for, again and again."""

from __future__ import annotations

import asyncio


class Bell:
    """Whoever waits when it rings goes on; whoever comes later waits for the next time. For one event loop."""

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None

    def ring(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self, seconds: float) -> None:
        """Until it rings, or for `seconds`."""
        if self._event is None:
            self._event = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
