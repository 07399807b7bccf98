"""A vmeventd with the VMs and events that it is given: more of them, and older ones, than a test can make."""

import concurrent.futures
import threading
import time

import grpc

from world import pb
from world import vm_events_pb2_grpc as rpc

JOURNAL = "11111111-1111-4111-8111-111111111111"


def vm(name, state="RUNNING", age=0.0, labels=None, problems=(), end=None, intent=None):
    """A VM that has been in its state for `age` seconds; its run's sequence is 0."""
    made = pb.Vm(ref={"name": name, "run_id": "run of " + name, "pid": 4711, "source": "libvirt:qemu:///system",
                      "labels": labels or {}},
                 state=pb.VmState.Value("VM_STATE_" + state), problems=problems, shutdown=end, intent=intent)
    made.state_time.FromNanoseconds(int((time.time() - age) * 1e9))
    made.start_time.FromNanoseconds(int((time.time() - age - 86400) * 1e9))
    return made


class FakeDaemon(rpc.VmEventServiceServicer):
    """Serves at unix:PATH until it is closed. `vms` and `events`, the oldest first, may grow by add(). Any thread."""

    def __init__(self, path, vms=(), events=()):
        self.address = f"unix:{path}"
        self._changed = threading.Condition()
        self._closed = False
        self.list_seconds = 0  # how long ListVms takes
        self.vms = list(vms)
        self.events = []
        for each in events:
            self.add(each)
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
        rpc.add_VmEventServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def add(self, event):
        with self._changed:
            event.sequence, event.durable = len(self.events) + 1, True
            self.events.append(event)
            self._changed.notify_all()

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.stop(None).wait()

    # pylint: disable=invalid-name
    def GetServerInfo(self, request, context):
        return pb.GetServerInfoResponse(node="node7", node_id="node7", journal_id=JOURNAL, oldest_sequence=1,
                                        newest_sequence=len(self.events), journal_writable=True)

    def ListVms(self, request, context):
        time.sleep(self.list_seconds)
        wanted = [each for each in self.vms if not request.vm_names or each.ref.name in request.vm_names]
        begin = int(request.page_token or 0)
        end = begin + request.page_size
        return pb.ListVmsResponse(vms=wanted[begin:end], next_page_token=str(end) if end < len(wanted) else "",
                                  sequence=len(self.events), journal_id=JOURNAL)

    def ListEvents(self, request, context):
        since = request.start_time.ToNanoseconds()
        wanted = [each for each in self.events
                  if (not request.filter.vm_names or each.vm.name in request.filter.vm_names)
                  and (not request.filter.types or each.type in request.filter.types)
                  and each.observe_time.ToNanoseconds() >= since]
        if request.newest_first:
            wanted.reverse()
        return pb.ListEventsResponse(events=wanted[:request.page_size])

    def WatchEvents(self, request, context):
        sent = request.after_sequence if request.HasField("after_sequence") else len(self.events)
        context.add_callback(self._wake)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self.events) > sent or self._closed or not context.is_active(), 5)
                if self._closed or not context.is_active():
                    return
                fresh = self.events[sent:]
            sent += len(fresh)
            yield pb.WatchEventsResponse(events=fresh, progress={"sequence": sent, "durable_sequence": sent,
                                                                 "journal_id": JOURNAL})

    def _wake(self):
        with self._changed:
            self._changed.notify_all()
