"""The unary calls about VMs, intents and the server."""

import socket
import time

from promises import elsewhere, headline, promise
from world import code, pb, qmp, wait_until

headline("RequestProgressRequest", "Which stream to ask.")
headline("GetVm", "Shows one VM.")
headline("GetVmRequest", "Which VM to show.")
headline("GetVmResponse", "The VM.")
headline("DeclareIntentRequest", "Who is about to stop which VM, and why.")
headline("DeclareIntentResponse", "The declared intent.")
headline("WithdrawIntentRequest", "Which intent to withdraw.")
headline("WithdrawIntentResponse", "The intent is withdrawn.")
headline("GetServerInfoRequest", "The request has no parameters.")
headline("GetServerInfoResponse", "The present state of the daemon.")
headline("WatchedDirectory", "A directory of QMP sockets.")
headline("LibvirtConnection", "A connection to libvirt, whose domains are followed as VMs.")
headline("Intent", "What somebody is about to do to a VM.")


def two_of_one_name(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:*.kvmd")
    world.start()
    qemus = [world.vm(), world.vm(directory=other)]
    wait_until("both have a run", lambda: sum(bool(vm.ref.run_id) for vm in world.call("ListVms").vms) == 2)
    return qemus, [vm.ref.run_id for vm in world.call("ListVms").vms]


@promise("GetVm", "NOT_FOUND: no VM of that name is known.")
@promise("GetVmRequest.name",
         "exact, not a pattern; at most 1 KiB; may be left out where uuid is set")
def get_vm_by_name(world):
    world.follow()
    assert world.get("vm1").ref.name == "vm1"
    for name in ("vm2", "vm*", "VM1"):
        assert name in world.refused("NOT_FOUND", "GetVm", name=name)
    assert "1025 bytes" in world.refused("INVALID_ARGUMENT", "GetVm", name="x" * 1025)


@promise("GetVm", "FAILED_PRECONDITION: more than one runs under that name (in two watched "
                  "directories); the message lists their run ids.")
@promise("GetVmRequest.run_id", "optional: which run, if more than one has the name; at most 1 "
                                "KiB")
def get_vm_of_two(world):
    _, runs = two_of_one_name(world)
    message = world.refused("FAILED_PRECONDITION", "GetVm", name="vm1")
    for run in runs:
        assert run in message, message
        assert world.get("vm1", run_id=run).ref.run_id == run
    world.refused("INVALID_ARGUMENT", "GetVm", name="vm1", run_id="x" * 1025)


@promise("GetVmRequest.uuid", "as in EventFilter; with a name, both must be the VM's")
@promise("DeclareIntentRequest.vm_name", "exact, not a pattern; at most 1 KiB; or uuid")
@promise("DeclareIntentRequest.uuid", "instead of vm_name, or besides it, as in GetVmRequest")
def a_vm_by_its_uuid(world):
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    stream = world.begin()
    world.started_vm(stream, "a", uuid=uuid)
    world.started_vm(stream, "b")
    for given in (uuid, uuid.upper()):
        assert world.get("", uuid=given).ref.name == "a"
        assert world.get("a", uuid=given).ref.name == "a"
        world.refused("NOT_FOUND", "GetVm", name="b", uuid=given)
        world.refused("NOT_FOUND", "DeclareIntent", vm_name="b", uuid=given, actor="a", reason="r")
    other = "0" + uuid[1:]
    for method, fields in (("GetVm", {}), ("DeclareIntent", {"actor": "a", "reason": "r"})):
        world.refused("NOT_FOUND", method, uuid=other, **fields)
        assert "uuid" in world.refused("INVALID_ARGUMENT", method, uuid="a", **fields)
        world.refused("INVALID_ARGUMENT", method, **fields)
    intent = world.declare("", uuid=uuid)
    assert world.get("a").intent.intent_id == intent.intent_id


@promise("GetVmResponse.vm", "the live run of that name or UUID, else the one that stopped last")
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


@promise("DeclareIntent",
         "Declares who is about to stop a VM and why, so that the class of the stop is not a "
         "guess.")
@promise("DeclareIntentResponse.intent", "with its id")
@promise("Intent.intent_id", "unique forever")
def declared_intents(world):
    stream = world.begin()
    ids = set()
    for name in ("a", "b", "c"):
        qemu = world.started_vm(stream, name)
        intent = world.declare(name, "an actor", "a reason")
        assert (intent.actor, intent.reason) == ("an actor", "a reason")
        ids.add(intent.intent_id)
        qemu.kill()
        assert stream.wait_event("STOPPED", name).shutdown.intent == intent
    assert len(ids) == 3 and "" not in ids


@promise("DeclareIntent",
         "The stop that follows has the class ADMIN, however it happens, with these exceptions:",
         "CRASH a guest's panic, an expired watchdog, a host error on which QEMU gave up, a "
         "crash of QEMU, and a kill because memory ran out stay CRASH;",
         "The cause always follows from the evidence, with or without an intent.",
         "An intent counts if it is open when the daemon sees what decides the end: the "
         "SHUTDOWN, the panic, the watchdog, the migration, or else the end of the process.")
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
    for name, (said, number, expected) in endings.items():
        qemu = world.started_vm(stream, name)
        world.declare(name)
        qemu.send(said)
        qemu.exit() if number is None else qemu.kill(number)
        detail = stream.wait_event("STOPPED", name).shutdown
        assert pb.ShutdownClass.Name(getattr(detail, "class")).endswith(expected), (name, detail)


elsewhere("tests/watcher/session/vm_session_intent_test.cc:VmSessionIntentTest.ARebootIsNoEndThatWasSeen",
          "DeclareIntent", "UNKNOWN an end with the host's reboot stays UNKNOWN: nobody saw it;")
elsewhere("tests/watcher/session/vm_session_intent_test.cc:"
          "VmSessionIntentTest.AFileThatWasWrittenSaysThatTheShutdownCameFirst",
          "DeclareIntent",
          "USER an end that only the shutdown file shows (rule shutdown-file-found) stays USER: "
          "the file was written because no intent counted. docs/internals/classification.md lists the "
          "class under an intent for every rule.")
elsewhere("tests/watcher/session/vm_session_intent_test.cc:"
          "VmSessionIntentTest.ExpiredOrWithdrawnAfterTheShutdownItHasCounted",
          "DeclareIntent", "If it expires or is withdrawn later, it still counts.")


elsewhere("tests/watcher/session/vm_session_intent_test.cc:VmSessionIntentTest.SoManyAreDeclaredForARunAndNoMore",
          "DeclareIntent",
          "RESOURCE_EXHAUSTED: too many intents were declared, for this run (100 at once, then one each 2 s) "
          "or on the node (10,000 at once, then 5 a second).")


@promise("DeclareIntent", "It ends with its run.")
def an_intent_ends_with_its_run(world):
    stream, qemu = world.follow()
    intent = world.declare()
    qemu.exit()
    stream.wait_event("STOPPED")
    world.refused("NOT_FOUND", "WithdrawIntent", intent_id=intent.intent_id)


@promise("DeclareIntentRequest.request_id",
         "Optional, at most 256 bytes of one line: identifies this declaration, so that a retry "
         "after a lost answer finds its own intent.",
         "While the run's intent with that request_id is open, or has counted for an end in "
         "progress, the answer is that intent as it was declared, and nothing changes.",
         "The same request_id with another actor or reason gets ALREADY_EXISTS.")
def a_retry_finds_its_own_intent(world):
    stream, qemu = world.follow()
    request = {"vm_name": "vm1", "actor": "a", "reason": "r", "request_id": "request-1"}
    first = world.call("DeclareIntent", **request)
    assert code(first) == "OK"
    qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    stream.wait_event("GUEST_SHUTDOWN")
    again = world.call("DeclareIntent", **request)
    assert again.intent == first.intent, again
    world.refused("ALREADY_EXISTS", "DeclareIntent", **{**request, "reason": "another"})
    for wrong in ("x" * 257, "a\nb"):
        world.refused("INVALID_ARGUMENT", "DeclareIntent", **{**request, "request_id": wrong})
    assert stream.types().count("INTENT_DECLARED") == 1


@promise("DeclareIntent", "NOT_FOUND: no running VM has that name.")
def an_intent_takes_a_running_vm(world):
    stream = world.begin()
    world.started_vm(stream).exit()
    stream.wait_event("STOPPED")
    world.started_vm(stream, "vm2")
    for name in ("vm1", "vm", "vm*"):
        world.refused("NOT_FOUND", "DeclareIntent", vm_name=name, actor="a", reason="r")


@promise("DeclareIntent",
         "FAILED_PRECONDITION: more than one runs under that name; or the daemon has already "
         "seen what decides the end of the run (a SHUTDOWN, a panic, ...), so that the intent "
         "would not count: it is not declared.")
@promise("DeclareIntentRequest.run_id", "optional, as in GetVmRequest")
def an_intent_of_two(world):
    _, runs = two_of_one_name(world)
    world.refused("FAILED_PRECONDITION", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.declare(run_id=runs[0])
    assert world.get(run_id=runs[0]).HasField("intent")
    assert not world.get(run_id=runs[1]).HasField("intent")
    stream = world.oldest()
    world.started_vm(stream, "down").send(
        qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    stream.wait_event("GUEST_SHUTDOWN", "down")
    world.refused("FAILED_PRECONDITION", "DeclareIntent", vm_name="down", actor="a", reason="r")
    assert not world.get(name="down").HasField("intent")


@promise("DeclareIntent", "ALREADY_EXISTS: the run has an open intent with another request_id; "
                          "the message names the intent.")
def one_intent_a_run(world):
    world.follow()
    intent = world.declare()
    message = world.refused("ALREADY_EXISTS", "DeclareIntent", vm_name="vm1", actor="b", reason="r")
    assert intent.intent_id in message, message


@promise("DeclareIntent", "PERMISSION_DENIED: the peer may only read.")
@promise("WithdrawIntent", "PERMISSION_DENIED: the peer may only read.")
@promise("VmEventService",
         "Roles: readers and operators may call every method that only reads; only operators may "
         "call DeclareIntent and WithdrawIntent, and others get PERMISSION_DENIED.",
         "The role comes with the listener or, over TLS, with the client's certificate.")
def roles(world):
    reader = world.path / "reader"
    world.start("--listen", f"unix:{world.socket},role=operator", "--listen",
                f"unix:{reader},role=reader")
    world.started_vm(world.oldest())
    intent = world.declare()
    operators = world.stub
    world.stub = type(operators)(world.connect(f"unix:{reader}"))
    world.refused("PERMISSION_DENIED", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.refused("PERMISSION_DENIED", "WithdrawIntent", intent_id=intent.intent_id)
    for method, fields in (("ListVms", {}), ("ListEvents", {}), ("GetServerInfo", {}),
                           ("GetVm", {"name": "vm1"})):
        assert code(world.call(method, **fields)) == "OK"
    world.oldest().wait_event("STARTED")


@promise("DeclareIntentRequest.actor",
         "A person or a system, at most 256 bytes of one line: without control characters (C0, DEL, "
         "C1) and the line separators U+2028 and U+2029.")
@promise("DeclareIntentRequest.reason", "at most 1024 bytes of one line, likewise")
@promise("DeclareIntentRequest.ttl", "0: 10 minutes; at most 24 h")
@promise("Intent.actor", "who: a person or a system, at most 256 bytes")
@promise("Intent.reason", "why, at most 1024 bytes")
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
    stream.wait_event("INTENT_WITHDRAWN")
    assert world.declare(ttl={"seconds": 24 * 3600}).intent_id


@promise("WithdrawIntent", "Withdraws a declared intent.")
@promise("WithdrawIntentRequest.intent_id", "from DeclareIntent's answer; at most 1 KiB")
@promise("WithdrawIntent", "NOT_FOUND: it has ended or never existed.")
def withdrawal(world):
    stream, qemu = world.follow()
    intent = world.declare()
    assert code(world.call("WithdrawIntent", intent_id=intent.intent_id)) == "OK"
    for gone in (intent.intent_id, "00000000-0000-0000-0000-000000000000"):
        world.refused("NOT_FOUND", "WithdrawIntent", intent_id=gone)
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    assert getattr(stopped.shutdown, "class") == pb.SHUTDOWN_CLASS_CRASH


elsewhere("tests/watcher/session/vm_session_intent_test.cc:"
          "VmSessionIntentTest.ExpiresByTheMonotonicClockAndIsToldThen", "Intent.expire_time",
          "The ttl itself runs on the monotonic clock: setting the node's clock neither shortens "
          "nor prolongs it, and it stands still while the host is suspended.")


@promise("Intent.expire_time",
         "When its ttl runs out, by the node's clock as it was at the declaration.")
@promise("IntentEnd.INTENT_END_EXPIRED", "its ttl ran out")
def expiry(world):
    stream, qemu = world.follow()
    intent = world.declare(ttl={"nanos": 1_000_000})
    ended = stream.wait_event("INTENT_WITHDRAWN")
    assert ended.observe_time.ToNanoseconds() >= intent.expire_time.ToNanoseconds()
    assert ended.intent_end == pb.INTENT_END_EXPIRED
    qemu.kill()
    stopped = stream.wait_event("STOPPED")
    assert getattr(stopped.shutdown, "class") == pb.SHUTDOWN_CLASS_CRASH


@promise("GetServerInfo",
         "Describes the server: who it is, what it retains and watches, and whether it can write "
         "its journal.")
@promise("GetServerInfoResponse.version", "of vmeventd")
@promise("GetServerInfoResponse.node", "the host's name")
@promise("GetServerInfoResponse.start_time", "when the daemon started")
@promise("GetServerInfoResponse.journal_writable", "false: events are not durable now")
@promise("GetServerInfoResponse.signal_senders", "whether the senders of signals to VMs are seen")
@promise("SignalSenderWatch.active", "whether they are read")
@promise("SignalSenderWatch.problem",
         "for people: why not, or not of all processors; empty: all is well")
@promise("SignalSenderWatch.lost", "records that the kernel dropped since the daemon started")
def signal_senders(world):
    world.start("--signal-senders", "off")
    senders = world.info().signal_senders
    assert not senders.active and senders.problem == "--signal-senders is off", senders
    assert senders.lost == 0, senders
    world.stop()
    world.start("--signal-senders", "auto")
    senders = world.info().signal_senders
    assert senders.active or senders.problem, senders


@promise("GetServerInfoResponse.host_shutdown", "whether the host's shutdown is seen")
@promise("HostShutdownWatch.active", "whether one of them can be heard")
@promise("HostShutdownWatch.problem", "for people: why not; empty: all is well")
def host_shutdown(world):
    world.start()
    host = world.info().host_shutdown
    assert host.active == (not host.problem) and not host.shutting_down, host


headline("HostShutdownWatch", "What systemd-logind and systemd say on the host's system bus.")
elsewhere("tests/watcher/host/system_bus_test.cc:SystemBusTest.LogindSaysThatTheHostShutsDownAndThatItDoesNot",
          "HostShutdownWatch.shutting_down", "whether the host shuts down now, as far as was heard last")


@promise("GetServerInfoResponse.exit_status_source", "\"pidfd\", \"proc-connector\" or \"none\"")
@promise("GetServerInfoResponse.directories", "one per --watch")
@promise("WatchedDirectory.path", "as given to --watch")
@promise("WatchedDirectory.pattern", "of the sockets' file names")
@promise("WatchedDirectory.present", "whether it exists now")
@promise("WatchedDirectory.sockets", "number of matching sockets in it")
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
    assert info.exit_status_source in ("pidfd", "proc-connector", "none")
    here, there = info.directories
    assert (here.path, here.pattern, here.present, here.sockets) == (
        str(world.monitors), "*.kvmd", True, 1), info
    assert (there.path, there.pattern, there.present) == (str(missing), "*.qmp", False), info
    missing.mkdir()
    wait_until("the directory is there", lambda: world.info().directories[1].present)


elsewhere("tests/server/host/system_files_test.cc:NodeId.IsKeptInTheStateDirectoryOtherwise",
          "GetServerInfoResponse.node_id",
          "It is derived from /etc/machine-id without revealing it; on a host that has none, it "
          "is kept in the state directory.")


@promise("GetServerInfoResponse.node_id",
         "A UUID of the node that stays the same when the host is renamed, the journal is "
         "replaced or vmeventd is installed again.")
@promise("Progress.node_id", "GetServerInfoResponse.node_id")
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


@promise("GetServerInfoResponse.unfollowed_sockets",
         "The sockets in watched directories behind which no VM is followed, by path; at most "
         "1,000.")
@promise("UnfollowedSocket",
         "A socket in a watched directory that is no VM yet: it accepts no connection, nothing "
         "answers there, or the daemon is out of descriptors.",
         "It is not listed as a VM and has no events.")
@promise("UnfollowedSocket.path", "of the socket")
@promise("UnfollowedSocket.name", "the name that its VM would have")
@promise("UnfollowedSocket.problem", "for people")
@promise("UnfollowedSocket.since", "when the problem began")
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
        assert one.problem, listed
        assert before <= one.since.ToNanoseconds() <= time.time_ns(), listed
    assert not world.call("ListVms").vms
    for path in paths:
        path.unlink()
    wait_until("none is listed", lambda: not world.info().unfollowed_sockets)
    world.started_vm(stream)
    assert {event.vm.name for event in stream.events} == {"vm1"}


for field, sentence in (
        ("GetServerInfoResponse.libvirt_connections", "by URI"),
        ("LibvirtConnection.uri", "as connected to: a glob is resolved"),
        ("LibvirtConnection.connected", "whether the connection is open now"),
        ("LibvirtConnection.problem", "for people; empty while connected"),
        ("LibvirtConnection.since", "when `connected` last changed"),
        ("LibvirtConnection.domains", "number of domains that are followed through it")):
    elsewhere("tests/server/daemon_grpc_test.cc:VmEventService.ListsTheConnectionsToLibvirt",
              field, sentence)


@promise("GetServerInfoResponse.listeners", "one per --listen")
@promise("Listener", "An address at which clients connect.")
@promise("Listener.address",
         "as given to --listen; with the port that the kernel chose, once it listens")
@promise("Listener.listening", "false: it cannot be opened, and is tried again")
def listeners(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        world.start("--listen", f"unix:{world.socket}", "--listen", "127.0.0.1:0", "--listen", address)
        unix, chosen, refused = world.info().listeners
    assert (unix.address, unix.listening) == (f"unix:{world.socket}", True), unix
    assert chosen.listening and not chosen.address.endswith(":0"), chosen
    with socket.create_connection(chosen.address.rsplit(":", 1)):
        pass
    assert (refused.address, refused.listening) == (address, False), refused
    wait_until("it listens", lambda: world.info().listeners[2].listening)


@promise("GetServerInfoResponse.oldest_sequence", "of the retained events")
@promise("GetServerInfoResponse.newest_sequence", "0: there has been no event yet")
@promise("GetServerInfoResponse.vms", "number of VMs that have not stopped")
@promise("GetServerInfoResponse.streams", "number of open WatchEvents streams")
def what_the_server_counts(world):
    world.start()
    assert world.info().newest_sequence == 0
    assert world.info().streams == 0
    stream = world.oldest()
    world.started_vm(stream, "a").exit()
    stream.wait_event("STOPPED", "a")
    world.started_vm(stream, "b")
    info = world.info()
    assert (info.vms, info.streams, info.oldest_sequence, info.newest_sequence) == (1, 1, 1, 3), info
    stream.close()
    wait_until("the stream is closed", lambda: world.info().streams == 0)


@promise("VmEventService",
         "INVALID_ARGUMENT a field breaks a rule; the message names the field, its value and the "
         "rule; or the request is too large;")
def invalid_arguments(world):
    world.start()
    for method, fields, names in (
            ("ListEvents", {"page_size": -1}, ("page_size", "-1")),
            ("ListEvents", {"page_size": 1001}, ("page_size", "1001", "1000")),
            ("ListVms", {"page_token": "no token"}, ("page_token", "no token")),
            ("GetVm", {"name": ""}, ("name",)),
            ("DeclareIntent", {"vm_name": "vm1", "actor": "a\nb", "reason": "r"}, ("actor", "line")),
            ("WithdrawIntent", {"intent_id": ""}, ("intent_id",))):
        message = world.refused("INVALID_ARGUMENT", method, **fields)
        for name in names:
            assert name in message, (method, message)
    world.refused("INVALID_ARGUMENT", "GetVm", name="x" * (1 << 20))


@promise("VmEventService", "A string that is not UTF-8 gets INVALID_ARGUMENT.")
def texts_are_utf8(world):
    world.start()
    for method, request, field in (("GetVm", b"\n\x01\xff", "name: "),
                                   ("ListEvents", b"\n\x03\n\x01\xc3", "filter.vm_names[0]: ")):
        answer = world.call_raw(method, request)
        assert code(answer) == "INVALID_ARGUMENT", answer
        assert field in answer.details() and "UTF-8" in answer.details(), answer.details()


@promise("VmEventService", "UNAVAILABLE the daemon cannot be reached, or is shutting down.")
def unavailable(world):
    world.start()
    world.stop()
    world.refused("UNAVAILABLE", "GetServerInfo")


@promise("VmEventService",
         "The standard service grpc.health.v1.Health reports whether the daemon has made its "
         "first scan and is not shutting down, for the services \"\" and "
         "\"vmeventd.v1.VmEventService\"; for the service \"journal\" whether new events are "
         "kept durably; and for the service \"sources\" whether VMs can be found at all: NOT_SERVING "
         "while no watched directory is there and no libvirt is connected.")
def health(world):
    world.start()
    for service in ("", "vmeventd.v1.VmEventService", "journal", "sources"):
        assert world.health(service) == "SERVING", service
    world.monitors.rename(world.path / "elsewhere")
    wait_until("nothing can be found", lambda: world.health("sources") == "NOT_SERVING")
    assert world.health("") == "SERVING"
    assert world.health("no service") == "NOT_FOUND"


# What came after 0.1.0, and the field that it came with.
CAPABILITIES = {
    "durable-sequence": ("Progress", "durable_sequence"),
    "event-state": ("Event", "state"),
    "event-problems": ("Event", "problems"),
    "event-source": ("VmRef", "source"),
    "filter-by-cause": ("EventFilter", "causes"),
    "filter-by-run": ("EventFilter", "run_ids"),
    "filter-by-uuid": ("EventFilter", "uuids"),
    "guest-panic": ("ShutdownDetail", "panic"),
    "host-shutdown": ("GetServerInfoResponse", "host_shutdown"),
    "intent-end": ("Event", "intent_end"),
    "intent-request-id": ("DeclareIntentRequest", "request_id"),
    "labels": ("VmRef", "labels"),
    "listeners": ("GetServerInfoResponse", "listeners"),
    "missing-ranges": ("Event", "missing"),
    "node-id": ("GetServerInfoResponse", "node_id"),
    "request-progress": ("Progress", "stream_id"),
    "shutdown-caveats": ("ShutdownDetail", "caveats"),
    "signal-sender": ("ShutdownDetail", "sender"),
    "unfollowed-sockets": ("GetServerInfoResponse", "unfollowed_sockets"),
    "vm-attached": ("Vm", "attached"),
}


@promise("GetServerInfoResponse.capabilities",
         "Names of the features that 0.1.0 did not have, as \"event-state\".",
         "A name keeps its meaning forever.",
         "A client checks for a name, not for a version; a server that has none sends none.")
def capabilities(world):
    world.start()
    expected = sorted(name for name, (message, field) in CAPABILITIES.items()
                      if field in getattr(pb, message).DESCRIPTOR.fields_by_name)
    assert list(world.info().capabilities) == expected, (world.info().capabilities, expected)


@promise("VmEventService",
         "A client that reconnects calls GetServerInfo: a changed journal_id means that the "
         "journal was replaced, lost with a reinstallation, or restored from a copy; "
         "capabilities list what the server can do, which may grow with an upgrade and shrink "
         "with a rollback.")
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
