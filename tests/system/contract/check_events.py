"""What happens to VMs: EventType, VmState, VmRef, Event, Vm."""

import json
import shutil
import time

from promises import elsewhere, promise
from world import pb, qmp, type_name, wait_until


@promise("EventType.EVENT_TYPE_UNSPECIFIED")
@promise("VmState.VM_STATE_UNSPECIFIED")
@promise("Event.type")
@promise("Event.message")
def every_event_has_type_and_message(world):
    stream, qemu = world.follow()
    assert world.get().state
    qemu.send(qmp("STOP") + qmp("RESUME") + qmp("AN_EVENT_OF_TOMORROW") + qmp("POWERDOWN"))
    qemu.exit()
    stream.wait_event("STOPPED")
    for event in stream.events:
        assert event.type and event.message and "\n" not in event.message, event
        assert not any(seen.what in event.message for seen in event.shutdown.evidence), event


@promise("EventType.EVENT_TYPE_STARTED")
@promise("EventType.EVENT_TYPE_STOPPED")
@promise("VmRef")
@promise("VmState.VM_STATE_STOPPED")
def a_run_starts_and_stops_once(world):
    stream = world.begin()
    runs = []
    for nth in (1, 2):
        qemu = world.started_vm(stream)
        qemu.send(qmp("STOP") + qmp("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}))
        qemu.exit()
        runs.append(stream.wait_event("STOPPED", nth=nth).vm)
        assert world.get().state == pb.VM_STATE_STOPPED
    assert runs[0].name == runs[1].name and runs[0].run_id != runs[1].run_id
    for run in runs:
        types = [pb.EventType.Name(e.type) for e in stream.events if e.vm.run_id == run.run_id]
        assert types[0] == "EVENT_TYPE_STARTED" and types[-1] == "EVENT_TYPE_STOPPED", types
        assert types.count("EVENT_TYPE_STOPPED") == types.count("EVENT_TYPE_STARTED") == 1, types


@promise("EventType.EVENT_TYPE_GUEST_SHUTDOWN")
@promise("Event.shutdown")
@promise("VmState.VM_STATE_GUEST_DOWN")
@promise("Vm.shutdown")
def guest_shutdown(world):
    stream, qemu = world.follow()
    assert not world.get().HasField("shutdown")
    # Under -no-shutdown QEMU pauses the guest and stays.
    qemu.behave(status="shutdown")
    qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}) + qmp("STOP"))
    down = stream.wait_event("GUEST_SHUTDOWN")
    assert down.HasField("shutdown")
    assert world.get().state == pb.VM_STATE_GUEST_DOWN and world.get().HasField("shutdown")
    qemu.exit()
    stopped = stream.wait_event("STOPPED")
    for event in stream.events:
        assert event.HasField("shutdown") == (event in (down, stopped)), event


@promise("EventType.EVENT_TYPE_POWERDOWN_REQUESTED")
@promise("Event.qmp_event")
@promise("Event.qemu_time")
@promise("Event.observe_time")
def powerdown_requested(world):
    before = time.time_ns()
    stream, qemu = world.follow()
    qemu.send(qmp("POWERDOWN", seconds=1234))
    event = stream.wait_event("POWERDOWN_REQUESTED")
    assert event.qmp_event == "POWERDOWN" and event.qemu_time.ToNanoseconds() == 1234_000_002_000
    started = stream.wait_event("STARTED")
    assert not started.qmp_event and not started.HasField("qemu_time")
    for observed in (started, event):
        assert before <= observed.observe_time.ToNanoseconds() <= time.time_ns()


@promise("EventType.EVENT_TYPE_PAUSED")
@promise("EventType.EVENT_TYPE_RESUMED")
@promise("EventType.EVENT_TYPE_SUSPENDED")
@promise("EventType.EVENT_TYPE_WOKEN")
@promise("VmState.VM_STATE_RUNNING")
@promise("VmState.VM_STATE_PAUSED")
@promise("VmState.VM_STATE_SUSPENDED")
@promise("Vm.state")
@promise("Vm.state_time")
def pauses_and_suspensions(world):
    stream, qemu = world.follow()
    assert world.get().state == pb.VM_STATE_RUNNING
    for name, kind, state in (("STOP", "PAUSED", pb.VM_STATE_PAUSED),
                              ("RESUME", "RESUMED", pb.VM_STATE_RUNNING),
                              ("SUSPEND", "SUSPENDED", pb.VM_STATE_SUSPENDED),
                              ("WAKEUP", "WOKEN", pb.VM_STATE_RUNNING)):
        qemu.send(qmp(name))
        event = stream.wait_event(kind)
        vm = world.get()
        assert vm.state == state, vm
        assert vm.state_time == event.observe_time, (vm, event)


