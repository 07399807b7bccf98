"""follow() for threads."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any, Generator, Iterator, List, Optional, Type, Union

import grpc

from ._connection import Server
from ._rules import Item, Position, Rules, Start
from .v1 import vm_events_pb2 as pb
from .v1 import vm_events_pb2_grpc as rpc

LOG = logging.getLogger("vmeventd")


def follow(server: Union[str, Server], *, position: Optional[Position] = None, start: Start = "snapshot",
           filter: Optional[pb.EventFilter] = None,  # pylint: disable=redefined-builtin
           provisional: bool = False, progress_interval: float = 5.0) -> Follower:
    """Follows a node's events without end: iterate over the result.

    position: that of an earlier item; without one, it begins at `start`: "snapshot" (the VMs as they are,
    then events), "oldest" (the oldest retained event), "now", or a datetime.
    filter: which events.
    provisional: whether to deliver events that are not durable at once, which a Rewind may take back.
    False: they come as soon as they are durable, and all events in their order.
    progress_interval: seconds between messages of an idle node, at least 1. A stream that is silent for
    three of them is lost.

    The iterator raises Refused if the server refuses the request; it retries everything else and reports
    it to the logger "vmeventd".
    """
    return Follower(Server.of(server), Rules(filter, position, start, provisional, progress_interval))


class Follower:
    """The iterator of follow(). One thread iterates over it, or over its batches(); close() may be called
    by any."""

    def __init__(self, server: Server, rules: Rules):
        self._server = server
        self._rules = rules
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._call: Any = None  # the open stream
        self._waits_since: Optional[float] = None  # for its next message
        self._silent = False  # it was cancelled because none came
        self._batches = self._run()

    def __iter__(self) -> Iterator[Item]:
        for batch in self._batches:
            yield from batch

    def batches(self) -> Generator[List[Item], None, None]:
        """The same by messages of at most 256 KiB, for one transaction each: store the last position."""
        return self._batches

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 traceback: Optional[TracebackType]) -> None:
        self.close()
        self._batches.close()

    def close(self) -> None:
        """Ends the iteration, even one that waits in another thread."""
        self._closed.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()

    def _run(self) -> Generator[List[Item], None, None]:
        while not self._closed.is_set():
            request, items = self._rules.begin()
            if items:
                yield items
            why = "the server ended the stream"
            try:
                with self._server.channel() as channel:
                    yield from self._stream(rpc.VmEventServiceStub(channel), request)
            except OSError as error:  # a certificate that is being replaced
                why = str(error)
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                why = f"{error.code().name}: {error.details()}"
                if self._silent:
                    why = f"nothing came for {self._rules.silence_limit:g} s"
                items = self._rules.ended(error.code(), error.details() or "", error.trailing_metadata())
                if items:
                    yield items
            pause = self._rules.pause()
            LOG.warning("%s; retrying in %.1f s", why, pause)
            self._closed.wait(pause)

    def _stream(self, stub: rpc.VmEventServiceStub, request: pb.WatchEventsRequest) -> Iterator[List[Item]]:
        call = stub.WatchEvents(request)
        self._silent = False
        with self._lock:
            self._call = call
            if self._closed.is_set():
                call.cancel()
        done = threading.Event()
        threading.Thread(target=self._cancel_if_silent, args=(call, done), daemon=True).start()
        try:
            while True:
                self._waits_since = time.monotonic()
                try:
                    response = next(call, None)
                finally:
                    self._waits_since = None  # the time of the caller's own work does not count as silence
                if response is None:
                    return
                items = self._rules.take(response)
                if items:
                    yield items
        finally:
            done.set()
            with self._lock:
                self._call = None
            call.cancel()

    def _cancel_if_silent(self, call: Any, done: threading.Event) -> None:
        # A dead connection may not report its end: a node without power, a firewall.
        while not done.wait(self._rules.silence_limit / 10):
            since = self._waits_since
            if since is not None and time.monotonic() - since > self._rules.silence_limit:
                self._silent = True
                call.cancel()
                return
