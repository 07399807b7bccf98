"""What the contract says of a journal that cannot be written."""

import signal

from promises import elsewhere, promise
from world import code, pb, qmp, wait_until


elsewhere("tests/server/eventlog/event_pump_test.cc:EventPumpTest.WhatIsGivenUpLeavesAGapInItsPlace",
          "VmEventService",
          "If they were lost, a GAP stands at the end of the jump, and its `missing` names them.",
          "The GAP may have the sequence of the last lost event;")
elsewhere("tests/server/eventlog/event_pump_test.cc:EventPumpTest.WhatIsGivenUpLeavesAGapInItsPlace",
          "Event.missing",
          "With a GAP: the sequences of the lost events, as far as they are known.",
          "The events had been sent with durable = false.")
for element, sentence in (("SequenceRange", "Sequences from `first` to `last`, both included."),
                          ("SequenceRange.first", "at least 1"),
                          ("SequenceRange.last", "at least `first`")):
    elsewhere(
        "tests/server/eventlog/event_pump_test.cc:EventPumpTest.WhatIsGivenUpLeavesAGapInItsPlace",
        element, sentence)



def fill(world):
    """A VM under a daemon whose disk is full, and the stream that sees both."""
    world.small_disk()
    stream, qemu = world.follow()
    world.fill_disk()
    # What the journal has room for still is durable.
    number = 0
    while world.info().journal_writable:
        number += 1
        qemu.send(qmp("BLOCK_IO_ERROR", {"pad": "x" * 3000}))
        stream.wait_event("IO_ERROR", nth=number)
    return stream, qemu


@promise("VmEventService",
         "3. does not advance it past an event with durable = false, because a crash may lose "
         "that event.",
         "The daemon writes the event to the journal as soon as it can, with the same sequence, "
         "and a new stream from the position then delivers it; or the event is lost, and that "
         "stream delivers a GAP whose `missing` has its sequence.")
@promise("VmEventService",
         "A position held back by rule 3 advances when a stream from it delivers the event with "
         "durable = true, or a GAP in its place.",
         "A Progress may pass events that are not durable without saying so: it does not advance "
         "a position held back by rule 3.")
@promise("Event.durable",
         "False only while the journal cannot be written: the event may then be lost, and a "
         "client that must not lose events reads it again later, under the same sequence.")
def not_durable_and_then_it_is(world):
    stream, qemu = fill(world)
    qemu.send(qmp("STOP"))
    paused = stream.wait_event("PAUSED")
    assert not paused.durable and world.health("journal") == "NOT_SERVING"
    assert world.health("") == "SERVING"
    live = world.watch(progress_interval={"seconds": 1})
    live.wait("a Progress passes it",
              lambda: any(m.progress.sequence >= paused.sequence for m in live.messages))
    position = max(event.sequence for event in stream.events if event.durable)
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    again = world.watch(after_sequence=position, journal_id=world.info().journal_id)
    read = again.wait_event("PAUSED")
    assert read.durable and read.sequence == paused.sequence
    kept = world.events()
    for event in stream.events:
        event.durable = True
    assert kept == stream.events
    world.restart(signal.SIGKILL)
    assert world.events()[:len(kept)] == kept


@promise("DeclareIntent",
         "UNAVAILABLE: the journal cannot be written, so that a restart would lose the intent: "
         "it was not declared, or has been withdrawn again.")
@promise("WithdrawIntent",
         "UNAVAILABLE: the journal cannot be written, so that a restart would bring the intent "
         "back; GetVm shows whether it is open until then.")
def no_intent_that_would_be_lost(world):
    fill(world)
    world.refused("UNAVAILABLE", "DeclareIntent", vm_name="vm1", actor="a", reason="r")
    world.refused("UNAVAILABLE", "WithdrawIntent", intent_id="any")
    world.empty_disk()
    wait_until("the journal can be written", lambda: world.info().journal_writable)
    wait_until("an intent can be declared", lambda: code(
        world.call("DeclareIntent", vm_name="vm1", actor="a", reason="r")) in ("OK", "ALREADY_EXISTS"))
    assert world.get().state == pb.VM_STATE_RUNNING