@promise("Vm.pause_reason")
@promise("Event.pause_reason")
def the_reason_of_a_pause(world):
    stream, qemu = world.follow()
    assert not world.get().pause_reason
    qemu.behave(status="debug")
    qemu.send(qmp("STOP"))
    assert not stream.wait_event("PAUSED").pause_reason
    reported = stream.wait_event("STATE_CHANGED")
    assert reported.state == pb.VM_STATE_PAUSED and reported.pause_reason == "debug", reported
    assert world.get().pause_reason == "debug"
    qemu.behave(status="paused")
    wait_until("the reason is another", lambda: world.get().pause_reason == "paused")
    qemu.send(qmp("RESUME"))
    assert not stream.wait_event("RESUMED").pause_reason and not world.get().pause_reason
    error = {"device": "d", "operation": "write", "action": "stop"}
    qemu.send(qmp("BLOCK_IO_ERROR", error) + qmp("STOP") + qmp("POWERDOWN"))
    stream.wait_event("POWERDOWN_REQUESTED")
    assert [event.pause_reason for event in stream.events if type_name(event) == "PAUSED"] == ["", "io-error"]


# The type of the event that a QMP event makes, its data, and the detail that it has.
SAID = (
    ("RESET", "RESET", {"guest": True, "reason": "guest-reset"},
     {"reset": pb.ResetDetail(by_guest=True, reason="guest-reset")}),
    ("HIBERNATING", "SUSPEND_DISK", {}, {}),
    ("GUEST_PANICKED", "GUEST_PANICKED", {"action": "run"}, {"panic": pb.GuestPanic(action="run")}),
    ("WATCHDOG_EXPIRED", "WATCHDOG", {"action": "none"}, {}),
    ("IO_ERROR", "BLOCK_IO_ERROR", {"device": "d", "node-name": "#block1", "operation": "write", "action": "report",
                                    "nospace": True, "reason": "No space left on device"},
     {"io_error": pb.IoErrorDetail(device="d", node_name="#block1", operation="write", action="report",
                                   no_space=True)}),
    ("MEMORY_FAILURE", "MEMORY_FAILURE", {"recipient": "guest", "action": "ignore",
                                          "flags": {"action-required": True, "recursive": True}},
     {"memory_failure": pb.MemoryFailureDetail(recipient="guest", action="ignore", action_required=True,
                                               recursive=True)}),
    ("MIGRATION", "MIGRATION", {"status": "setup"}, {"migration": pb.MigrationDetail(status="setup")}))


@promise("Event.reset")
@promise("ResetDetail.by_guest")
@promise("ResetDetail.reason")
@promise("Event.io_error")
@promise("IoErrorDetail.device")
@promise("IoErrorDetail.node_name")
@promise("IoErrorDetail.operation")
@promise("IoErrorDetail.action")
@promise("IoErrorDetail.no_space")
@promise("Event.memory_failure")
@promise("MemoryFailureDetail.recipient")
@promise("MemoryFailureDetail.action")
@promise("MemoryFailureDetail.action_required")
@promise("MemoryFailureDetail.recursive")
@promise("Event.migration")
@promise("MigrationDetail.status")
def what_qemu_says_once(world):
    stream, qemu = world.follow()
    for kind, name, data, detail in SAID:
        message = qmp(name, data) if data else qmp(name)
        before = len(stream.types())
        qemu.send(message + qmp("POWERDOWN"))
        stream.wait_event("POWERDOWN_REQUESTED", nth=stream.types()[:before].count("POWERDOWN_REQUESTED") + 1)
        assert stream.types()[before:-1] == [kind], (kind, stream.types())
        event = stream.wait_event(kind)
        assert json.loads(event.detail_json or "{}") == data, event
        expected = pb.Event(**detail)
        assert event.WhichOneof("detail") == expected.WhichOneof("detail"), event
        for field in detail:
            assert getattr(event, field) == getattr(expected, field), event


for said_kind, *_ in SAID:
    promise(f"EventType.EVENT_TYPE_{said_kind}")(what_qemu_says_once)


