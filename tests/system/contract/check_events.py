"""What happens to VMs: EventType, VmState, VmRef, Event, Vm."""

import json
import shutil
import time

from promises import elsewhere, headline, promise
from world import pb, qmp, type_name, wait_until

headline("EventType", "What happened.",
         "A client ignores unknown types: later versions may add some.")
headline("VmState", "The state of a VM.")
headline("Event", "Something that happened.")


@promise("EventType.EVENT_TYPE_UNSPECIFIED", "never sent")
@promise("VmState.VM_STATE_UNSPECIFIED", "never sent")
@promise("Event.type", "what happened")
@promise("Event.message", "one sentence for people")
def every_event_has_type_and_message(world):
    stream, qemu = world.follow()
    assert world.get().state
    qemu.send(qmp("STOP") + qmp("RESUME") + qmp("AN_EVENT_OF_TOMORROW") + qmp("POWERDOWN"))
    qemu.exit()
    stream.wait_event("STOPPED")
    for event in stream.events:
        assert event.type and event.message and "\n" not in event.message, event


@promise("EventType.EVENT_TYPE_STARTED", "a QEMU process was seen for the first time: a new run")
@promise("EventType.EVENT_TYPE_STOPPED",
         "its process is gone: last event of the run, exactly one")
@promise("VmRef", "One life of one QEMU process.",
         "A VM that is started again has the same name and a new run.")
@promise("VmState.VM_STATE_STOPPED", "its process is gone")
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


@promise("EventType.EVENT_TYPE_GUEST_SHUTDOWN",
         "the guest is down and QEMU still runs: it stays (-no-shutdown), or has not ended "
         "within 5 s")
@promise("Event.shutdown", "with STOPPED and GUEST_SHUTDOWN")
@promise("VmState.VM_STATE_GUEST_DOWN", "the guest shut down or panicked, QEMU still runs")
@promise("Vm.shutdown", "once it is down")
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


@promise("EventType.EVENT_TYPE_POWERDOWN_REQUESTED", "the host pressed the ACPI power button")
@promise("Event.qmp_event", "name of the QMP event that caused this, if any")
@promise("Event.qemu_time", "from the QMP event; unset if there is none")
@promise("Event.observe_time", "by the node's clock")
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


@promise("EventType.EVENT_TYPE_PAUSED", "the VM's CPUs stopped")
@promise("EventType.EVENT_TYPE_RESUMED", "the VM's CPUs run again")
@promise("EventType.EVENT_TYPE_SUSPENDED", "the guest suspended to memory")
@promise("EventType.EVENT_TYPE_WOKEN", "the guest woke up")
@promise("VmState.VM_STATE_RUNNING", "as far as QEMU has reported")
@promise("VmState.VM_STATE_PAUSED", "its CPUs are stopped")
@promise("VmState.VM_STATE_SUSPENDED", "the guest suspended to memory")
@promise("Vm.state", "its state")
@promise("Vm.state_time", "since when")
def pauses_and_suspensions(world):
    stream, qemu = world.follow()
    assert world.get().state == pb.VM_STATE_RUNNING
    for said, kind, state in (("STOP", "PAUSED", pb.VM_STATE_PAUSED),
                              ("RESUME", "RESUMED", pb.VM_STATE_RUNNING),
                              ("SUSPEND", "SUSPENDED", pb.VM_STATE_SUSPENDED),
                              ("WAKEUP", "WOKEN", pb.VM_STATE_RUNNING)):
        qemu.send(qmp(said))
        event = stream.wait_event(kind)
        vm = world.get()
        assert vm.state == state, vm
        assert vm.state_time == event.observe_time, (vm, event)


