"""Streams while events flow, after the cases that etcd's robustness tests have for its watches: a Progress that
overtakes events, one on a new filtered stream, and a start that is yet to come. They hold no sentence of their own:
each is of a sentence that another check holds where nothing else happens."""

import contextlib
import threading

import grpc
from promises import promise
from world import pb, qmp, wait_until

NEVER = {"vm_names": ["nobody"]}
FILTERS = {
    "all": {},
    "one VM": {"vm_names": ["b"]},
    "rare": {"types": [pb.EVENT_TYPE_POWERDOWN_REQUESTED]},
    "never": NEVER,
}


@contextlib.contextmanager
def flowing(world):
    """Two VMs whose events come as long as this lasts; what is rare comes now and then."""
    stream = world.oldest()
    qemus = {name: world.started_vm(stream, name) for name in ("a", "b")}
    over = threading.Event()

    def speak():
        turn = 0
        while not over.wait(0.005):
            turn += 1
            for qemu in qemus.values():
                qemu.send(qmp("STOP") + qmp("RESUME"))
            if turn % 25 == 0:
                qemus["a"].send(qmp("POWERDOWN"))
    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield stream
    finally:
        over.set()
        speaker.join()
        for qemu in qemus.values():
            qemu.exit()
        for name in qemus:
            stream.wait_event("STOPPED", name)


def matches(event, fields):
    return (not fields.get("vm_names") or event.vm.name in fields["vm_names"]) and (
        not fields.get("types") or event.type in fields["types"])


def judge(what, stream, fields, journal, after=0):
    """A stream has, by each Progress, every matching event after its start up to there, and none later."""
    wanted = [event.sequence for event in journal if event.sequence > after and matches(event, fields)]
    sent = []
    passed = 0
    for message in list(stream.messages):
        for event in message.events:
            assert event.sequence > max(passed, after), f"{what}: {event.sequence} after a Progress of {passed}"
            sent.append(event.sequence)
        if message.HasField("progress"):
            assert message.progress.sequence >= passed, f"{what}: a Progress goes back from {passed}"
            passed = message.progress.sequence
            expected = [sequence for sequence in wanted if sequence <= passed]
            assert sent == expected[-len(sent):] if sent else True, what
            missing = [sequence for sequence in expected if sequence not in set(sent)]
            assert not missing, f"{what}: a Progress of {passed} without {missing[:5]}"
    assert sent == wanted[:len(sent)], f"{what}: {sent[:5]}..., not {wanted[:5]}..."


def progresses(stream):
    return [message.progress.sequence for message in list(stream.messages) if message.HasField("progress")]


@promise("Progress")
def progress_overtakes_no_event(world):
    world.start()
    with flowing(world) as all_events:
        streams = {name: world.oldest(filter=fields, progress_interval={"seconds": 1})
                   for name, fields in FILTERS.items()}
        # The one that no event passes has a Progress each second, while events flow.
        streams["never"].wait("its Progress moves on", lambda: len(set(progresses(streams["never"]))) >= 3)
        all_events.wait("there is a history", lambda: len(all_events.events) > 100)
        # Those that read the whole history meanwhile.
        for number in range(8):
            name = list(FILTERS)[number % len(FILTERS)]
            streams[f"{name}, {number}"] = world.oldest(filter=FILTERS[name], progress_interval={"seconds": 1})
    journal = world.events(page_size=1000)
    assert len(journal) > 100 and [e.sequence for e in all_events.events] == [e.sequence for e in journal]
    for name, stream in streams.items():
        # An idle stream says at last that it has sent all.
        stream.wait(f"{name}: it has caught up", lambda s=stream: progresses(s)[-1:] == [journal[-1].sequence])
        judge(name, stream, FILTERS[name.partition(", ")[0]], journal)


@promise("Progress")
def the_first_progress_of_a_filtered_stream_passes_nothing(world):
    world.start()
    journal_id = world.info().journal_id
    with flowing(world) as all_events:
        all_events.wait("there is a history", lambda: len(all_events.events) > 60)
        streams = []
        for number in range(24):
            name = list(FILTERS)[number % len(FILTERS)]
            after = number * len(all_events.events) // 24
            stream = world.watch(after_sequence=after, journal_id=journal_id, filter=FILTERS[name])
            streams.append((f"{name} after {after}", stream, FILTERS[name], after))
    journal = world.events(page_size=1000)
    for what, stream, fields, after in streams:
        stream.wait(f"{what}: it has begun", lambda s=stream: s.messages)
        first = stream.messages[0]
        assert first.HasField("progress") and not first.events, what
        last = max((e.sequence for e in journal if e.sequence > after and matches(e, fields)), default=None)
        if last is not None:
            stream.wait(f"{what}: all is there", lambda s=stream, n=last: s.events and s.events[-1].sequence == n)
        judge(what, stream, fields, journal, after)


@promise("WatchEvents")
def a_start_that_is_yet_to_come(world):
    """The server refuses it, or the events have come by then: it never sends any from before the start."""
    world.start()
    journal_id = world.info().journal_id
    refused, served = 0, []
    with flowing(world) as all_events:
        all_events.wait("there is a history", lambda: len(all_events.events) > 10)
        for number in range(30):
            after = world.info().newest_sequence + number % 3
            stream = world.watch(after_sequence=after, journal_id=journal_id)
            stream.wait("it has begun or ended", lambda s=stream: s.messages or s.error)
            if stream.error:
                assert stream.wait_end() == grpc.StatusCode.OUT_OF_RANGE
                refused += 1
            else:
                served.append((after, stream))
    future = world.watch(after_sequence=world.info().newest_sequence + 1, journal_id=journal_id)
    assert future.wait_end() == grpc.StatusCode.OUT_OF_RANGE
    journal = world.events(page_size=1000)
    for after, stream in served:
        stream.wait("all is there", lambda s=stream: s.events and s.events[-1].sequence == journal[-1].sequence)
        judge(f"after {after}", stream, {}, journal, after)
    # The newest position itself is never refused.
    last = journal[-1].sequence
    stream = world.watch(after_sequence=last, journal_id=journal_id)
    wait_until("it has begun", lambda: stream.messages)
    assert stream.messages[0].progress.sequence == last and refused + len(served) == 30