@promise("ResetDetail")
@promise("IoErrorDetail")
def what_qemu_leaves_out_is_unset(world):
    stream, qemu = world.follow()
    qemu.send(qmp("RESET") + qmp("BLOCK_IMAGE_CORRUPTED", {"device": "d", "fatal": True}))
    assert not stream.wait_event("RESET").reset.HasField("by_guest")
    error = stream.wait_event("IO_ERROR").io_error
    assert error == pb.IoErrorDetail(device="d"), error


@promise("EventType.EVENT_TYPE_MONITOR_LOST")
@promise("EventType.EVENT_TYPE_MONITOR_RESTORED")
@promise("VmState.VM_STATE_UNREACHABLE")
def monitor_lost_and_restored(world):
    stream, qemu = world.follow()
    qemu.behave(greet=False)
    qemu.close_client()
    stream.wait_event("MONITOR_LOST")
    assert world.get().state == pb.VM_STATE_UNREACHABLE
    qemu.behave()
    qemu.close_client()
    stream.wait_event("MONITOR_RESTORED")
    assert world.get().state == pb.VM_STATE_RUNNING
    assert "STOPPED" not in stream.types()


@promise("EventType.EVENT_TYPE_INTENT_DECLARED")
@promise("EventType.EVENT_TYPE_INTENT_ENDED")
@promise("Event.intent_end")
@promise("IntentEnd.INTENT_END_WITHDRAWN")
@promise("Event.intent")
@promise("Vm.intent")
def intents_are_events(world):
    stream, _ = world.follow()
    intent = world.declare()
    assert world.get().intent == intent
    world.call("WithdrawIntent", intent_id=intent.intent_id)
    for kind in ("INTENT_DECLARED", "INTENT_ENDED"):
        assert stream.wait_event(kind).intent.intent_id == intent.intent_id
    assert not world.get().HasField("intent")
    assert not stream.wait_event("STARTED").HasField("intent")
    assert stream.wait_event("INTENT_ENDED").intent_end == pb.INTENT_END_WITHDRAWN