# The type of the event that a QMP event makes, and what its detail_json has.
SAID = (
    ("RESET", qmp("RESET", {"guest": True, "reason": "guest-reset"}), '"guest-reset"',
     "the VM was reset; detail_json says by whom"),
    ("HIBERNATING", qmp("SUSPEND_DISK"), "", "the guest suspends to disk; its end follows"),
    ("GUEST_PANICKED", qmp("GUEST_PANICKED", {"action": "run"}), '"run"', "the guest's kernel panicked"),
    ("WATCHDOG_EXPIRED", qmp("WATCHDOG", {"action": "none"}), '"none"',
     "the guest stopped feeding its watchdog"),
    ("IO_ERROR", qmp("BLOCK_IO_ERROR", {"device": "d", "action": "report"}), '"d"', "a disk of the VM failed"),
    ("MEMORY_FAILURE", qmp("MEMORY_FAILURE", {"action": "ignore"}), '"ignore"',
     "the host's memory failed under the VM"),
    ("MIGRATION", qmp("MIGRATION", {"status": "setup"}), '"setup"',
     "a migration changed its state, see detail_json"))


def what_qemu_says_once(world):
    stream, qemu = world.follow()
    for kind, said, detail, _ in SAID:
        before = len(stream.types())
        qemu.send(said + qmp("POWERDOWN"))
        stream.wait_event("POWERDOWN_REQUESTED", nth=stream.types()[:before].count("POWERDOWN_REQUESTED") + 1)
        assert stream.types()[before:-1] == [kind], (kind, stream.types())
        assert detail in stream.wait_event(kind).detail_json, stream.events


for said_kind, *_, said_sentence in SAID:
    promise(f"EventType.EVENT_TYPE_{said_kind}", said_sentence)(what_qemu_says_once)


@promise("EventType.EVENT_TYPE_MONITOR_LOST", "the QMP connection ended, but the process lives")
@promise("EventType.EVENT_TYPE_MONITOR_RESTORED", "there is a QMP connection again")
@promise("VmState.VM_STATE_UNREACHABLE", "the process lives, the monitor is lost, held by another client or "
         "silent")
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


@promise("EventType.EVENT_TYPE_INTENT_DECLARED",
         "somebody declared a stop of the VM")
@promise("EventType.EVENT_TYPE_INTENT_WITHDRAWN",
         "the intent was withdrawn or expired, see intent_end")
@promise("Event.intent_end", "with INTENT_WITHDRAWN")
@promise("IntentEnd.INTENT_END_WITHDRAWN", "by WithdrawIntent")
@promise("Event.intent", "with INTENT_*")
@promise("Vm.intent", "while one is open")
def intents_are_events(world):
    stream, _ = world.follow()
    intent = world.declare()
    assert world.get().intent == intent
    world.call("WithdrawIntent", intent_id=intent.intent_id)
    for kind in ("INTENT_DECLARED", "INTENT_WITHDRAWN"):
        assert stream.wait_event(kind).intent.intent_id == intent.intent_id
    assert not world.get().HasField("intent")
    assert not stream.wait_event("STARTED").HasField("intent")
    assert stream.wait_event("INTENT_WITHDRAWN").intent_end == pb.INTENT_END_WITHDRAWN


headline("ShutdownCaveat", "A possibility that the class of a stop cannot exclude.",
         "A client ignores unknown values.")
headline("ShutdownCaveat.SHUTDOWN_CAVEAT_UNSPECIFIED", "never sent")
headline("IntentEnd", "How an intent ended before its run did.")
headline("IntentEnd.INTENT_END_UNSPECIFIED", "the event is from a version without this field")
elsewhere("tests/system/guest_agent_test.cc:GuestAgentTest.ConnectedWhileTheVmIsFollowedIsACaveat",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED",
          "A host that requests the shutdown through the agent, as libvirt and Proxmox VE do if "
          "one is configured, leaves no trace on the monitor: the stop may be an admin's.")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:VmSessionAgentTest.AnIntentSettlesIt",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED", "A declared intent settles it.")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:"
          "VmSessionAgentTest.OneThatLeftWithinTheWindowCountsAndNoOlderOne",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED",
          "A guest agent (qemu-guest-agent on the port org.qemu.guest_agent.0) was connected "
          "when the guest shut down, or at most --powerdown-window earlier.")
