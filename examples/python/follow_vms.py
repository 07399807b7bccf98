#!/usr/bin/env python3
"""Records every event of a node's VMs: each event once, none missing.

An example of a client that must lose nothing and do nothing twice. The package vmeventd follows the rules of
the contract (docs/api.md); what is left to its user is here: the work and the position in one transaction.
The record is an SQLite database; a real client does its own work instead of Record.

    follow_vms.py --server unix:/run/vmeventd/vmeventd.sock --record vms.db

It may be killed at any time, and so may vmeventd: the next start continues where the record ends.
"""

import argparse
import logging
import os
import signal
import sqlite3
import sys
import time

try:
    import vmeventd
    from vmeventd.v1 import vm_events_pb2 as pb
except ImportError as error:
    sys.exit(f"{error}: install the package python3-vmeventd, see README.md")

SAY = logging.getLogger("follow_vms")


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

    def position(self):
        """Returns the position at which the record ends. Later events were not durable: they come again, or are lost."""
        row = self._db.execute("SELECT journal_id, sequence FROM position").fetchone()
        position = vmeventd.Position(*row) if row else None
        self._take_back(position)
        return position

    def add(self, items):
        """Records items and their position in one transaction."""
        position = items[-1].position
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for item in items:
                self._add(item)
            if position:
                self._db.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?)",
                                 (position.journal_id, position.sequence))
                # Events up to here are durable by now.
                self._db.execute(
                    "UPDATE events SET provisional = 0 WHERE provisional AND journal_id = ? AND sequence <= ?",
                    (position.journal_id, position.sequence))
            else:
                self._db.execute("DELETE FROM position")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _add(self, item):
        if isinstance(item, vmeventd.NewEvent):
            event = item.event
            # After a start from the oldest event, some are there already.
            self._db.execute(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (item.position.journal_id, event.sequence, name_of(pb.EventType, event.type),
                 event.vm.name, event.vm.run_id, class_of(event), event.message, not event.durable))
        elif isinstance(item, vmeventd.Rewind):
            self._take_back(item.position)
        elif isinstance(item, vmeventd.Snapshot):
            self._db.execute("DELETE FROM vms")
            self._db.executemany(
                "INSERT INTO vms VALUES (?, ?, ?)",
                [(vm.ref.name, vm.ref.run_id, name_of(pb.VmState, vm.state)) for vm in item.vms])
        elif isinstance(item, vmeventd.Gap):
            self._db.execute("INSERT INTO gaps VALUES (?, ?)", (time.time(), item.why))
            SAY.warning("GAP: events may be missing: %s", item.why)

    def _take_back(self, position):
        if position:
            self._db.execute("DELETE FROM events WHERE journal_id = ? AND sequence > ?",
                             (position.journal_id, position.sequence))


def name_of(enum, number):
    """The name of a value; a later vmeventd may have values that these stubs lack."""
    return enum.Name(number) if number in enum.values() else str(number)


def class_of(event):
    return name_of(pb.ShutdownClass, event.shutdown.shutdown_class)


def show(event):
    kind = name_of(pb.EventType, event.type).replace("EVENT_TYPE_", "")
    verdict = f" by {class_of(event).replace('SHUTDOWN_CLASS_', '')}" if event.HasField("shutdown") else ""
    mark = "" if event.durable else " (not durable yet)"
    # repr: the name of a VM cannot control a terminal.
    print(f"{event.sequence} {kind} {event.vm.name!r}{verdict}{mark}", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Records every event of a node's VMs.")
    parser.add_argument("--server", default="unix:/run/vmeventd/vmeventd.sock",
                        help="unix:PATH or HOST:PORT")
    parser.add_argument("--record", required=True, metavar="FILE", help="SQLite database for the events and the position")
    parser.add_argument("--start", choices=("snapshot", "oldest"), default="snapshot",
                        help="where to start if there is no position, or after OUT_OF_RANGE")
    parser.add_argument("--vm", action="append", default=[], metavar="GLOB",
                        help="only VMs whose name matches; may be repeated")
    parser.add_argument("--tls-ca", metavar="FILE", help="use TLS, with this authority of the server (PEM)")
    parser.add_argument("--tls-cert", metavar="FILE", help="the client's certificate")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--tls-server-name", metavar="NAME",
                        help="the name in the server's certificate")
    return parser.parse_args()


def main():
    options = parse_arguments()
    logging.basicConfig(format="follow_vms: %(message)s")
    # The record is always consistent, so there is nothing to finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    record = Record(options.record)
    server = vmeventd.Server(options.server, options.tls_ca, options.tls_cert, options.tls_key,
                             options.tls_server_name)
    try:
        follower = vmeventd.follow(server, position=record.position(), start=options.start,
                                   filter=pb.EventFilter(vm_names=options.vm), provisional=True)
        for items in follower.batches():
            record.add(items)
            for item in items:
                if isinstance(item, vmeventd.NewEvent):
                    show(item.event)
    except vmeventd.Refused as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
