#!/usr/bin/env python3
"""Records every event of a node's VMs: each event once, none left out.

An example of a client that follows the contract of vmeventd to the letter (the numbers in the comments
are those of the contract's list, docs/api.md). Its record is an SQLite database; a real client does its
own work instead of Record.

    follow_vms.py --server unix:/run/vmeventd/vmeventd.sock --record vms.db

It may be killed at any time, and so may vmeventd: the next start continues where the record ends.
"""

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import sys
import threading
import time

import grpc

try:
    from vmeventd.v1 import vm_events_pb2 as pb
    from vmeventd.v1 import vm_events_pb2_grpc as rpc
except ImportError as error:
    sys.exit(f"{error}: generate the stubs first and put them into PYTHONPATH, see README.md")

PROGRESS_INTERVAL = 5  # seconds between messages on an idle stream
SILENCE_LIMIT = 3 * PROGRESS_INTERVAL
CALL_TIMEOUT = 10  # of a unary call; a stream has no deadline
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
MOST_READINGS = 5  # streams from one position that check whether an event became durable

# Retrying these is useless. All other errors are retried.
FINAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
)


class Record:
    """The events and the position, in one database, so that one transaction changes both. If the
    position were stored elsewhere, a crash between the two would lose or repeat an event."""

    SCHEMA = """
        CREATE TABLE IF NOT EXISTS position (
          id INTEGER PRIMARY KEY CHECK (id = 1), journal_id TEXT, sequence INTEGER);
        CREATE TABLE IF NOT EXISTS events (
          journal_id TEXT, sequence INTEGER, type TEXT, vm TEXT, run_id TEXT, class TEXT,
          message TEXT, provisional INTEGER, PRIMARY KEY (journal_id, sequence));
        CREATE TABLE IF NOT EXISTS vms (name TEXT, run_id TEXT PRIMARY KEY, state TEXT);
        CREATE TABLE IF NOT EXISTS gaps (noticed REAL, why TEXT);
    """

    def __init__(self, path):
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + self.SCHEMA)

    @contextlib.contextmanager
    def transaction(self):
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def position(self):
        """(journal_id, sequence), or None before the first."""
        return self._db.execute("SELECT journal_id, sequence FROM position").fetchone()

    def set_position(self, journal_id, sequence):
        self._db.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?)", (journal_id, sequence))

    def clear_position(self):
        self._db.execute("DELETE FROM position")

    def add_event(self, journal_id, event):
        """Returns False if the event is there already. That happens only to events after one that was
        not durable, and after a start from the oldest event."""
        before = self._db.total_changes
        self._db.execute(
            "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (journal_id, event.sequence, name_of(pb.EventType, event.type), event.vm.name,
             event.vm.run_id, name_of(pb.ShutdownClass, getattr(event.shutdown, "class")),
             event.message, not event.durable))
        return self._db.total_changes > before

    def drop_provisional(self):
        self._db.execute("DELETE FROM events WHERE provisional")

    def set_vms(self, vms):
        self._db.execute("DELETE FROM vms")
        self._db.executemany(
            "INSERT INTO vms VALUES (?, ?, ?)",
            [(vm.ref.name, vm.ref.run_id, name_of(pb.VmState, vm.state)) for vm in vms])

    def add_gap(self, why):
        self._db.execute("INSERT INTO gaps VALUES (?, ?)", (time.time(), why))
        say(f"GAP: events may be missing: {why}")


class ReadAgain(Exception):
    """Events that were not durable can be read again: they are durable now, or lost."""


