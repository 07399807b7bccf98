"""The unary calls about VMs, intents and the server."""

import os
import signal
import socket
import time

from promises import elsewhere, promise
from world import code, facts, pb, qmp, reason, wait_until


def two_of_one_name(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:*.kvmd")
    world.start()
    qemus = [world.vm(), world.vm(directory=other)]
    wait_until("both have a run", lambda: sum(bool(vm.ref.run_id) for vm in world.call("ListVms").vms) == 2)
    return qemus, [vm.ref.run_id for vm in world.call("ListVms").vms]


@promise("GetVm", "", "NOT_FOUND")
@promise("GetVmRequest.vm_name")
@promise("ErrorReason.ERROR_REASON_NO_SUCH_VM")
def get_vm_by_name(world):
    world.follow()
    assert world.get("vm1").ref.name == "vm1"
    for name in ("vm2", "vm*", "VM1"):
        assert name in world.refused("NOT_FOUND NO_SUCH_VM", "GetVm", vm_name=name)
    world.refused("NOT_FOUND NO_SUCH_VM", "GetVm", vm_name="vm1", run_id="x")
    for run in ({}, {"run_id": "x"}):
        world.refused("NOT_FOUND NO_SUCH_VM", "DeclareIntent", vm_name="none", actor="a", reason="r", **run)
    assert "1025 bytes" in world.refused("INVALID_ARGUMENT", "GetVm", vm_name="x" * 1025)


@promise("GetVm", "FAILED_PRECONDITION")
@promise("GetVmRequest.run_id")
@promise("ErrorReason.ERROR_REASON_SEVERAL_VMS_RUN")
def get_vm_of_two(world):
    _, runs = two_of_one_name(world)
    world.refused("FAILED_PRECONDITION SEVERAL_VMS_RUN", "GetVm", vm_name="vm1")
    assert sorted(facts(world.call("GetVm", vm_name="vm1"))["run_ids"].split(",")) == sorted(runs)
    for run in runs:
        assert world.get("vm1", run_id=run).ref.run_id == run
    world.refused("INVALID_ARGUMENT", "GetVm", vm_name="vm1", run_id="x" * 1025)


@promise("GetVmRequest.uuid")
@promise("DeclareIntentRequest.vm_name")
@promise("DeclareIntentRequest.uuid")
def a_vm_by_its_uuid(world):
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    stream = world.begin()
    world.started_vm(stream, "a", uuid=uuid)
    world.started_vm(stream, "b")
    for given in (uuid, uuid.upper()):
        assert world.get("", uuid=given).ref.name == "a"
        assert world.get("a", uuid=given).ref.name == "a"
        world.refused("NOT_FOUND", "GetVm", vm_name="b", uuid=given)
        world.refused("NOT_FOUND", "DeclareIntent", vm_name="b", uuid=given, actor="a", reason="r")
    other = "0" + uuid[1:]
    for method, fields in (("GetVm", {}), ("DeclareIntent", {"actor": "a", "reason": "r"})):
        world.refused("NOT_FOUND", method, uuid=other, **fields)
        assert "uuid" in world.refused("INVALID_ARGUMENT", method, uuid="a", **fields)
        world.refused("INVALID_ARGUMENT", method, **fields)
    intent = world.declare("", uuid=uuid)
    assert world.get("a").intent.intent_id == intent.intent_id


@promise("GetVmResponse.vm")
def get_vm_prefers_what_runs(world):
    stream = world.begin()
    world.started_vm(stream).exit()
    first = stream.wait_event("STOPPED").vm.run_id
    assert world.get().ref.run_id == first
    second = world.started_vm(stream)
    run = stream.wait_event("STARTED", nth=2).vm.run_id
    assert world.get().ref.run_id == run
    second.exit()
    stream.wait_event("STOPPED", nth=2)
    assert world.get().ref.run_id == run


@promise("DeclareIntent")
@promise("DeclareIntentResponse.intent")
@promise("Intent.intent_id")
def declared_intents(world):
    stream = world.begin()
    ids = set()
    for name in ("a", "b", "c"):
        qemu = world.started_vm(stream, name)
        intent = world.declare(name, "an actor", "a reason")
        assert (intent.actor, intent.reason) == ("an actor", "a reason")
        ids.add(intent.intent_id)
        if name == "c":
            world.restart(signal.SIGKILL)
            stream = world.oldest()
            assert world.get(name).intent == intent
        qemu.kill()
        assert stream.wait_event("STOPPED", name).shutdown.intent == intent
    assert len(ids) == 3 and "" not in ids


@promise("DeclareIntent", "", "1", "3", "4")
def what_an_intent_decides(world):
    stream = world.begin()
    endings = {
        "poweroff": (qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}), None, "ADMIN"),
        "silent": ("", None, "ADMIN"),
        "killed": ("", 9, "ADMIN"),
        "panic": (qmp("GUEST_PANICKED", {"action": "poweroff"}), None, "CRASH"),
        "watchdog": (qmp("WATCHDOG", {"action": "poweroff"}), None, "CRASH"),
        "error": (qmp("SHUTDOWN", {"guest": False, "reason": "host-error"}), None, "CRASH"),
        "crash": ("", 11, "CRASH"),
    }
    for name, (messages, number, expected) in endings.items():
        qemu = world.started_vm(stream, name)
        world.declare(name)
        qemu.send(messages)
        qemu.exit() if number is None else qemu.kill(number)
        detail = stream.wait_event("STOPPED", name).shutdown
        assert pb.ShutdownClass.Name(detail.shutdown_class).endswith(expected), (name, detail)
        assert not detail.shutdown_file_written and not (world.monitors / f"{name}.shutdown").exists()


