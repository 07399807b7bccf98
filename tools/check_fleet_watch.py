#!/usr/bin/env python3
"""Compares what a watch of a fleet printed with the journals of its nodes, for ./dev demo-fleet.

  check_fleet_watch.py WATCH NODE=JOURNAL...

All files have events as `vmevents -o json` prints them. Fails unless the watch has each event of every
journal once, those of a node in their order.
"""

import json
import sys


def sequences(path):
    with open(path, encoding="utf-8") as file:
        return [(event.get("node"), int(event["sequence"])) for event in map(json.loads, file)]


def main():
    watched = sequences(sys.argv[1])
    total = 0
    for argument in sys.argv[2:]:
        node, _, journal = argument.partition("=")
        expected = [sequence for _, sequence in sequences(journal)]
        seen = [sequence for name, sequence in watched if name == node]
        if seen != expected or not expected:
            sys.exit(f"{node}: its journal has the events {expected}, the watch printed {seen}")
        total += len(seen)
        print(f"{node}: {len(seen)} events, each once and in order")
    if total != len(watched):
        sys.exit(f"the watch printed {len(watched)} events, the journals have {total}")


main()
