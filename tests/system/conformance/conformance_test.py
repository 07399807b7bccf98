#!/usr/bin/python3
"""Clients against a server that does all that the contract permits: the Python package vmeventd, with
threads, with asyncio and with provisional events, and `vmevents watch` with a cursor file.

  conformance_test.py --vmevents FILE

Each scenario says what the server sends, stream by stream, and what every client must make of that: which
durable events it delivers, in this order and once; how many gaps it reports; where its streams start; and
the position that it stores. Every scenario ends with the event 99.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import datetime
import json
import logging
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[3]
PACKAGE = tempfile.TemporaryDirectory()
subprocess.run([ROOT / "client/python/stubs.py", PACKAGE.name], check=True)
sys.path.insert(0, PACKAGE.name)
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position,import-error
import vmeventd  # noqa: E402
import vmeventd.aio  # noqa: E402
from misbehaving_server import (  # noqa: E402
    JOURNAL, OTHER, Crash, Fail, Server, Silence, event, events, lost, progress, snapshot_done, vms)
from patience import patience  # noqa: E402
from vmeventd.v1 import vm_events_pb2 as pb  # noqa: E402
from vmeventd.v1 import vm_events_pb2_grpc  # noqa: E402

PROGRAMS = {}
SILENCE = 120  # seconds, longer than a test without trouble takes
LAST = 99
END = [progress(90), events(LAST)]
PYTHON = ("sync", "aio", "provisional")
UNAVAILABLE = Fail(grpc.StatusCode.UNAVAILABLE)


def after(sequence, journal_id=JOURNAL):
    return (journal_id, sequence)


class Scenario:
    def __init__(self, name, streams, delivered, starts, gaps=0, start="oldest", journal=JOURNAL,
                 snapshots=(), journal_writable=(), shown=None, clients=(*PYTHON, "vmevents")):
        self.name, self.streams, self.delivered, self.starts = name, streams, delivered, starts
        self.gaps, self.start, self.journal, self.snapshots = gaps, start, journal, list(snapshots)
        self.journal_writable, self.clients = journal_writable, clients
        self.shown = delivered if shown is None else shown  # by vmevents: what is not durable as well
        # A client gives up a stream that is silent for three of them, which a busy machine may be as well.
        falls_silent = any(isinstance(step, Silence) for steps in streams for step in steps)
        self.progress_interval = 4 if falls_silent else SILENCE


SCENARIOS = [
    Scenario("shuts_down_in_the_middle",
             [[progress(0), events(1, 2), UNAVAILABLE], [progress(2), events(3), *END]],
             [1, 2, 3, 99], ["from_oldest", after(2)]),
    Scenario("crashes_and_comes_back",
             [[progress(0), events(1, 2), Crash()], [progress(2), events(3), *END]],
             [1, 2, 3, 99], ["from_oldest", after(2)]),
    Scenario("breaks_off_with_other_statuses",
             [[progress(0), events(1), Fail(grpc.StatusCode.INTERNAL)],
              [Fail(grpc.StatusCode.UNKNOWN)], [Fail(grpc.StatusCode.CANCELLED)],
              [progress(1), events(2), Fail(grpc.StatusCode.ABORTED)], END],
             [1, 2, 99], ["from_oldest", after(1), after(1), after(1), after(2)]),
    Scenario("has_no_room_at_first_and_later",
             [[Fail(grpc.StatusCode.RESOURCE_EXHAUSTED)], [Fail(grpc.StatusCode.RESOURCE_EXHAUSTED)],
              [progress(0), events(1), Fail(grpc.StatusCode.RESOURCE_EXHAUSTED)], END],
             [1, 99], ["from_oldest", "from_oldest", "from_oldest", after(1)]),
    Scenario("is_away_before_the_first_message",
             [[progress(0), events(1), UNAVAILABLE], [UNAVAILABLE], [UNAVAILABLE], END],
             [1, 99], ["from_oldest", after(1), after(1), after(1)]),
    Scenario("says_progress_only",
             [[progress(0), progress(5), progress(5), progress(9), UNAVAILABLE], END],
             [99], ["from_oldest", after(9)]),
    Scenario("leaves_out_what_the_filter_excludes",
             [[progress(0), events(3, 8), progress(20), events(21), UNAVAILABLE], [progress(40), UNAVAILABLE],
              END], [3, 8, 21, 99], ["from_oldest", after(21), after(40)]),
    Scenario("repeats_what_was_sent",
             [[progress(0), events(1, 2), UNAVAILABLE],
              [progress(0), events(1, 2, 3), events(3), events(2, 4), *END]],
             [1, 2, 3, 4, 99], ["from_oldest", after(2)]),
    Scenario("no_longer_has_the_position",
             [[progress(0), events(1, 2), UNAVAILABLE], [Fail(grpc.StatusCode.OUT_OF_RANGE)],
              [progress(49), events(50), *END]],
             [1, 2, 50, 99], ["from_oldest", after(2), "from_oldest"], gaps=1),
    Scenario("deletes_before_a_slow_client_reads",
             [[progress(0), events(1, 2), Fail(grpc.StatusCode.OUT_OF_RANGE)], [progress(49), *END]],
             [1, 2, 99], ["from_oldest", "from_oldest"], gaps=1),
    Scenario("has_another_journal_when_it_comes_back",
             [[progress(0), events(1, 2), UNAVAILABLE], [Fail(grpc.StatusCode.OUT_OF_RANGE)],
              [progress(0, OTHER), events(1, LAST)]],
             [1, 2, 1, 99], ["from_oldest", after(2), "from_oldest"], gaps=1, journal=OTHER),
    Scenario("replaces_the_journal_under_an_open_stream",
             [[progress(0), events(1, 2), progress(4, OTHER), events(5), UNAVAILABLE],
              [progress(5, OTHER), events(LAST)]],
             [1, 2, 5, 99], ["from_oldest", (OTHER, 5)], gaps=1, journal=OTHER),
    Scenario("reports_a_gap_of_the_node",
             [[progress(0), events(1, pb.Event(sequence=4, durable=True, type=pb.EVENT_TYPE_GAP)), *END]],
             [1, 4, 99], ["from_oldest"]),
    Scenario("says_later_that_an_event_is_durable",
             [[progress(0), events(1), events(event(2, False)), progress(2, durable=1),
               progress(2, durable=2), UNAVAILABLE], END],
             [1, 2, 99], ["from_oldest", after(2)], clients=("provisional", "vmevents")),
    Scenario("breaks_off_before_an_event_is_durable",
             [[progress(0), events(1, event(2, False)), progress(2, durable=1), Crash()],
              [progress(1), events(2), *END]],
             [1, 2, 99], ["from_oldest", after(1)], clients=("provisional", "vmevents")),
    Scenario("loses_events_in_a_crash",
             [[progress(0), events(1, event(2, False), event(3, False)), Crash()],
              [progress(1), events(lost(2, 49, sequence=50)), *END]],
             [1, 50, 99], ["from_oldest", after(1)], shown=[1, 2, 3, 50, 99],
             clients=("provisional", "vmevents")),
    Scenario("replaces_the_journal_with_events_that_were_not_kept",
             [[progress(0), events(1, event(2, False)), progress(3, OTHER), events(4), UNAVAILABLE],
              [progress(4, OTHER), events(LAST)]],
             [1, 4, 99], ["from_oldest", (OTHER, 4)], gaps=1, journal=OTHER,
             shown=[1, 2, 4, 99]),
    Scenario("breaks_off_a_snapshot",
             [[progress(0), vms("a", "b"), UNAVAILABLE],
              [progress(0), vms("a"), vms("c"), snapshot_done(7), events(8), UNAVAILABLE], END],
             [8, 99], ["snapshot", "snapshot", after(8)], start="snapshot", snapshots=[["a", "c"]]),
    Scenario("starts_a_snapshot_again_after_out_of_range",
             [[progress(0), vms("a"), snapshot_done(7), Fail(grpc.StatusCode.OUT_OF_RANGE)],
              [progress(0), vms("b"), snapshot_done(50), *END]],
             [99], ["snapshot", "snapshot with the stopped"], start="snapshot", gaps=1, snapshots=[["a"], ["b"]],
             clients=PYTHON),  # vmevents continues with the oldest event
    Scenario("has_types_and_fields_of_a_later_version",
             [[progress(0), events(event(1, kind=4711)),
               pb.WatchEventsResponse.FromString(b"\xfa\x7f\x03abc"), *END]],
             [1, 99], ["from_oldest"]),
    Scenario("falls_silent",
             [[progress(0), events(1), Silence()], END], [1, 99], ["from_oldest", after(1)],
             clients=PYTHON),  # vmevents waits for 30 s
]


class Outcome:
    """What a client made of a scenario, without what it took back."""

    def __init__(self):
        self.events, self.gaps, self.snapshots, self.position = [], 0, [], None

    def take(self, item):
        """Whether it was the last."""
        self.position = item.position
        if isinstance(item, vmeventd.NewEvent):
            if not item.event.durable:
                assert item.event.sequence > item.position.sequence, item
            self.events.append((item.position.journal_id, item.event.sequence))
            return item.event.sequence == LAST
        if isinstance(item, vmeventd.Rewind):
            self.events = [(journal_id, sequence) for journal_id, sequence in self.events
                           if journal_id != item.position.journal_id or sequence <= item.position.sequence]
        elif isinstance(item, vmeventd.Snapshot):
            self.snapshots.append([vm.ref.name for vm in item.vms])
        elif isinstance(item, vmeventd.Gap):
            self.gaps += 1
        return False


LOOP = asyncio.new_event_loop()


def in_loop(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(patience())


def run_sync(server, scenario, outcome, **options):
    with vmeventd.follow(server.address, start=scenario.start, progress_interval=scenario.progress_interval,
                         **options) as items:
        for item in items:
            if outcome.take(item):
                return


def run_aio(server, scenario, outcome):
    async def run():
        items = vmeventd.aio.follow(server.address, start=scenario.start,
                                    progress_interval=scenario.progress_interval)
        async with contextlib.aclosing(items):
            async for item in items:
                if outcome.take(item):
                    return
    in_loop(run())


def run_vmevents(server, scenario, outcome, directory):
    cursor, output, notes = (directory / name for name in ("cursor", "output", "notes"))
    with open(output, "wb") as out, open(notes, "wb") as err:
        server.arrived = lambda sequence: f'"sequence":"{sequence}"' in output.read_text()
        watch = subprocess.Popen(
            [PROGRAMS["vmevents"], "--server", server.address, "-o", "jsonl", "watch", "--from",
             scenario.start, "--cursor-file", cursor], stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    try:
        began = time.monotonic()
        while not cursor.exists() or f'"sequence":"{LAST}"' not in cursor.read_text():
            if time.monotonic() > began + patience() or watch.poll() is not None:
                raise AssertionError(f"vmevents: {output.read_text()}\n{notes.read_text()}")
            time.sleep(0.01)
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.wait()
    for line in output.read_text().splitlines():
        entry = json.loads(line)
        if "sequence" in entry:
            outcome.events.append((None, int(entry["sequence"])))
        else:
            outcome.snapshots.append(entry["ref"]["name"])
    outcome.snapshots = [outcome.snapshots] if outcome.snapshots else []
    outcome.gaps = notes.read_text().count("GAP:")
    (position,) = json.loads(cursor.read_text())["positions"]
    outcome.position = vmeventd.Position(position["journal_id"], int(position["sequence"]))


def long_directory(parent):
    """A directory in which no socket's path fits a Unix address."""
    directory = pathlib.Path(parent) / ("d" * 150)
    directory.mkdir()
    return directory


