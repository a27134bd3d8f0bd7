"""The end of a server that tests have made with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Collection


async def end_all(
    sessions: Collection[asyncio.Task[None]], writers: Collection[asyncio.StreamWriter]
) -> None:
    """End the sessions of a server that has stopped to listen, and cut their connections.

    What was accepted just now is a task of the loop alone, and joins both collections in a moment.
    """
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for session in list(sessions):
            session.cancel()
        await asyncio.wait(others, timeout=0.01)
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*[writer.wait_closed() for writer in writers], return_exceptions=True)
