"""What the contract says of a journal that cannot be written, or not even be opened."""

import signal

import grpc
from promises import elsewhere, promise
from world import code, pb, qmp, wait_until

OVERFLOW = "tests/server/eventlog/event_log_test.cc:EventLog.BeyondTheBoundTheOldestGoAndOneGapNamesThem"
elsewhere(OVERFLOW, "VmEventService", "6")
elsewhere(OVERFLOW, "Event.missing")
elsewhere(OVERFLOW, "SequenceRange")
elsewhere(OVERFLOW, "SequenceRange.first")
elsewhere(OVERFLOW, "SequenceRange.last")
elsewhere("tests/server/eventlog/event_log_test.cc:"
          "EventLog.AfterACrashNoSequenceIsGivenAgainAndAGapNamesWhatIsNotThere",
          "Event.missing")


def fill(world):
    """A VM under a daemon whose disk is full, and the stream that sees both."""
    world.small_disk()
    stream, qemu = world.follow()
    world.fill_disk()
    # There is room for some events in the journal still.
    number = 0
    while world.info().journal_writable:
        number += 1
        qemu.send(qmp("BLOCK_IO_ERROR", {"pad": "x" * 3000}))
        stream.wait_event("IO_ERROR", nth=number)
    return stream, qemu


@promise("Event.durable")
def not_durable_and_then_it_is(world):
    stream, qemu = fill(world)
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert not paused.durable and world.health("journal") == "NOT_SERVING"
    assert world.health("") == "SERVING"
    position = max(event.sequence for event in stream.events if event.durable)
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    again = world.watch(after_sequence=position, journal_id=world.info().journal_id)
    read = again.wait_event("PAUSED")
    assert read.durable and read.sequence == paused.sequence
    retained = world.events()
    for event in stream.events:
        event.durable = True
    assert retained == stream.events
    world.restart(signal.SIGKILL)
    assert world.events()[:len(retained)] == retained


@promise("DeclareIntent", "UNAVAILABLE")
@promise("WithdrawIntent", "UNAVAILABLE")
def no_intent_that_would_be_lost(world):
    fill(world)
    world.refused("UNAVAILABLE", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.refused("UNAVAILABLE", "WithdrawIntent", intent_id="any")
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    wait_until("an intent can be declared", lambda: code(
        world.call("DeclareIntent", vm_name="vm1", actor="a", reason="r")) in ("OK", "ALREADY_EXISTS"))
    assert world.get().state == pb.VM_STATE_RUNNING


@promise("WatchEvents", "UNAVAILABLE")
def a_journal_that_cannot_be_opened(world):
    stream, qemu = world.follow()
    started = stream.wait_event("STARTED")
    journal_id = world.info().journal_id
    world.stop()
    assert stream.wait_end() == grpc.StatusCode.UNAVAILABLE
    journal = world.state / "journal.db"
    journal.unlink()
    journal.symlink_to("elsewhere")
    world.start()
    for fields in ({"from_oldest": True}, {"since": started.observe_time},
                   {"after_sequence": 0, "journal_id": journal_id}):
        assert world.watch(**fields).wait_end() == grpc.StatusCode.UNAVAILABLE, fields
    live = world.watch()
    live.wait("it has begun", lambda: live.messages)
    world.wait_attached("vm1")
    qemu.send(qmp("STOP"))
    paused = live.wait_event("PAUSED")
    assert not paused.durable and paused.sequence > started.sequence
    journal.unlink()
    gap = live.wait("a GAP of the node comes",
                    lambda: next((e for e in live.events if not e.HasField("vm")), None))
    assert gap.type == pb.EVENT_TYPE_GAP and gap.missing.last >= started.sequence, gap
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    qemu.send(qmp("RESUME"))
    assert live.wait_event("RESUMED").durable
    found = [event.sequence for event in live.events]
    assert found == sorted(set(found)), found
    world.oldest().wait_event("PAUSED")
