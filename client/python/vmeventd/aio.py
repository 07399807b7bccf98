"""follow() for asyncio."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, AsyncGenerator, AsyncIterator, Awaitable, List, Optional, Union

import grpc
import grpc.aio

from ._connection import Server
from ._rules import CALL_TIMEOUT, Item, Position, Rules, Start
from .v1 import vm_events_pb2 as pb
from .v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("vmeventd")


class _Cancelled(Exception):
    """The server ended a call as cancelled. grpc.aio raises asyncio's CancelledError for that, as if this
    task were cancelled."""


async def _answer(call: Awaitable[Any], timeout: float) -> Any:
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=timeout)
        if not task.done():
            raise asyncio.TimeoutError
    finally:
        task.cancel()
    if task.cancelled():
        raise _Cancelled
    return task.result()


def follow(server: Union[str, Server], *, position: Optional[Position] = None, start: Start = "snapshot",
           filter: Optional[pb.EventFilter] = None,  # pylint: disable=redefined-builtin
           provisional: bool = False, progress_interval: float = 5.0) -> Follower:
    """As vmeventd.follow(): `async for item in aio.follow(...)`. It ends with its task, or by aclose()."""
    return Follower(Server.of(server), Rules(filter, position, start, provisional, progress_interval))


class Follower:
    """The iterator of follow(), for one task."""

    def __init__(self, server: Server, rules: Rules):
        self._batches = _run(server, rules)

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for batch in self._batches:
            for item in batch:
                yield item

    def batches(self) -> AsyncIterator[List[Item]]:
        """The same by messages of at most 256 KiB, for one transaction each: store the last position."""
        return self._batches

    async def aclose(self) -> None:
        """Ends the call."""
        await self._batches.aclose()


async def _run(server: Server, rules: Rules) -> AsyncGenerator[List[Item], None]:
    while True:
        request, items = rules.begin()
        if items:
            yield items
        why = "the server ended the stream"
        try:
            async with server.aio_channel() as channel:
                async for items in _stream(rpc.VmEventServiceStub(channel), request, rules):
                    yield items
        except _Cancelled:
            why = "CANCELLED"
        except asyncio.TimeoutError:
            why = f"nothing came for {rules.silence_limit:g} s"
        except OSError as error:  # a certificate that is being replaced
            why = str(error)
        except grpc.RpcError as error:
            why = f"{error.code().name}: {error.details()}"
            items = rules.ended(error.code(), error.details() or "")
            if items:
                yield items
        pause = rules.pause()
        LOG.warning("%s; retrying in %.1f s", why, pause)
        await asyncio.sleep(pause)


async def _stream(stub: rpc.VmEventServiceStub, request: pb.WatchEventsRequest,
                  rules: Rules) -> AsyncIterator[List[Item]]:
    call = stub.WatchEvents(request)
    try:
        while True:
            # A dead connection may not report its end: a node without power, a firewall.
            response = await _answer(call.read(), rules.silence_limit)
            if response is grpc.aio.EOF:
                return
            items = rules.take(response)
            if items:
                yield items
    finally:
        call.cancel()