elsewhere("tests/watcher/session/vm_session_intent_test.cc:IntentStoryTest.ARebootIsNoEndThatWasSeen",
          "DeclareIntent", "2")


@promise("DeclareIntent", "4")
def an_intent_ends_with_its_run(world):
    stream, qemu = world.follow()
    intent = world.declare()
    qemu.exit()
    stream.wait_event("STOPPED")
    world.refused("NOT_FOUND", "WithdrawIntent", intent_id=intent.intent_id)


@promise("DeclareIntentRequest.request_id")
@promise("Intent.request_id")
@promise("ErrorReason.ERROR_REASON_REQUEST_ID_USED")
def a_retry_finds_its_own_intent(world):
    stream, qemu = world.follow()
    request = {"vm_name": "vm1", "actor": "a", "reason": "r", "request_id": "request-1"}
    first = world.call("DeclareIntent", **request)
    assert code(first) == "OK" and first.intent.request_id == "request-1", first
    assert world.get().intent == first.intent
    qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    stream.wait_event("GUEST_SHUTDOWN")
    again = world.call("DeclareIntent", **request)
    assert again.intent == first.intent, again
    other = {**request, "reason": "another"}
    world.refused("ALREADY_EXISTS REQUEST_ID_USED", "DeclareIntent", **other)
    assert facts(world.call("DeclareIntent", **other)) == {"intent_id": first.intent.intent_id, "vm_name": "vm1"}
    for wrong in ("x" * 257, "a\nb"):
        world.refused("INVALID_ARGUMENT", "DeclareIntent", **{**request, "request_id": wrong})
    assert stream.types().count("INTENT_DECLARED") == 1


@promise("DeclareIntent", "NOT_FOUND")
def an_intent_takes_a_running_vm(world):
    stream = world.begin()
    world.started_vm(stream).exit()
    stream.wait_event("STOPPED")
    world.started_vm(stream, "vm2")
    for name in ("vm1", "vm", "vm*"):
        world.refused("NOT_FOUND", "DeclareIntent", vm_name=name, actor="a", reason="r")