elsewhere("tests/system/guest_agent_test.cc:GuestAgentTest.OnAPortThatQemuDoesNotReportItIsPossible",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE",
          "The VM has the agent's port, but the port's device has no id: QEMU then reports no "
          "change of it, and an agent may have been connected.")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:"
          "VmSessionAgentTest.OneThatIsNotKnownYetMayBeConnected",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_GUEST_AGENT_POSSIBLE",
          "Likewise where the guest shut down before vmeventd learned whether the VM has the port, "
          "in the first moments after an attach.")
elsewhere("tests/watcher/session/vm_session_end_test.cc:VmSessionEndTest.AnIgnoredPowerdownIsOutOfItsWindow",
          "ShutdownCaveat.SHUTDOWN_CAVEAT_POWERDOWN_EARLIER",
          "The host had pressed the power button, longer before the guest shut down than "
          "--powerdown-window: the guest may have obeyed late. powerdown_age says how long.")
elsewhere("tests/watcher/session/vm_session_agent_test.cc:VmSessionAgentTest.WhatIsNotTheUsersHasNoCaveat",
          "ShutdownDetail.caveats", "with the class USER")
elsewhere("tests/watcher/session/vm_session_test.cc:"
          "VmSessionMonitorTest.AnEventBeforeTheRepliesFollowsStarted",
          "EventType.EVENT_TYPE_STATE_CHANGED",
          "the VM's state changed, and no other event says why")
elsewhere("tests/watcher/session/vm_session_events_test.cc:VmSessionPanicTest.ARequestByPvpanicIsAnEventOfItsOwn",
          "EventType.EVENT_TYPE_PVSHUTDOWN_REQUESTED",
          "the guest asked its pvpanic device for its shutdown (QEMU 9.1 and later); its end follows")
elsewhere("tests/watcher/session/vm_session_events_test.cc:"
          "VmSessionStateTest.ProblemsThatComeAndGoAreToldByEvents",
          "EventType.EVENT_TYPE_PROBLEMS_CHANGED", "only the VM's problems changed")
elsewhere("tests/watcher/session/vm_session_events_test.cc:"
          "VmSessionFloodTest.WhatAFloodLeavesOutTheGapMakesGood",
          "Event.state",
          "The state changes only with an event, so that a snapshot and the events after it give "
          "the state at every sequence; a GAP of the whole node has no state: call ListVms after "
          "it.")
elsewhere("tests/watcher/session/vm_session_events_test.cc:"
          "VmSessionStateTest.AProblemThatComesWithAnEventHasNoneOfItsOwn",
          "Event.problems", "They change only with an event, as the state does.")
headline("Event.state", "UNSPECIFIED: the event is from a version without this field.")
elsewhere("tests/watcher/core/qmp_message_test.cc:QmpMessageTest.BytesThatAreNotUtf8AreEscaped",
          "Event.detail_json", "A byte that is not UTF-8 becomes the text \\\\xNN.")


@promise("Event.state", "The VM's state after this event.")
@promise("Event.problems", "The VM's problems after this event, as in Vm.")
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
    assert held.state == pb.VM_STATE_UNREACHABLE and "held" in held.problems[0], held


@promise("EventType.EVENT_TYPE_GAP", "events may be missing before this one; message says why")
def gap(world):
    stream, qemu = world.follow()
    world.stop()
    qemu.behave(status="paused")
    world.start()
    event = world.oldest().wait_event("GAP")
    assert event.message, event


@promise("VmRef.name", "The part of the socket's file name that the \"*\" of --watch matches; of libvirt, "
                       "the domain's name.")
@promise("VmRef.uuid", "QEMU's -uuid; empty if it has none")
@promise("Vm", "The present state of a VM, or more exactly of one run of it.")
@promise("Vm.ref", "which run")
@promise("Vm.qemu_version", "from QEMU's greeting; empty before it")
@promise("Vm.monitor_path", "its QMP socket; empty for a domain of libvirt")
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


