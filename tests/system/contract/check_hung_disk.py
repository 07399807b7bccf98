"""What the contract says of durability, on a disk that does not answer for a while."""

import signal

from check_streams import progresses_of
from promises import promise
from world import pb, qmp, wait_until

SECOND = {"seconds": 1}


def follow(world):
    """A VM on a disk that can hang. Returns a stream of its events, and its QEMU."""
    world.hanging_disk()
    world.start()
    stream = world.oldest(progress_interval=SECOND)
    return stream, world.started_vm(stream)


def next_progress(stream):
    """The first Progress that a stream certainly sends from now on: an earlier one may be on the way."""
    before = len(progresses_of(stream)) + 1
    return stream.wait("the Progress", lambda: progresses_of(stream)[before:])[-1]


def position(stream):
    """What a client of a stream stores by the rule *store*."""
    sequence = max([event.sequence for event in stream.events] + [p.sequence for p in progresses_of(stream)])
    durable = max([event.sequence for event in stream.events if event.durable] +
                  [p.durable_sequence for p in progresses_of(stream)])
    return min(sequence, durable)


@promise("VmEventService")
@promise("Event.durable")
@promise("Progress.durable_sequence")
@promise("WatchEventsRequest.durable_only")
@promise("WatchEventsResponse.progress")
@promise("GetServerInfoResponse.journal_problem")
def an_event_that_becomes_durable(world):
    stream, qemu = follow(world)
    started = stream.wait_event("STARTED")
    durable_only = world.oldest(progress_interval=SECOND, durable_only=True)
    durable_only.wait_event("STARTED")
    first = progresses_of(durable_only)[0]
    assert first.sequence == 0 and first.durable_sequence == started.sequence, first
    world.hang_disk()
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert started.durable and not paused.durable
    assert world.get().state == pb.VM_STATE_PAUSED
    wait_until("the hang is reported", lambda: world.health("journal") == "NOT_SERVING")
    assert world.health("") == "SERVING" and not world.info().journal_writable
    problem = world.info().journal_problem
    assert problem.code == pb.PROBLEM_CODE_JOURNAL_UNAVAILABLE, problem
    assert "/journal.db: the disk does not answer, for " in problem.text, problem
    progress = next_progress(stream)
    assert progress.sequence == paused.sequence and progress.durable_sequence == started.sequence, progress
    progress = next_progress(durable_only)
    assert progress.sequence == progress.durable_sequence == started.sequence, progress
    assert durable_only.types() == ["STARTED"]
    world.release_disk()
    stream.wait("a Progress says that it is durable",
                lambda: progresses_of(stream)[-1].durable_sequence >= paused.sequence)
    assert durable_only.wait_event("PAUSED").durable
    qemu.send(qmp("RESUME"))
    assert stream.wait_event("RESUMED").durable
    durable_only.wait_event("RESUMED")
    for each in (stream, durable_only):
        durable = [progress.durable_sequence for progress in progresses_of(each)]
        assert durable == sorted(durable), durable
    assert stream.types() == durable_only.types() == ["STARTED", "PAUSED", "RESUMED"]
    world.restart(signal.SIGKILL)
    assert world.events()[:3] == durable_only.events


@promise("GetServerInfoResponse.waits_for")
def a_start_waits_for_its_disk(world):
    world.hanging_disk()
    world.hang_disk()
    world.start(health="NOT_SERVING")
    waits = world.info()
    assert str(world.state) in waits.waits_for, waits
    assert waits.version and waits.node and waits.HasField("start_time") and waits.listeners, waits
    assert not waits.directories and not waits.journal_path, waits
    world.refused("UNAVAILABLE", "ListVms")
    world.release_disk()
    wait_until("the start is done", lambda: world.health("") == "SERVING")
    assert not world.info().waits_for


@promise("VmEventService", "", "5")
def what_a_crash_takes_back(world):
    stream, qemu = follow(world)
    world.hang_disk()
    # The first event is written and its sync is awaited, unless an earlier commit hangs; the second has not been
    # written.
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    qemu.send(qmp("RESUME"))
    resumed = stream.wait_event("RESUMED")
    assert not paused.durable and not resumed.durable
    next_progress(stream)
    stored = position(stream)
    assert stored == stream.wait_event("STARTED").sequence
    journal_id = world.info().journal_id
    world.stop(signal.SIGKILL)
    world.release_disk()
    world.start()
    again = world.watch(after_sequence=stored, journal_id=journal_id)
    gap = again.wait("a GAP comes", lambda: next((e for e in again.events if e.HasField("missing")), None))
    paused.durable = True
    kept = [paused] if gap.missing.first > paused.sequence else []
    assert again.events[:len(kept) + 1] == [*kept, gap], again.events
    assert gap.type == pb.EVENT_TYPE_GAP and gap.durable and not gap.HasField("vm")
    assert paused.sequence <= gap.missing.first <= resumed.sequence <= gap.missing.last < gap.sequence
    wait_until("the VM is found running", lambda: world.get().state == pb.VM_STATE_RUNNING)


@promise("DeclareIntent")
@promise("ErrorReason.ERROR_REASON_JOURNAL_UNAVAILABLE")
def no_intent_while_the_disk_hangs(world):
    stream, _ = follow(world)
    intent = world.declare()
    world.call("WithdrawIntent", intent_id=intent.intent_id)
    stream.wait_event("INTENT_ENDED")
    world.hang_disk()
    # The first intent is declared and withdrawn, because nobody knows yet that the disk hangs.
    for _ in range(2):
        message = world.refused("UNAVAILABLE JOURNAL_UNAVAILABLE", "DeclareIntent", vm_name="vm1", actor="a",
                                reason="r")
        assert "journal" in message, message
        wait_until("no intent is open", lambda: not world.get().HasField("intent"))
        wait_until("the hang is reported", lambda: not world.info().journal_writable)
    world.refused("UNAVAILABLE", "WithdrawIntent", intent_id=intent.intent_id)
    world.release_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    assert not world.get().HasField("intent")
    world.declare()


@promise("EventType.EVENT_TYPE_STOPPED")
def an_end_while_the_disk_hangs(world):
    stream, qemu = follow(world)
    world.hang_disk()
    qemu.send(qmp("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}))
    qemu.exit()
    stopped = stream.wait_event("STOPPED")
    assert not stopped.durable and stopped.shutdown.shutdown_file_written, stopped
    assert (world.monitors / "vm1.shutdown").exists()
    assert world.get().state == pb.VM_STATE_STOPPED
    world.release_disk()
    stream.wait("a Progress says that it is durable",
                lambda: progresses_of(stream)[-1].durable_sequence >= stopped.sequence)
    world.restart(signal.SIGKILL)
    assert [e.sequence for e in world.events() if e.type == pb.EVENT_TYPE_STOPPED] == [stopped.sequence]
