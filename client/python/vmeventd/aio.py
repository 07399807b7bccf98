"""follow() for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import AsyncGenerator, Optional, Union

from . import _sync
from ._connection import Server
from ._rules import Item, Position, Start
from .v1 import vm_events_pb2 as pb


def follow(server: Union[str, Server], *, position: Optional[Position] = None, start: Start = "snapshot",
           filter: Optional[pb.EventFilter] = None,  # pylint: disable=redefined-builtin
           provisional: bool = False, progress_interval: float = 5.0) -> AsyncGenerator[Item, None]:
    """Like vmeventd.follow(): `async for item in aio.follow(...)`. It ends with its task, or by aclose()."""
    return _items(_sync.follow(server, position=position, start=start, filter=filter, provisional=provisional,
                               progress_interval=progress_interval))


async def _items(follower: _sync.Follower) -> AsyncGenerator[Item, None]:
    """The messages; a thread of its own waits for them."""
    run = asyncio.get_running_loop().run_in_executor
    thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    try:
        while (batch := await run(thread, next, follower.batches(), None)) is not None:
            for item in batch:
                yield item
    finally:
        follower.close()  # also ends a wait of the thread
        thread.submit(follower.batches().close)  # then the call and its channel, which wait at an item
        thread.shutdown(wait=False)