elsewhere("tests/watcher/session/vm_session_agent_test.cc:VmSessionAgentTest.APortThatWasPluggedInLaterIsLookedUp",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:AgentStoryTest.AnAgentThatLeftInTheWindowCounts",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:AgentStoryTest.AnAgentThatIsNotKnownYetMayBeConnected",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE")
elsewhere("tests/watcher/session/vm_session_end_test.cc:VmSessionEndTest.AnIgnoredPressIsOutOfItsWindow",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_POWERDOWN_EARLIER")
elsewhere("tests/watcher/session/vm_session_unseen_test.cc:UnseenStoryTest.AHibernationBeforeMayBeOver",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN")
elsewhere("tests/watcher/session/vm_session_end_test.cc:VmSessionEndTest.ARebootWithoutAPanicDeviceMayBeAPanic",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_NO_PANIC_DEVICE")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:VmSessionAgentTest.APortThatWasPluggedInLaterIsLookedUp",
          "ShutdownDetail.caveats")
elsewhere("tests/watcher/session/vm_session_end_test.cc:VmSessionEndTest.AnEventBeforeTheRepliesFollowsStarted",
          "EventType.EVENT_TYPE_STATE_CHANGED")
elsewhere("tests/watcher/session/vm_session_end_test.cc:VmSessionEndTest.ARequestByPvpanicIsNone",
          "EventType.EVENT_TYPE_PVSHUTDOWN_REQUESTED")
elsewhere("tests/watcher/session/vm_session_events_test.cc:"
          "VmSessionStateTest.ProblemsThatComeAndGoAreReportedByEvents",
          "EventType.EVENT_TYPE_PROBLEMS_CHANGED")


@promise("Event.state")
@promise("Event.problems")
def an_event_has_the_state_and_the_problems_after_it(world):
    stream, qemu = world.follow()
    qemu.send(qmp("STOP") + qmp("RESUME"))
    for kind, state in (("STARTED", pb.VM_STATE_RUNNING), ("PAUSED", pb.VM_STATE_PAUSED),
                        ("RESUMED", pb.VM_STATE_RUNNING)):
        event = stream.wait_event(kind)
        assert event.state == state and not event.problems, event
    qemu.kill()
    assert stream.wait_event("STOPPED").state == pb.VM_STATE_STOPPED
    world.vm("held", greet=False)
    held = stream.wait_event("STARTED", "held")
    assert held.state == pb.VM_STATE_UNREACHABLE and "held" in held.problems[0].text, held
    assert held.problems[0].code in (pb.PROBLEM_CODE_STARTING, pb.PROBLEM_CODE_NO_GREETING), held


@promise("EventType.EVENT_TYPE_GAP")
def gap(world):
    stream, qemu = world.follow()
    world.stop()
    qemu.behave(status="paused")
    world.start()
    event = world.oldest().wait_event("GAP")
    assert event.message, event


@promise("VmRef.name")
@promise("VmRef.uuid")
@promise("Vm")
@promise("Vm.ref")
@promise("Vm.qemu_version")
@promise("Vm.monitor_path")
def who_a_vm_is(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:mon-*.kvmd")
    world.start()
    world.vm("mon-web", directory=other)
    stream = world.oldest()
    uuid = "12345678-9abc-def0-1234-56789abcdef0"
    with_uuid = world.started_vm(stream, "with", uuid=uuid)
    world.started_vm(stream, "without")
    world.vm("silent", greet=False)
    stream.wait_event("STARTED", "silent")
    vm = world.get("with")
    assert (vm.ref.name, vm.ref.uuid, vm.monitor_path) == ("with", uuid, with_uuid.path), vm
    assert vm.qemu_version.startswith("7.2.22"), vm
    assert world.get("without").ref.uuid == ""
    stream.wait_event("STARTED", "web")
    assert world.get("silent").qemu_version == ""
    assert vm.ref.run_id == stream.wait_event("STARTED", "with").vm.run_id


@promise("VmRef.source")
def where_a_vm_comes_from(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:*.kvmd")
    stream = world.begin()
    qemu = world.started_vm(stream, "here")
    world.vm("there", directory=other)
    started = stream.wait_event("STARTED", "there")
    assert started.vm.source.partition(":") == ("qmp", ":", str(other)), started
    assert world.get("here").ref.source == f"qmp:{world.monitors}"
    world.restart()
    assert world.get("here").ref.source == f"qmp:{world.monitors}"
    qemu.exit()
    stopped = world.oldest().wait_event("STOPPED", "here")
    assert stopped.vm.source == f"qmp:{world.monitors}", stopped


@promise("Vm.attached")
def attached(world):
    stream = world.begin()
    world.vm("silent", greet=False)
    stream.wait_event("STARTED", "silent")
    assert not world.get("silent").attached
    qemu = world.started_vm(stream)
    world.wait_attached("vm1")
    qemu.unlink()
    qemu.close_client()
    stream.wait_event("MONITOR_LOST", "vm1")
    assert not world.get().attached


@promise("VmRef.pid")
@promise("Vm.start_time")
def which_process_it_is(world):
    stream = world.begin()
    before = time.time_ns() - 2 * 10**9  # in ticks of the boot clock, which is coarse
    qemu = world.started_vm(stream)
    assert world.get().ref.pid == qemu.pid == stream.wait_event("STARTED").vm.pid
    assert before <= world.get().start_time.ToNanoseconds() <= time.time_ns()


@promise("VmRef.run_id")
def run_ids(world):
    stream, qemu = world.follow()
    run_id = world.get().ref.run_id
    world.restart()
    assert world.get().ref.run_id == run_id
    qemu.exit()
    stream = world.oldest()
    stream.wait_event("STOPPED")
    world.vm()
    assert stream.wait_event("STARTED", nth=2).vm.run_id != run_id


@promise("Event.sequence")
@promise("Vm.last_sequence")
def sequences(world):
    stream, qemu = world.follow()
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert [event.sequence for event in stream.events] == [1, 2]
    assert world.get().last_sequence == paused.sequence


@promise("Event")
@promise("Event.durable")
def a_durable_event_stays(world):
    stream, qemu = world.follow()
    qemu.send(qmp("STOP") + qmp("RESUME"))
    stream.wait_event("RESUMED")
    seen = list(stream.events)
    assert all(event.durable for event in seen)
    assert world.events() == seen
    world.restart()
    again = world.oldest()
    again.wait_event("RESUMED")
    assert again.events[:len(seen)] == seen
    assert world.events()[:len(seen)] == seen


def gap_of_the_node(stream):
    """Waits for it."""
    return stream.wait("a GAP of the node comes",
                       lambda: next((e for e in stream.events if e.type == pb.EVENT_TYPE_GAP
                                     and not e.HasField("vm")), None))


@promise("Event.vm")
def a_gap_of_the_node(world):
    world.follow()
    journal_id = world.info().journal_id
    world.damage_journal()
    assert world.info().journal_id != journal_id
    assert gap_of_the_node(world.oldest()).message


@promise("GetServerInfoResponse.journal_id")
def a_restored_copy(world):
    stream, qemu = world.follow()
    journal_id = world.info().journal_id
    world.stop()
    copy = world.path / "copy"
    shutil.copytree(world.state, copy)
    world.start()
    assert world.info().journal_id == journal_id
    stream = world.oldest()
    stream.wait_event("STARTED")
    qemu.send(qmp("STOP"))
    stream.wait_event("PAUSED")
    world.stop()
    shutil.rmtree(world.state)
    shutil.copytree(copy, world.state)
    world.start()
    assert world.info().journal_id != journal_id
    stream = world.oldest()
    gap_of_the_node(stream)
    assert type_name(stream.events[0]) == "STARTED", "what the copy holds is there"


@promise("Vm.problems")
def problems(world):
    world.start()
    world.vm(greet=False)
    wait_until("a problem is listed", lambda: world.get().problems)


@promise("Event.detail_json")
def detail_json(world):
    stream, qemu = world.follow()
    qemu.send(qmp("BLOCK_IO_ERROR", {"device": "disk0", "action": "report"}))
    qemu.send(qmp("BLOCK_IO_ERROR", {"device": "disk0", "pad": "x" * 6000}))
    short = stream.wait_event("IO_ERROR")
    assert json.loads(short.detail_json) == {"device": "disk0", "action": "report"}
    long = stream.wait_event("IO_ERROR", nth=2)
    assert len(long.detail_json) <= 4096 and json.loads(long.detail_json)["_truncated"]


# Tests of the problems and gaps that need more than fake QEMUs.
NODE = "tests/watcher/node/node_watcher_"
SESSION = "tests/watcher/session/vm_session_"
LIBVIRT = "tests/watcher/libvirt/libvirt_process_test.cc:LibvirtProcessTest"
LIBVIRT_LOST = ("tests/watcher/libvirt/libvirt_source_test.cc:"
                "LibvirtSourceTest.ALostLibvirtIsAProblemOfItsDomainsAndThenAGap")
TRACE = "tests/watcher/signals/bpf_trace_test.cc:BpfTrace"
LOG = "tests/server/eventlog/event_log_"
for test, problem in (
        (f"{SESSION}end_test.cc:VmSessionEndTest.SoonAfterTheStart", "STARTING"),
        (f"{SESSION}end_test.cc:VmSessionEndTest.LongAfterTheStart", "NO_GREETING"),
        (f"{SESSION}exit_test.cc:HangCheckTest.AQemuThatDoesNotAnswerIsUnreachableUntilItDoes", "NO_ANSWER"),
        (f"{SESSION}exit_test.cc:HangCheckTest.AFrozenQemuIsReportedAsFrozen", "FROZEN"),
        (f"{SESSION}exit_test.cc:HangCheckTest.AQemuThatDumpsItsCoreIsReportedAsDumping", "CORE_DUMPING"),
        (f"{SESSION}exit_test.cc:VmSessionHangTest.TheProblemOfAQemuThatDoesNotExitIsUpdatedRarely", "EXIT_LATE"),
        (f"{SESSION}end_test.cc:VmSessionEndTest.EofOfALivingProcessIsNoEnd", "MONITOR_LOST"),
        (f"{SESSION}end_test.cc:VmSessionEndTest.AnIoErrorIsAProblemUntilAResume", "IO_ERROR"),
        (f"{SESSION}end_test.cc:VmSessionEndTest.AnInternalErrorIsACrash", "INTERNAL_ERROR"),
        (f"{SESSION}events_test.cc:VmSessionStateTest.ProblemsThatComeAndGoAreReportedByEvents", "SHARED_UUID"),
        (f"{NODE}faults_test.cc:NodeWatcherFaultsTest.AHumanMonitorIsAProblemOfItsVm", "NOT_QMP"),
        (f"{NODE}faults_test.cc:NodeWatcherFaultsTest.AShutdownFileThatCannotBeWrittenIsAProblemAndCounted",
         "SHUTDOWN_FILE"),
        (f"{NODE}faults_test.cc:NodeWatcherFaultsTest.ANextRunWaitsForTheDescriptorsOfTheEarlierRun",
         "OUT_OF_DESCRIPTORS"),
        (f"{NODE}listener_test.cc:ForeignListenerTest.IsNeverConnectedToIfItsNameIsNoMonitorsName", "NO_MONITOR"),
        (f"{NODE}listener_test.cc:ForeignListenerTest.AMonitorThatAManagerNeedsIsLeftToItWhereverItIs",
         "MANAGERS_OWN"),
        (f"{NODE}listener_test.cc:ListenerTest.AQmpServerWithoutAVmIsNotFollowed", "NOT_A_VM"),
        (f"{NODE}paths_test.cc:SharedPathTest.EachEndIsAttributedToItsOwnQemu", "SHARED_PATH"),
        (f"{NODE}directories_test.cc:HangingDirectoryTest.DoesNotDelayOthers", "DIRECTORY_HANGS"),
        ("tests/system/libvirt_test.cc:LibvirtTest.ASocketThatAppearsLaterDoesNotMakeASecondRunOfADomain",
         "FOLLOWED_ELSEWHERE"),
        (LIBVIRT_LOST, "LIBVIRT_LOST"),
        (f"{LIBVIRT}.ADomainThatIsNotListedAndWhoseProcessLivesHasAProblem", "NOT_LISTED"),
        (f"{LIBVIRT}.ADomainWithoutAVisibleProcessIsFollowedIfTheNextListHasItStill",
         "PROCESS_NOT_VISIBLE"),
        (f"{NODE}faults_test.cc:NodeWatcherFaultsTest.AMonitorThatMayNotBeConnectedToIsListedWithTheReason",
         "PERMISSION_DENIED"),
        (f"{TRACE}ErrorTest.AForeignPidNamespaceIsRefused", "PID_NAMESPACE"),
        (f"{TRACE}ErrorTest.AKernelWithoutBtfIsNamedInTheError", "NO_KERNEL_TYPES"),
        (f"{TRACE}Test.WithoutACapabilityTheErrorNamesIt", "NO_CAPABILITY"),
        (f"{TRACE}Test.EachFailureHasItsProblemCode", "USER_NAMESPACE"),
        (f"{TRACE}Test.EachFailureHasItsProblemCode", "SECCOMP"),
        (f"{TRACE}Test.EachFailureHasItsProblemCode", "KERNEL_LOCKDOWN"),
        (f"{TRACE}Test.EachFailureHasItsProblemCode", "CANNOT_TRACE")):
    elsewhere(test, f"ProblemCode.PROBLEM_CODE_{problem}")
for test, gap in (
        (f"{SESSION}events_test.cc:VmSessionFloodTest.AFloodIsLimitedAndOneGapCountsDroppedEvents", "RATE_LIMITED"),
        (f"{SESSION}end_test.cc:VmSessionEndTest.AStateThatChangedUnseenIsAGap", "UNSEEN_CHANGE"),
        (LIBVIRT_LOST, "LIBVIRT_LOST"),
        (f"{LOG}test.cc:FullLog.EventsOtherThanEvidenceAreDroppedFirstAndOneGapCountsThem", "QUEUE_FULL"),
        (f"{LOG}test.cc:EventLog.BeyondTheBoundTheOldestEventsAreDroppedAndOneGapNamesThem", "NOT_WRITTEN"),
        (f"{LOG}start_test.cc:EventLog.AJournalThatCannotBeUsedIsMovedAsideAtTheStart", "JOURNAL_REPLACED"),
        (f"{LOG}start_test.cc:UnopenedJournal.AGapReportsThatItsOpenRunsWereNotFollowed", "JOURNAL_LATE"),
        ("tests/server/eventlog/journal_test.cc:Retention.APositionBeforeWhatWasThinnedOutIsContinuedWithAGap",
         "RETENTION"),
        ("tests/system/fleet_test.cc:FleetTest.AStreamRecreatedWhileConnectedGetsAGap", "NOT_PUBLISHED"),
        ("tests/client/sources/daemon_source_test.cc:DaemonSourceTest.EventsCarryTheNameOfTheNodeEvenOverASocket",
         "POSITION_LOST"),
        ("tests/server/eventlog/journal_test.cc:JournalReader.AGarbledRowIsReadAsAGap", "DAMAGED")):
    elsewhere(test, f"GapReason.GAP_REASON_{gap}")
