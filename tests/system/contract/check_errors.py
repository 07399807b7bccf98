"""Why a call fails, for programs: the details of a status."""

import grpc
from google.protobuf import duration_pb2

from check_calls import two_of_one_name
from promises import elsewhere, promise
from world import code, pb, qmp, status_pb2, wait_until

elsewhere("tests/server/rpc/incoming_call_grpc_test.cc:IncomingCall.EveryMethodCountsForItsPeer",
          "ErrorReason.ERROR_REASON_TOO_MANY_CALLS")
elsewhere("tests/server/stream/watch_events_grpc_test.cc:WatchEvents.RefusesFiltersThatTakeTooMuchMemory",
          "ErrorReason.ERROR_REASON_TOO_MUCH_UNREAD")


def details(error):
    """The messages in the details of a status, by their names."""
    assert isinstance(error, grpc.RpcError), error
    found = {}
    for key, value in error.trailing_metadata():
        if key != "grpc-status-details-bin":
            continue
        status = status_pb2.Status.FromString(value)
        assert (status.code, status.message) == (error.code().value[0], error.details()), status
        for detail in status.details:
            kind = detail.type_url.removeprefix("type.googleapis.com/google.rpc.")
            found[kind] = getattr(status_pb2, kind).FromString(detail.value)
    return found


def reason(error):
    """The status and the ErrorReason of a call that failed."""
    info = details(error)["ErrorInfo"]
    assert info.domain == "vmeventd"
    pb.ErrorReason.Value("ERROR_REASON_" + info.reason)
    return f"{code(error)} {info.reason}"


@promise("VmEventService")
@promise("ErrorReason.ERROR_REASON_LISTS_TOO_OFTEN")
def too_often(world):
    world.start(tuning=["list-rate=1"])
    answers = [world.call(method) for method in ("ListVms", "ListEvents") for _ in range(10)]
    refused = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert {reason(error) for error in refused} == {"RESOURCE_EXHAUSTED LISTS_TOO_OFTEN"}
    delay = details(refused[-1])["RetryInfo"].retry_delay
    assert duration_pb2.Duration() != delay and delay.ToSeconds() <= 20, delay


@promise("ErrorReason.ERROR_REASON_NO_SUCH_VM")
@promise("ErrorReason.ERROR_REASON_NO_SUCH_INTENT")
@promise("ErrorReason.ERROR_REASON_NO_SUCH_STREAM")
def nothing_of_that_name(world):
    world.start()
    for method, fields, expected in (
            ("GetVm", {"name": "none"}, "NO_SUCH_VM"),
            ("GetVm", {"name": "none", "run_id": "x"}, "NO_SUCH_VM"),
            ("DeclareIntent", {"vm_name": "none", "actor": "a", "reason": "r"}, "NO_SUCH_VM"),
            ("DeclareIntent", {"vm_name": "none", "run_id": "x", "actor": "a", "reason": "r"}, "NO_SUCH_VM"),
            ("WithdrawIntent", {"intent_id": "none"}, "NO_SUCH_INTENT"),
            ("RequestProgress", {"stream_id": "0123456789abcdef"}, "NO_SUCH_STREAM")):
        assert reason(world.call(method, **fields)) == "NOT_FOUND " + expected, method


@promise("ErrorReason.ERROR_REASON_SEVERAL_VMS_RUN")
def two_vms(world):
    two_of_one_name(world)
    for method, fields in (("GetVm", {"name": "vm1"}),
                           ("DeclareIntent", {"vm_name": "vm1", "actor": "a", "reason": "r"})):
        assert reason(world.call(method, **fields)) == "FAILED_PRECONDITION SEVERAL_VMS_RUN", method


@promise("ErrorReason.ERROR_REASON_END_IS_DECIDED")
@promise("ErrorReason.ERROR_REASON_INTENT_IS_OPEN")
@promise("ErrorReason.ERROR_REASON_TOO_MANY_INTENTS")
def intents(world):
    stream, qemu = world.follow()
    intent = world.declare()
    again = {"vm_name": "vm1", "actor": "another", "reason": "r"}
    assert reason(world.call("DeclareIntent", **again)) == "ALREADY_EXISTS INTENT_IS_OPEN"
    for _ in range(200):
        world.call("WithdrawIntent", intent_id=intent.intent_id)
        answer = world.call("DeclareIntent", **again)
        if isinstance(answer, grpc.RpcError):
            break
        intent = answer.intent
    assert reason(answer) == "RESOURCE_EXHAUSTED TOO_MANY_INTENTS"
    qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}))
    stream.wait_event("GUEST_SHUTDOWN")
    assert reason(world.call("DeclareIntent", **again)) == "FAILED_PRECONDITION END_IS_DECIDED"


@promise("ErrorReason.ERROR_REASON_NO_OPERATOR")
def readers(world):
    world.start("--listen", f"unix:{world.socket},role=reader")
    for method, fields in (("DeclareIntent", {"vm_name": "vm1", "actor": "a", "reason": "r"}),
                           ("WithdrawIntent", {"intent_id": "x"})):
        assert reason(world.call(method, **fields)) == "PERMISSION_DENIED NO_OPERATOR", method


@promise("ErrorReason.ERROR_REASON_RETENTION_PASSED")
@promise("ErrorReason.ERROR_REASON_BEYOND_NEWEST")
@promise("ErrorReason.ERROR_REASON_JOURNAL_REPLACED")
@promise("ErrorReason.ERROR_REASON_SHUTTING_DOWN")
@promise("ErrorReason.ERROR_REASON_TOO_MANY_STREAMS")
def ends_of_streams(world):
    stream = world.begin("--max-streams", "2", "--retention-events", "4")  # one stream of a peer
    journal = world.info().journal_id

    def end(**fields):
        failed = world.watch(**fields)
        failed.wait_end()
        return reason(failed.error)
    assert end() == "RESOURCE_EXHAUSTED TOO_MANY_STREAMS"
    for number in range(8):
        world.started_vm(stream, f"vm{number}")
    token = world.call("ListEvents", page_size=1).next_page_token
    wait_until("retention has deleted something", lambda: world.info().oldest_sequence > 2)
    world.stop()
    stream.wait_end()
    assert reason(stream.error) == "UNAVAILABLE SHUTTING_DOWN"
    world.start()
    newest = world.info().newest_sequence
    assert end(after_sequence=1, journal_id=journal) == "OUT_OF_RANGE RETENTION_PASSED"
    assert end(after_sequence=newest + 1, journal_id=journal) == "OUT_OF_RANGE BEYOND_NEWEST"
    assert end(after_sequence=1, journal_id="0" * 36) == "OUT_OF_RANGE JOURNAL_REPLACED"
    world.stop()
    for path in world.state.glob("journal.db*"):
        path.unlink()
    world.start()
    assert reason(world.call("ListEvents", page_size=1, page_token=token)) == "OUT_OF_RANGE JOURNAL_REPLACED"


@promise("ErrorReason.ERROR_REASON_JOURNAL_UNAVAILABLE")
def a_disk_that_hangs(world):
    world.hanging_disk()
    world.start()
    stream = world.oldest()
    qemu = world.started_vm(stream)
    world.hang_disk()
    qemu.send(qmp("STOP"))
    stream.wait_event("PAUSED")
    assert reason(world.call("DeclareIntent", vm_name="vm1", actor="a", reason="r")) == (
        "UNAVAILABLE JOURNAL_UNAVAILABLE")
