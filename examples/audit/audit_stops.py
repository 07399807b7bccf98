#!/usr/bin/python3
"""Makes a table of who stopped which VM, from what vmevents lists. It needs Python alone.

  vmevents -o jsonl events --type stopped,gap --since 2026-06-01 --until 2026-07-01 | audit_stops.py --csv stops.csv
  vmevents -o jsonl events --type stopped,gap --since 2d | audit_stops.py --database audit.db

A database gets each stop once, however often it is given: fill it daily, and it outlives the journal's retention.
Where events are missing, the table `gaps` and standard error say so.
"""

import argparse
import contextlib
import csv
import json
import sqlite3
import sys

COLUMNS = ("time", "node", "vm", "uuid", "run_id", "class", "cause", "who", "why", "rule", "evidence", "sequence")


def who_of(shutdown):
    """Returns who ended the VM, as far as that is known."""
    if "intent" in shutdown:
        return shutdown["intent"]["actor"]
    sender = shutdown.get("sender", {})
    if sender.get("kernel"):
        return "the kernel"
    if "uid" in sender:
        return f"{sender.get('command', '')} (uid {sender.get('uid', 0)})"
    return {"USER": "the guest", "ADMIN": "the host"}.get(short(shutdown["shutdown_class"], "SHUTDOWN_CLASS_"), "")


def short(name, prefix):
    return name.removeprefix(prefix)


def row_of(event):
    vm, shutdown = event["vm"], event["shutdown"]
    return (event["observe_time"], event.get("node", ""), vm["name"], vm.get("uuid", ""), vm["run_id"],
            short(shutdown["shutdown_class"], "SHUTDOWN_CLASS_"), short(shutdown["cause"], "SHUTDOWN_CAUSE_"),
            who_of(shutdown), shutdown.get("intent", {}).get("reason", ""), shutdown["rule"],
            "; ".join(each["what"] for each in shutdown.get("evidence", [])), int(event["sequence"]))


def cell(value):
    """A spreadsheet takes a text that begins like that for a formula; a VM's name may."""
    text = str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def fill(path, stops, gaps):
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE IF NOT EXISTS stops ({names}, PRIMARY KEY (run_id))")
        database.execute("CREATE TABLE IF NOT EXISTS gaps (time, node, message, sequence,"
                         " PRIMARY KEY (node, sequence, time))")
        database.executemany(f"INSERT OR IGNORE INTO stops VALUES ({', '.join('?' * len(COLUMNS))})", stops)
        database.executemany("INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?)", gaps)


def write_csv(path, stops):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([cell(value) for value in row] for row in stops)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    into = parser.add_mutually_exclusive_group(required=True)
    into.add_argument("--csv", metavar="FILE", help="replace this file")
    into.add_argument("--database", metavar="FILE", help="add to this SQLite database")
    options = parser.parse_args()
    try:
        events = [json.loads(line) for line in sys.stdin]
        stops = [row_of(event) for event in events if event["type"] == "EVENT_TYPE_STOPPED"]
        gaps = [(event["observe_time"], event.get("node", ""), event["message"], int(event["sequence"]))
                for event in events if event["type"] == "EVENT_TYPE_GAP"]
    except (ValueError, KeyError, TypeError):
        sys.exit("audit_stops: standard input is not what `vmevents -o jsonl events` prints")
    if options.csv:
        write_csv(options.csv, stops)
    else:
        fill(options.database, stops, gaps)
    if not events:
        print("audit_stops: no events were given", file=sys.stderr)
    for time, node, message, _ in gaps:
        print(f"audit_stops: stops may be missing before {time} {node}: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