@promise("DeclareIntent", "FAILED_PRECONDITION")
@promise("DeclareIntentRequest.run_id")
@promise("ErrorReason.ERROR_REASON_END_IS_DECIDED")
def an_intent_of_two(world):
    _, runs = two_of_one_name(world)
    world.refused("FAILED_PRECONDITION SEVERAL_VMS_RUN", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    refused = world.call("DeclareIntent", vm_name="vm1", actor="a", reason="r")
    assert sorted(facts(refused)["run_ids"].split(",")) == sorted(runs)
    world.declare(run_id=runs[0])
    assert world.get(run_id=runs[0]).HasField("intent")
    assert not world.get(run_id=runs[1]).HasField("intent")
    stream = world.oldest()
    world.started_vm(stream, "down").send(
        qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    stream.wait_event("GUEST_SHUTDOWN", "down")
    world.refused("FAILED_PRECONDITION END_IS_DECIDED", "DeclareIntent", vm_name="down", actor="a", reason="r")
    late = world.call("DeclareIntent", vm_name="down", actor="a", reason="r")
    assert facts(late) == {"vm_name": "down"}
    assert not world.get(name="down").HasField("intent")


@promise("DeclareIntent", "FAILED_PRECONDITION")
@promise("DeclareIntentRequest.started_before")
@promise("ErrorReason.ERROR_REASON_RUN_IS_LATER")
def an_intent_of_an_earlier_run(world):
    stream, qemu = world.follow()
    request = {"vm_name": "vm1", "actor": "a", "reason": "r"}
    started = world.get().start_time
    earlier = {"seconds": started.seconds - 1}  # less would be within the kernel's ticks
    world.refused("FAILED_PRECONDITION RUN_IS_LATER", "DeclareIntent", **request, started_before=earlier)
    assert "INTENT_DECLARED" not in stream.types()
    world.refused("INVALID_ARGUMENT", "DeclareIntent", **request, started_before={"nanos": -1})
    assert world.declare(started_before={"seconds": started.seconds + 1}).intent_id
    qemu.exit()
    stream.wait_event("STOPPED")
    # The time is after its life: an intent for a run that lived then would be INTENT_LATE.
    world.refused("NOT_FOUND NO_SUCH_VM", "DeclareIntent", **request, started_before={"seconds": started.seconds + 3600})


@promise("DeclareIntent", "FAILED_PRECONDITION")
@promise("EventType.EVENT_TYPE_INTENT_LATE")
@promise("ErrorReason.ERROR_REASON_INTENT_IS_LATE")
def an_intent_that_comes_late_is_told_of(world):
    stream, qemu = world.follow()
    run = world.get().ref.run_id
    started = world.get().start_time.ToNanoseconds()
    wait_until("a time after its process's start, which is known in ticks", lambda: time.time_ns() > started + 2 * 10**7)
    now = time.time_ns()
    request = {"vm_name": "vm1", "actor": "alice", "reason": "reboot",
               "started_before": {"seconds": now // 10**9, "nanos": now % 10**9}}
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    world.refused("FAILED_PRECONDITION INTENT_IS_LATE", "DeclareIntent", **request)
    late = stream.wait_event("INTENT_LATE")
    assert (late.vm, late.intent.actor, late.intent.reason) == (stopped.vm, "alice", "reboot"), late
    assert late.sequence > stopped.sequence and not late.intent.HasField("expire_time"), late
    assert late.state == stopped.state, late
    vm = world.get(run_id=run)
    assert (vm.shutdown, vm.last_sequence) == (stopped.shutdown, stopped.sequence), vm  # it changes nothing
    after = time.time_ns() + 10**9
    request["started_before"] = {"seconds": after // 10**9, "nanos": 0}
    world.refused("NOT_FOUND NO_SUCH_VM", "DeclareIntent", **request)
    other = world.started_vm(stream, "down")
    other.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    down = stream.wait_event("GUEST_SHUTDOWN", "down")
    world.refused("FAILED_PRECONDITION END_IS_DECIDED", "DeclareIntent", vm_name="down", actor="bob", reason="r")
    late = stream.wait_event("INTENT_LATE", "down")
    assert (late.vm, late.state, late.intent.actor) == (down.vm, down.state, "bob"), late
    assert world.get("down").last_sequence == late.sequence


@promise("DeclareIntent", "5")
@promise("Intent.declared_by")
@promise("IntentEnd.INTENT_END_REPLACED")
def the_same_actor_replaces_its_intent(world):
    stream, _ = world.follow()
    first = world.declare(actor="a")
    second = world.declare(actor="a", reason="another")
    assert first.declared_by == second.declared_by == f"user {os.getuid()}", second
    ended = stream.wait_event("INTENT_ENDED")
    assert (ended.intent, ended.intent_end) == (first, pb.INTENT_END_REPLACED), ended
    assert stream.types()[-2:] == ["INTENT_ENDED", "INTENT_DECLARED"], stream.types()
    assert world.get().intent == second
    world.refused("NOT_FOUND", "WithdrawIntent", intent_id=first.intent_id)


@promise("DeclareIntent", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED")
@promise("ErrorReason.ERROR_REASON_INTENT_IS_OPEN")
@promise("ErrorReason.ERROR_REASON_TOO_MANY_INTENTS")
def one_intent_a_run(world):
    world.follow()
    intent = world.declare()
    again = {"vm_name": "vm1", "actor": "another", "reason": "r"}
    world.refused("ALREADY_EXISTS INTENT_IS_OPEN", "DeclareIntent", **again)
    assert facts(world.call("DeclareIntent", **again)) == {
        "intent_id": intent.intent_id, "actor": intent.actor, "vm_name": "vm1"}
    for _ in range(200):
        world.call("WithdrawIntent", intent_id=intent.intent_id)
        answer = world.call("DeclareIntent", **again)
        if code(answer) != "OK":
            break
        intent = answer.intent
    assert reason(answer) == "RESOURCE_EXHAUSTED TOO_MANY_INTENTS"


@promise("DeclareIntent", "PERMISSION_DENIED")
@promise("WithdrawIntent", "PERMISSION_DENIED")
@promise("ListStreams", "PERMISSION_DENIED")
@promise("VmEventService", "10")
@promise("ErrorReason.ERROR_REASON_NO_OPERATOR")
def roles(world):
    reader = world.path / "reader"
    world.start("--listen", f"unix:{world.socket}", "--listen", f"unix:{reader},role=reader")
    world.started_vm(world.oldest())
    intent = world.declare()
    operators = world.stub
    world.stub = type(operators)(world.connect(f"unix:{reader}"))
    world.refused("PERMISSION_DENIED NO_OPERATOR", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.refused("PERMISSION_DENIED NO_OPERATOR", "WithdrawIntent", intent_id=intent.intent_id)
    world.refused("PERMISSION_DENIED NO_OPERATOR", "ListStreams")
    for method, fields in (("ListVms", {}), ("ListEvents", {}), ("GetServerInfo", {}),
                           ("GetVm", {"vm_name": "vm1"})):
        assert code(world.call(method, **fields)) == "OK"
    world.oldest().wait_event("STARTED")


@promise("DeclareIntentRequest.actor")
@promise("DeclareIntentRequest.reason")
@promise("DeclareIntentRequest.ttl")
@promise("Intent.actor")
@promise("Intent.reason")
def the_bounds_of_an_intent(world):
    stream, _ = world.follow()
    for fields in ({"actor": ""}, {"actor": "a" * 257}, {"actor": "a\nb"}, {"reason": "r" * 1025},
                   {"reason": "a\rb"}, {"reason": "a\x7f"}, {"actor": "a\u0085"},
                   {"actor": "a\u009b"}, {"reason": "a\u2028"}, {"actor": "a\u2029"},
                   {"vm_name": "x" * 1025}, {"ttl": {"seconds": 24 * 3600 + 1}}, {"ttl": {"seconds": -1}}):
        request = {"vm_name": "vm1", "actor": "a", "reason": "r", **fields}
        message = world.refused("INVALID_ARGUMENT", "DeclareIntent", **request)
        assert next(iter(fields)) in message, (fields, message)
    before = time.time()
    intent = world.declare(actor="a" * 256, reason="r" * 1024)
    assert 599 <= intent.expire_time.ToNanoseconds() / 1e9 - before <= 600 + time.time() - before
    world.call("WithdrawIntent", intent_id=intent.intent_id)
    stream.wait_event("INTENT_ENDED")
    assert world.declare(ttl={"seconds": 24 * 3600}).intent_id


@promise("WithdrawIntent", "", "NOT_FOUND")
@promise("WithdrawIntentRequest.intent_id")
@promise("ErrorReason.ERROR_REASON_NO_SUCH_INTENT")
def withdrawal(world):
    stream, qemu = world.follow()
    intent = world.declare()
    assert code(world.call("WithdrawIntent", intent_id=intent.intent_id)) == "OK"
    for gone in (intent.intent_id, "00000000-0000-0000-0000-000000000000"):
        world.refused("NOT_FOUND NO_SUCH_INTENT", "WithdrawIntent", intent_id=gone)
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    assert stopped.shutdown.shutdown_class == pb.SHUTDOWN_CLASS_UNKNOWN


@promise("Intent.expire_time")
@promise("IntentEnd.INTENT_END_EXPIRED")
def expiry(world):
    stream, qemu = world.follow()
    intent = world.declare(ttl={"nanos": 1_000_000})
    ended = stream.wait_event("INTENT_ENDED")
    assert ended.observe_time.ToNanoseconds() >= intent.expire_time.ToNanoseconds()
    assert ended.intent_end == pb.INTENT_END_EXPIRED
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    assert stopped.shutdown.shutdown_class == pb.SHUTDOWN_CLASS_UNKNOWN


@promise("GetServerInfo")
@promise("GetServerInfoResponse.version")
@promise("GetServerInfoResponse.node")
@promise("GetServerInfoResponse.start_time")
@promise("GetServerInfoResponse.journal_writable")
@promise("GetServerInfoResponse.signal_senders")
@promise("SignalSenderWatch.active")
@promise("SignalSenderWatch.problem")
@promise("ProblemCode.PROBLEM_CODE_SWITCHED_OFF")
@promise("SignalSenderWatch.lost")
def signal_senders(world):
    world.start("--signal-senders", "off")
    senders = world.info().signal_senders
    assert not senders.active and senders.problem.code == pb.PROBLEM_CODE_SWITCHED_OFF, senders
    assert senders.problem.text == "--signal-senders is off", senders
    assert senders.lost == 0, senders
    world.stop()
    world.start("--signal-senders", "auto")
    senders = world.info().signal_senders
    assert senders.active != senders.HasField("problem"), senders


@promise("GetServerInfoResponse.host_shutdown")
@promise("HostShutdownWatch.active")
@promise("HostShutdownWatch.problem")
@promise("ProblemCode.PROBLEM_CODE_NO_SYSTEM_BUS")
def host_shutdown(world):
    world.start()
    host = world.info().host_shutdown
    assert host.active or host.problem.code == pb.PROBLEM_CODE_NO_SYSTEM_BUS, host
    assert host.active != host.HasField("problem") and not host.shutting_down, host


elsewhere("tests/watcher/node/node_watcher_test.cc:NodeWatcherTest.ItsDescriptionIncludesTheHostsShutdown",
          "HostShutdownWatch.shutting_down")


EXITS = "tests/watcher/node/node_watcher_exit_test.cc:NodeWatcherExitTest"
elsewhere(f"{EXITS}.ItsDescriptionNamesPidfdsAsTheSourceOfExitStatuses", "ExitStatusSource.EXIT_STATUS_SOURCE_PIDFD")
elsewhere(f"{EXITS}.ItsDescriptionNamesTheProcConnectorAsTheSourceOfExitStatuses",
          "ExitStatusSource.EXIT_STATUS_SOURCE_PROC_CONNECTOR")


@promise("GetServerInfoResponse.exit_status_source")
@promise("ExitStatusSource.EXIT_STATUS_SOURCE_NONE")
@promise("GetServerInfoResponse.directories")
@promise("WatchedDirectory.path")
@promise("WatchedDirectory.pattern")
@promise("WatchedDirectory.present")
@promise("WatchedDirectory.sockets")
def server_info(world):
    before = time.time_ns()
    missing = world.path / "missing"
    world.watches.append(f"{missing}:*.qmp")
    world.follow()
    (world.monitors / "no-socket.txt").touch()
    info = world.info()
    assert f"vmeventd {info.version} started" in world.log(), info
    assert info.node == socket.gethostname()
    assert before <= info.start_time.ToNanoseconds() <= time.time_ns()
    assert info.journal_writable and info.journal_id
    assert info.exit_status_source in range(pb.EXIT_STATUS_SOURCE_NONE, pb.EXIT_STATUS_SOURCE_PROC_CONNECTOR + 1)
    here, there = info.directories
    assert (here.path, here.pattern, here.present, here.sockets) == (
        str(world.monitors), "*.kvmd", True, 1), info
    assert (there.path, there.pattern, there.present) == (str(missing), "*.qmp", False), info
    missing.mkdir()
    wait_until("the directory is there", lambda: world.info().directories[1].present)


elsewhere("tests/watcher/node/node_watcher_directories_test.cc:HangingDirectoryTest.DoesNotDelayOthers",
          "WatchedDirectory.problem")


@promise("GetServerInfoResponse.node_id")
@promise("Progress.node_id")
def node_id(world):
    world.start()
    first = world.info().node_id
    assert len(first) == 36
    world.stop()
    for part in world.state.glob("journal.db*"):
        part.unlink()
    world.start()
    assert world.info().node_id == first
    stream = world.oldest()
    stream.wait("a Progress comes", lambda: stream.messages)
    assert stream.messages[0].progress.node_id == first


@promise("GetServerInfoResponse.unfollowed_sockets")
@promise("UnfollowedSocket")
@promise("UnfollowedSocket.path")
@promise("UnfollowedSocket.name")
@promise("UnfollowedSocket.problem")
@promise("Problem.code")
@promise("Problem.text")
@promise("ProblemCode.PROBLEM_CODE_REFUSED")
@promise("ProblemCode.PROBLEM_CODE_CANNOT_CONNECT")
@promise("UnfollowedSocket.since")
def sockets_without_a_vm(world):
    stream = world.begin()
    before = time.time_ns()
    paths = [world.monitors / f"{name}.kvmd" for name in ("b", "a", "left")]
    bound = []
    for path in paths:
        kind = socket.SOCK_STREAM if path.stem == "left" else socket.SOCK_DGRAM
        bound.append(socket.socket(socket.AF_UNIX, kind))
        bound[-1].bind(str(path))
    bound[-1].close()  # a QEMU that ended leaves such a file
    wait_until("all are listed", lambda: len(world.info().unfollowed_sockets) == 3)
    listed = world.info().unfollowed_sockets
    assert [one.path for one in listed] == sorted(str(path) for path in paths), listed
    assert [one.name for one in listed] == ["a", "b", "left"], listed
    for one in listed:
        code_of = pb.PROBLEM_CODE_REFUSED if one.name == "left" else pb.PROBLEM_CODE_CANNOT_CONNECT
        assert one.problem.code == code_of and one.problem.text, listed
        assert before <= one.since.ToNanoseconds() <= time.time_ns(), listed
    assert not world.call("ListVms").vms
    for path in paths:
        path.unlink()
    wait_until("none is listed", lambda: not world.info().unfollowed_sockets)
    world.started_vm(stream)
    assert {event.vm.name for event in stream.events} == {"vm1"}


for field in ("GetServerInfoResponse.libvirt_connections", "LibvirtConnection.uri", "LibvirtConnection.connected",
              "LibvirtConnection.problem", "LibvirtConnection.since", "LibvirtConnection.domains"):
    elsewhere("tests/server/daemon_grpc_test.cc:VmEventService.ListsTheConnectionsToLibvirt", field)


@promise("GetServerInfoResponse.listeners")
@promise("Listener")
@promise("Listener.address")
@promise("Listener.listening")
def listeners(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        world.start("--listen", f"unix:{world.socket}", "--listen", "127.0.0.1:0", "--listen", address)
        unix, chosen, refused = world.info().listeners
        assert (refused.address, refused.listening) == (address, False), refused
        assert world.health("listen") == "NOT_SERVING" and world.health("") == "SERVING"
    assert (unix.address, unix.listening) == (f"unix:{world.socket}", True), unix
    assert chosen.listening and not chosen.address.endswith(":0"), chosen
    with socket.create_connection(chosen.address.rsplit(":", 1)):
        pass
    wait_until("it listens", lambda: world.info().listeners[2].listening)
    assert world.health("listen") == "SERVING"


@promise("GetServerInfoResponse.oldest_sequence")
@promise("GetServerInfoResponse.newest_sequence")
@promise("GetServerInfoResponse.events")
@promise("GetServerInfoResponse.oldest_time")
@promise("GetServerInfoResponse.vms")
@promise("GetServerInfoResponse.streams")
def what_the_server_counts(world):
    world.start()
    assert world.info().newest_sequence == 0
    assert world.info().events == 0 and not world.info().HasField("oldest_time")
    assert world.info().streams == 0
    stream = world.oldest()
    world.started_vm(stream, "a").exit()
    stream.wait_event("STOPPED", "a")
    world.started_vm(stream, "b")
    info = world.info()
    assert (info.vms, info.streams, info.oldest_sequence, info.newest_sequence) == (1, 1, 1, 3), info
    wait_until("all are written", lambda: world.info().events == 3)
    assert world.info().oldest_time == world.events()[0].observe_time
    stream.close()
    wait_until("the stream is closed", lambda: world.info().streams == 0)


@promise("VmEventService", "INVALID_ARGUMENT")
def invalid_arguments(world):
    world.start()
    for method, fields, names in (
            ("ListEvents", {"page_size": -1}, ("page_size", "-1")),
            ("ListVms", {"page_token": "no token"}, ("page_token", "no token")),
            ("GetVm", {"vm_name": ""}, ("vm_name",)),
            ("DeclareIntent", {"vm_name": "vm1", "actor": "a\nb", "reason": "r"}, ("actor", "line")),
            ("WithdrawIntent", {"intent_id": ""}, ("intent_id",))):
        message = world.refused("INVALID_ARGUMENT", method, **fields)
        for name in names:
            assert name in message, (method, message)
    world.refused("INVALID_ARGUMENT", "GetVm", vm_name="x" * (1 << 20))
    world.refused("RESOURCE_EXHAUSTED", "GetVm", vm_name="x" * (5 << 20))  # gRPC's own limit


@promise("VmEventService", "INVALID_ARGUMENT")
def texts_are_utf8(world):
    world.start()
    for method, request in (("GetVm", b"\n\x01\xff"), ("ListEvents", b"\n\x03\n\x01\xc3")):
        answer = world.call_raw(method, request)
        assert code(answer) == "INVALID_ARGUMENT", answer
        assert "UTF-8" in answer.details(), answer.details()


@promise("VmEventService", "UNAVAILABLE")
def unavailable(world):
    world.start()
    world.stop()
    world.refused("UNAVAILABLE", "GetServerInfo")


@promise("VmEventService", "11", "12", "13")
def health(world):
    world.start()
    for service in ("", "vmeventd.v1.VmEventService", "journal", "sources"):
        assert world.health(service) == "SERVING", service
    world.monitors.rename(world.path / "elsewhere")
    wait_until("nothing can be found", lambda: world.health("sources") == "NOT_SERVING")
    assert world.health("") == "SERVING"
    assert world.health("no service") == "NOT_FOUND"


@promise("GetServerInfoResponse.capabilities")
def capabilities(world):
    world.start()
    assert not world.info().capabilities


@promise("VmEventService")
def a_reinstallation(world):
    world.start()
    journal_id = world.info().journal_id
    world.restart()
    assert world.info().journal_id == journal_id
    world.stop()
    for path in world.state.iterdir():
        path.unlink()
    world.start()
    assert world.info().journal_id != journal_id