headline("VmRef.source", "Empty in events of a version without this field.")


@promise("VmRef.source",
         "Where the VM comes from: \"qmp:\" and the watched directory of its socket, as "
         "\"qmp:/run/qemu\", or \"libvirt:\" and the URI of the connection, as "
         "\"libvirt:qemu:///system\".")
def where_a_vm_comes_from(world):
    other = world.path / "other"
    other.mkdir()
    world.watches.append(f"{other}:*.kvmd")
    stream = world.begin()
    qemu = world.started_vm(stream, "here")
    world.vm("there", directory=other)
    started = stream.wait_event("STARTED", "there")
    assert started.vm.source == f"qmp:{other}", started
    assert world.get("here").ref.source == f"qmp:{world.monitors}"
    world.restart()
    assert world.get("here").ref.source == f"qmp:{world.monitors}"
    qemu.exit()
    stopped = world.oldest().wait_event("STOPPED", "here")
    assert stopped.vm.source == f"qmp:{world.monitors}", stopped


@promise("Vm.attached",
         "Whether QEMU has answered on its monitor all that vmeventd asks of a QEMU at first, so that no "
         "command is under way.",
         "False for a domain of libvirt, and while the monitor is lost.")
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


@promise("VmRef.pid", "0 if the daemon cannot see it (a foreign PID namespace)")
@promise("Vm.start_time", "when its process started")
def which_process_it_is(world):
    stream = world.begin()
    before = time.time_ns() - 2 * 10**9  # in ticks of the boot clock, which is coarse
    qemu = world.started_vm(stream)
    assert world.get().ref.pid == qemu.pid == stream.wait_event("STARTED").vm.pid
    assert before <= world.get().start_time.ToNanoseconds() <= time.time_ns()


@promise("VmRef.run_id", "unique forever; the same across restarts of the daemon")
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


@promise("Event.sequence", "its place in the journal; from 1 on")
@promise("Vm.last_sequence", "its newest event; 0 if none is known")
def sequences(world):
    stream, qemu = world.follow()
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert [event.sequence for event in stream.events] == [1, 2]
    assert world.get().last_sequence == paused.sequence


@promise("Event", "It never changes once it is durable.")
@promise("Event.durable", "Whether the event is in the journal.")
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


@promise("Event.vm", "unset: the event concerns the whole node, a GAP")
def a_gap_of_the_node(world):
    world.follow()
    journal_id = world.info().journal_id
    world.damage_journal()
    assert world.info().journal_id != journal_id
    assert gap_of_the_node(world.oldest()).message


@promise("GetServerInfoResponse.journal_id",
         "It changes when the journal is replaced, and when its files are restored from a copy.")
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


@promise("Vm.problems", "for people: \"monitor held by another client\", ...")
def problems(world):
    world.start()
    world.vm(greet=False)
    wait_until("a problem is listed", lambda: world.get().problems)


@promise("Event.detail_json",
         "Its \"data\" object, without white space between its tokens: its members in QEMU's order, "
         "of repeated ones the last value.",
         "If the text would exceed 4 KiB, it starts with \"_truncated\":true, and as many whole "
         "members as fit follow in their order.",
         "Empty: the event has no data.")
def detail_json(world):
    stream, qemu = world.follow()
    qemu.send(qmp("BLOCK_IO_ERROR", {"device": "disk0", "action": "report"}))
    qemu.send(qmp("BLOCK_IO_ERROR", {"device": "disk0", "pad": "x" * 6000}))
    short = stream.wait_event("IO_ERROR")
    assert json.loads(short.detail_json) == {"device": "disk0", "action": "report"}
    long = stream.wait_event("IO_ERROR", nth=2)
    assert len(long.detail_json) <= 4096 and json.loads(long.detail_json)["_truncated"]
