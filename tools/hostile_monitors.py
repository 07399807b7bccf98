#!/usr/bin/env python3
"""Measures how long hostile monitors delay an honest event, and what memory they take.

usage: tools/hostile_monitors.py BIN_DIR [--monitors N] [--events N] [--max-delay MS] [--max-memory MIB]

vmeventd follows an honest VM, which says STOP or RESUME each second, as often as every VM may, and from the middle
on N hostile monitors: a third floods it with events, a third begins a line of 1 MiB and never ends it, a third
sends long lines. All run as one user, so that nothing tells them apart. A delay is the time from the honest VM's
line to that of `vmevents watch`: both ways through the journal, so that the same VM alone is the floor. Exit status 1: the slowest
event but one in a hundred took longer than the floor's and --max-delay together, or the memory grew by more.
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

GREETING = (b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, '
            b'"capabilities": []}}\r\n')
ANSWERS = {"query-status": {"status": "running", "running": True}, "query-name": {},
           "query-uuid": {"UUID": "00000000-0000-0000-0000-000000000000"}, "qmp_capabilities": {}}
AT = b'"timestamp": {"seconds": 1, "microseconds": 2}'
EVENT = b'{"event": "BLOCK_IO_ERROR", "data": {"device": "hd0"}, ' + AT + b"}\r\n"
LONG = b'{"event": "BLOCK_IO_ERROR", "data": {"device": "' + b"x" * (1 << 19) + b'"}, ' + AT + b"}\r\n"
WORK = {"flood": EVENT * 500, "unfinished": b'{"event": "' + b"x" * ((1 << 20) - 100), "long": LONG}


def handshake(connection):
    connection.sendall(GREETING)
    lines = connection.makefile("rb")
    for asked in range(4):
        query = json.loads(lines.readline())
        answer = {"return": ANSWERS.get(query["execute"], []), "id": query.get("id")}
        connection.sendall(json.dumps(answer).encode() + b"\r\n")


def attack(path, kind):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)

    def serve():
        while True:
            connection, _ = listener.accept()
            try:
                handshake(connection)
                connection.sendall(WORK[kind])
                while kind != "unfinished":
                    connection.sendall(WORK[kind])
                connection.recv(1)
            except (OSError, ValueError):
                connection.close()

    threading.Thread(target=serve, daemon=True).start()


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


def hostile(directory, monitors):
    """In a process of its own, and nice: the attackers must not delay the honest VM by Python's lock or the CPU."""
    for i in range(monitors):
        attack(f"{directory}/hostile{i}.qmp", list(WORK)[i % len(WORK)])
    sys.stdin.read()


class Honest:
    def __init__(self, binaries, directory, daemon_address):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{directory}/honest.qmp")
        listener.listen(4)
        self.watch = subprocess.Popen([binaries / "vmevents", "--server", daemon_address, "-o", "json", "watch", "--from", "oldest", "--vm", "honest"],
                                      stdout=subprocess.PIPE)
        self.connection, _ = listener.accept()
        handshake(self.connection)
        self.next("STARTED")

    def next(self, event):
        for line in self.watch.stdout:
            if event in line.decode():
                return
        sys.exit("vmevents watch ended")

    def delays(self, events):
        out = []
        for i in range(events):
            name = ("STOP", "PAUSED") if i % 2 == 0 else ("RESUME", "RESUMED")
            began = time.monotonic()
            self.connection.sendall(b'{"event": "' + name[0].encode() + b'", ' + AT + b"}\r\n")
            self.next(name[1])
            out.append((time.monotonic() - began) * 1000)
            time.sleep(1.05)
        return sorted(out)


def text(delays):
    return f"half within {delays[len(delays) // 2]:.1f} ms, 99 % within {slow(delays):.1f} ms, all within {delays[-1]:.1f} ms"


def slow(delays):
    return delays[-1 - len(delays) // 100]


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--monitors", type=int, default=300)
    parser.add_argument("--events", type=int, default=60)
    parser.add_argument("--max-delay", type=float, default=50)
    parser.add_argument("--max-memory", type=float, default=64)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        return hostile(options.attack, options.monitors)
    with tempfile.TemporaryDirectory() as root:
        vms = pathlib.Path(root) / "vms"
        vms.mkdir()
        address = f"unix:{root}/run/s"
        daemon = subprocess.Popen([options.binaries / "vmeventd", "--watch", f"{vms}:*.qmp", "--listen", address, "--state-dir", f"{root}/state",
                                   "--process-tracking", "off", "--log-level", "error"])
        attackers = None
        try:
            while not pathlib.Path(f"{root}/run/s").exists():
                time.sleep(0.05)
            honest = Honest(options.binaries, vms, address)
            alone = honest.delays(options.events)
            before = resident_mib(daemon.pid)
            print(f"alone: {text(alone)}; {before:.0f} MiB", flush=True)
            attackers = subprocess.Popen(["nice", sys.executable, __file__, str(options.binaries), "--monitors", str(options.monitors), "--attack", str(vms)],
                                         stdin=subprocess.PIPE)
            beside = honest.delays(options.events)
            grown = resident_mib(daemon.pid) - before
            print(f"beside {options.monitors} hostile monitors: {text(beside)}; {grown:.0f} MiB more")
            return int(slow(beside) > slow(alone) + options.max_delay or grown > options.max_memory)
        finally:
            for process in (attackers, daemon):
                if process is not None:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    sys.exit(main())