def await_closed(channel):
    """Until the channel has noticed that its connection is closed."""
    closed = threading.Event()

    def changed(state):
        if state is not grpc.ChannelConnectivity.READY:
            closed.set()
    channel.subscribe(changed)
    try:
        if not closed.wait(patience()):
            raise TimeoutError("the channel still takes its closed connection for an open one")
    finally:
        channel.unsubscribe(changed)


def play(scenario, client):
    """Lets a client follow the scenario's server; returns what is wrong with its result."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        server = Server(directory / "sock", scenario.streams, scenario.journal_writable,
                        long_directory(name) / "sock")
        outcome = Outcome()
        try:
            if client == "aio":
                run_aio(server, scenario, outcome)
            elif client == "vmevents":
                run_vmevents(server, scenario, outcome, directory)
            else:
                run_sync(server, scenario, outcome, provisional=client == "provisional")
        finally:
            server.close()
    expected = scenario.shown if client == "vmevents" else scenario.delivered
    return [f"{what}: {found}, not {wanted}" for what, found, wanted in (
        ("events", [sequence for _, sequence in outcome.events], expected),
        ("gaps", outcome.gaps, scenario.gaps),
        ("snapshots", outcome.snapshots, scenario.snapshots),
        ("starts", server.starts, scenario.starts),
        ("position", outcome.position, vmeventd.Position(scenario.journal, LAST))) if found != wanted]


class ConformanceTest(unittest.TestCase):
    def test_every_client_behaves_the_same_in_every_scenario(self):
        # They wait much and compute little.
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            plays = [(scenario, client, pool.submit(play, scenario, client))
                     for scenario in SCENARIOS for client in scenario.clients]
            for scenario, client, done in plays:
                with self.subTest(scenario=scenario.name, client=client):
                    self.assertEqual(done.result(), [])

    def refused(self, code):
        with tempfile.TemporaryDirectory() as name:
            server = Server(f"{name}/sock", [[progress(0), events(1), Fail(code, "not for you")]])
            try:
                with self.assertRaises(vmeventd.Refused) as raised:
                    list(vmeventd.follow(server.address, start="oldest"))
                self.assertIn("not for you", str(raised.exception))

                async def run():
                    server.script([[Fail(code)]])
                    async for _ in vmeventd.aio.follow(server.address, start="oldest"):
                        pass
                with self.assertRaises(vmeventd.Refused):
                    in_loop(run())
            finally:
                server.close()

    def test_a_refused_call_is_not_retried(self):
        for code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED,
                     grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED):
            self.refused(code)

    def test_another_thread_can_end_a_follower(self):
        with tempfile.TemporaryDirectory() as name:
            server = Server(f"{name}/sock", [[progress(0), events(1), Silence()]])
            try:
                follower = vmeventd.follow(server.address, start="oldest")
                received = threading.Event()

                def follow():
                    for item in follower:
                        if isinstance(item, vmeventd.NewEvent):
                            received.set()
                thread = threading.Thread(target=follow)
                thread.start()
                self.assertTrue(received.wait(patience()))
                follower.close()
                thread.join(patience())
                self.assertFalse(thread.is_alive())
            finally:
                server.close()

    def test_an_asyncio_iterator_closed_at_an_item_leaves_no_thread(self):
        with tempfile.TemporaryDirectory() as name:
            server = Server(f"{name}/sock", [[progress(0), events(1), Silence()]])
            before = threading.enumerate()
            try:
                async def run():
                    items = vmeventd.aio.follow(server.address, start="oldest")
                    async with contextlib.aclosing(items):
                        async for _ in items:
                            return [one for one in threading.enumerate()
                                    if one not in before and "silent" in one.name]
                waits = in_loop(run())
                self.assertEqual(len(waits), 1)
                waits[0].join(patience())
                self.assertFalse(waits[0].is_alive())
            finally:
                server.close()

    def test_a_channel_reaches_a_recreated_socket_in_a_long_directory(self):
        with tempfile.TemporaryDirectory() as name:
            directory = long_directory(name)
            address = f"unix:{directory}/sock"
            with vmeventd.Server.of(address).channel() as channel:
                stub = vm_events_pb2_grpc.VmEventServiceStub(channel)
                for number in (1, 2):
                    server = Server(f"{name}/sock{number}", [], link=directory / "sock")
                    try:
                        info = stub.GetServerInfo(pb.GetServerInfoRequest(), wait_for_ready=True,
                                                  timeout=patience())
                        self.assertTrue(info.journal_writable)
                    finally:
                        server.close()
                    # A call fails if its connection is seen to be closed too late, with wait_for_ready or without.
                    await_closed(channel)
                    shutil.rmtree(directory)
                    long_directory(name)
                    vmeventd.Server.of(address).channel().close()  # as the next attempt of a follower

    def test_a_socket_that_cannot_be_reached_by_any_address_is_named(self):
        path = "/run/" + "d" * 100 + "/" + "n" * 83
        with self.assertRaisesRegex(ValueError, f"{path}: its file name is too long .*82 fit"):
            vmeventd.Server(f"unix:{path}").channel()
        with self.assertRaises(FileNotFoundError):
            vmeventd.Server(f"unix:{path[:-1]}").channel()

    def test_a_position_is_converted_to_a_line_of_text_and_back(self):
        position = vmeventd.Position(JOURNAL, 4711)
        self.assertEqual(vmeventd.Position.parse(f"{position}\n"), position)
        for text in ("", ":1", JOURNAL, f"{JOURNAL}:", f"{JOURNAL}:-1", f"{JOURNAL}:1x"):
            with self.assertRaises(ValueError):
                vmeventd.Position.parse(text)

    def test_a_wrong_argument_is_named_in_the_error(self):
        for arguments, what in (({"start": "newest"}, "newest"), ({"progress_interval": 0.5}, "0.5"),
                                ({"start": datetime.datetime(2026, 1, 1)}, "time zone")):
            with self.assertRaisesRegex(ValueError, what):
                vmeventd.follow("unix:/nowhere", **arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vmevents", required=True)
    options, rest = parser.parse_known_args()
    PROGRAMS["vmevents"] = options.vmevents
    threading.Thread(target=LOOP.run_forever, daemon=True).start()
    logging.getLogger("vmeventd").setLevel(logging.ERROR)
    vmeventd._rules.FIRST_PAUSE = 0.01  # pylint: disable=protected-access
    unittest.main(argv=sys.argv[:1] + rest, verbosity=2)


if __name__ == "__main__":
    main()