class Stream:
    """One WatchEvents call. The next call reads again what is not in the record when it ends."""

    def __init__(self, record, options):
        self._record = record
        self._options = options
        self._journal_id = None  # of the incoming events
        self._snapshot = []
        self._await_snapshot = False
        self._held_at = None  # the position stays before the first event that is not durable
        self._newest = 0  # of the received events
        self._heard = time.monotonic()
        self.answered = False

    def run(self, stub):
        call = stub.WatchEvents(self._request())
        done = threading.Event()
        threading.Thread(target=self._cancel_if_silent, args=(call, done), daemon=True).start()
        try:
            for response in call:
                self._heard = time.monotonic()
                self.answered = True
                self._take(response)
                if self._held_at is not None and self._is_durable_again(response, stub):
                    raise ReadAgain
        finally:
            done.set()
            call.cancel()

    def _request(self):
        request = pb.WatchEventsRequest()
        request.filter.vm_names.extend(self._options.vm)
        request.progress_interval.FromSeconds(PROGRESS_INTERVAL)
        with self._record.transaction():
            position = self._record.position()
            # The server sends them again as durable, or they are lost (3).
            self._record.drop_provisional()
        if position:
            self._journal_id, request.after_sequence = position  # (1)
            request.journal_id = self._journal_id
        elif self._options.start == "snapshot":
            request.snapshot = True
            self._await_snapshot = True
        else:
            request.from_oldest = True
        return request

    def _cancel_if_silent(self, call, done):
        # A dead connection may not report its end: a node without power, a firewall (6).
        while not done.wait(1):
            if time.monotonic() - self._heard > SILENCE_LIMIT:
                call.cancel()
                return

    def _take(self, response):
        added = []
        with self._record.transaction():
            if response.HasField("progress"):
                self._take_progress(response.progress)
            self._snapshot.extend(response.snapshot_vms)
            if response.HasField("snapshot_done"):
                self._record.set_vms(self._snapshot)
                self._snapshot = []
                self._await_snapshot = False
                self._move(response.snapshot_done.sequence)
            for event in response.events:
                if self._record.add_event(self._journal_id, event):
                    added.append(event)
                self._newest = event.sequence
                if not event.durable and self._held_at is None:
                    self._held_at = event.sequence - 1
                self._move(event.sequence)
        for event in added:
            show(event)

    def _take_progress(self, progress):
        if self._journal_id not in (None, progress.journal_id):
            self._record.add_gap(f"the journal was replaced by {progress.journal_id}")  # (4)
        self._journal_id = progress.journal_id
        # The first Progress of a snapshot is not a position: a crash now would leave the VMs out.
        if not self._await_snapshot:
            self._move(progress.sequence)  # (2)

    def _move(self, sequence):
        if self._held_at is not None:
            sequence = min(sequence, self._held_at)  # (3)
        self._record.set_position(self._journal_id, sequence)

    def pass_held(self):
        """Continues after an event that is still not durable though the journal works again: it is
        lost."""
        with self._record.transaction():
            self._record.add_gap(f"an event after {self._held_at} is not kept in the journal")
            self._record.set_position(self._journal_id, self._newest)

    @staticmethod
    def _is_durable_again(response, stub):
        if response.events:
            # The journal writes waiting events before new ones.
            return response.events[-1].durable
        info = stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=CALL_TIMEOUT)
        return info.journal_writable


def connect(options):
    """Opens a new channel for each stream: it reads the certificates' files again, and gRPC's pauses
    between attempts do not add to ours."""
    arguments = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    if not options.tls_ca:
        return grpc.insecure_channel(options.server, arguments)
    if options.tls_server_name:
        arguments.append(("grpc.ssl_target_name_override", options.tls_server_name))
    credentials = grpc.ssl_channel_credentials(
        read(options.tls_ca), read(options.tls_key), read(options.tls_cert))
    return grpc.secure_channel(options.server, credentials, arguments)


def follow(record, options):
    """Runs forever; returns the reason if it cannot continue."""
    pause = FIRST_PAUSE
    readings, read_from = 0, None
    while True:
        stream = Stream(record, options)
        why = "the server ended the stream"
        try:
            with connect(options) as channel:
                stream.run(rpc.VmEventServiceStub(channel))
        except ReadAgain:
            why = "events that were not durable can be read again"
            position = record.position()
            readings = readings + 1 if position == read_from else 1
            read_from = position
            if readings > MOST_READINGS:
                stream.pass_held()
        except OSError as error:  # a certificate that is being replaced
            why = str(error)
        except grpc.RpcError as error:
            why = f"{error.code().name}: {error.details()}"
            if error.code() in FINAL:
                return why
            if error.code() == grpc.StatusCode.OUT_OF_RANGE:  # (5)
                with record.transaction():
                    record.add_gap(error.details())
                    record.clear_position()
        if stream.answered:
            pause = FIRST_PAUSE
        # All clients of a restarted daemon reconnect, but not all at the same moment (6).
        wait = pause * random.uniform(0.5, 1)
        say(f"{why}; retrying in {wait:.1f} s")
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def name_of(enum, number):
    """The name of a value; a later vmeventd may have values that these stubs lack."""
    return enum.Name(number) if number in enum.values() else str(number)


def show(event):
    kind = name_of(pb.EventType, event.type).replace("EVENT_TYPE_", "")
    end = name_of(pb.ShutdownClass, getattr(event.shutdown, "class")).replace("SHUTDOWN_CLASS_", "")
    verdict = f" by {end}" if event.HasField("shutdown") else ""
    mark = "" if event.durable else " (not durable yet)"
    # repr: the name of a VM cannot control a terminal.
    print(f"{event.sequence} {kind} {event.vm.name!r}{verdict}{mark}", flush=True)


def say(text):
    print(f"follow_vms: {text}", file=sys.stderr, flush=True)


def read(path):
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()


def parse_arguments():
    parser = argparse.ArgumentParser(description="Records every event of a node's VMs.")
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock",
                        help="unix:PATH or HOST:PORT")
    parser.add_argument("--record", required=True, metavar="FILE", help="an SQLite database")
    parser.add_argument("--start", choices=("snapshot", "oldest"), default="snapshot",
                        help="where to start without a position, or after OUT_OF_RANGE")
    parser.add_argument("--vm", action="append", default=[], metavar="GLOB", help="only such VMs")
    parser.add_argument("--tls-ca", metavar="FILE", help="use TLS with a server of this CA")
    parser.add_argument("--tls-cert", metavar="FILE", help="the client's certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--tls-server-name", metavar="NAME",
                        help="the name in the server's certificate")
    return parser.parse_args()


def main():
    options = parse_arguments()
    # The record is always consistent, so there is nothing to finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    sys.exit(follow(Record(options.record), options))


if __name__ == "__main__":
    main()
