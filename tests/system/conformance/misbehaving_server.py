"""A vmeventd that does everything to its clients that the contract permits: streams by a script."""

import concurrent.futures
import os
import threading

import grpc
from vmeventd.v1 import vm_events_pb2 as pb
from vmeventd.v1 import vm_events_pb2_grpc as rpc

JOURNAL = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


# What a stream sends, step by step.

def progress(sequence, journal_id=JOURNAL, durable=None):
    message = pb.WatchEventsResponse()
    message.progress.sequence = sequence
    message.progress.durable_sequence = sequence if durable is None else durable
    message.progress.journal_id = journal_id
    return message


def event(sequence, durable=True, kind=pb.EVENT_TYPE_PAUSED, **fields):
    return pb.Event(sequence=sequence, durable=durable, type=kind, vm={"name": "vm1", "run_id": "run"},
                    **fields)


def lost(first, last, sequence=None):
    """The GAP that names events that were not durable."""
    return pb.Event(sequence=sequence or last, durable=True, type=pb.EVENT_TYPE_GAP,
                    missing={"first": first, "last": last})


def events(*sequences):
    """A message of events: numbers are durable ones."""
    return pb.WatchEventsResponse(
        events=[event(each) if isinstance(each, int) else each for each in sequences])


def vms(*names):
    return pb.WatchEventsResponse(snapshot_vms=[{"ref": {"name": each, "run_id": each}} for each in names])


def snapshot_done(sequence):
    return pb.WatchEventsResponse(snapshot_done={"sequence": sequence, "durable_sequence": sequence, "journal_id": JOURNAL})


class Fail:
    """Ends the stream with a status."""

    def __init__(self, code, details="a reason"):
        self.code, self.details = code, details


class Crash:
    """The connection breaks off, and the server is away for a moment."""


class Silence:
    """The server sends nothing more, and does not end the stream."""


class Server(rpc.VmEventServiceServicer):
    """Serves one stream after the other, by its script; after the last step a stream stays open. Any thread.
    `starts` has where each stream began: what the client asked for. `link`: a path that leads to its socket, for
    its clients; gRPC's server itself binds no path that is longer than a Unix address."""

    def __init__(self, path, streams, journal_writable=(), link=None):
        self._path = path
        self._link = link or path
        self.address = f"unix:{self._link}"
        self._lock = threading.Lock()
        self._streams = list(streams)
        self._journal_writable = list(journal_writable)  # the answers, one by one; then True
        self._closing = threading.Event()
        self.starts = []
        # Returns whether the client has shown an event. A connection that breaks off loses what the client has not
        # read.
        self.arrived = lambda sequence: True
        self._server = None
        self._number = 0
        self._start()

    def _start(self):
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4),
                                   options=[("grpc.so_reuseport", 0)])
        rpc.add_VmEventServiceServicer_to_server(self, self._server)
        # Of its own: a server that ends removes its socket, at some time.
        self._number += 1
        self._server.add_insecure_port(f"unix:{self._path}.{self._number}")
        self._server.start()
        os.symlink(f"{self._path}.{self._number}", f"{self._link}.new")
        os.replace(f"{self._link}.new", self._link)

    def script(self, streams):
        """What the next streams do."""
        with self._lock:
            self._streams = list(streams)

    def _restart(self):
        self._server.stop(0).wait()
        with self._lock:
            if not self._closing.is_set():
                self._start()

    def close(self):
        with self._lock:
            self._closing.set()
            self._server.stop(0)

    def WatchEvents(self, request, context):  # pylint: disable=invalid-name
        start = request.WhichOneof("start")
        if start == "after_sequence":
            start = (request.journal_id, request.after_sequence)
        with self._lock:
            self.starts.append("snapshot with the stopped" if request.snapshot_stopped else start)
            steps = self._streams.pop(0) if self._streams else []
        last = 0
        for step in steps:
            if isinstance(step, Fail):
                context.abort(step.code, step.details)
            elif isinstance(step, Crash):
                while last and not self.arrived(last) and not self._closing.wait(0.01):
                    pass
                threading.Thread(target=self._restart).start()
                break
            elif isinstance(step, Silence):
                break
            else:
                last = max([last, *(event.sequence for event in step.events)])
                yield step
        ended = threading.Event()
        if context.add_callback(ended.set):  # else it has ended already
            ended.wait()

    def GetServerInfo(self, _request, context):  # pylint: disable=invalid-name
        with self._lock:
            answer = self._journal_writable.pop(0) if self._journal_writable else True
        if isinstance(answer, Fail):
            context.abort(answer.code, answer.details)
        return pb.GetServerInfoResponse(journal_id=JOURNAL, journal_writable=answer)
