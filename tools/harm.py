#!/usr/bin/env python3
"""Counts the QEMUs that hang in their exit, with vmeventd next to them and without it.

usage: tools/harm.py BIN_DIR [--rounds N] [--phase NAME]... [--parallel N] [--seed N] [--no-control]

A QEMU from 5.2 on may hang for ever in its exit over commands that come close to each other (docs/internals/qemu.md). In
each phase N real QEMUs (-machine none) end while vmeventd does what the phase is named after, and as many
without vmeventd:

  start    SIGTERM within 60 ms of QEMU's start, while vmeventd attaches it
  restart  SIGTERM within 120 ms of vmeventd's start, while it attaches a running QEMU again
  stop     another client's quit, or SIGTERM, while vmeventd follows it
  pause    another client's stop, and with its answer SIGTERM or that client's quit

One that has not exited after 15 s hangs; it is killed and counted. Exit status 1: one hung next to vmeventd, or a phase
shows nothing: vmeventd has not followed all QEMUs of the phases stop and pause, or none of another phase.
"""

import argparse
import concurrent.futures
import functools
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

QEMU = "qemu-system-x86_64"
HANGS_AFTER = 15
PATIENCE = 30
RESTART_BATCH = 10  # QEMUs that one restart of vmeventd attaches


class Client:
    """The monitor of a manager."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.execute("qmp_capabilities")

    def send(self, command):
        self.socket.sendall(json.dumps({"execute": command}).encode() + b"\n")

    def execute(self, command):
        self.send(command)
        while True:
            line = self.lines.readline()
            if not line or b'"return"' in line or b'"error"' in line:
                return

    def close(self):
        self.lines.close()
        self.socket.close()


class Qemu:
    """A real QEMU with a monitor for vmeventd and one for a manager."""

    def __init__(self, directory, name):
        self.paths = [directory / f"{name}.kvmd", directory / f"{name}.qmp"]
        self.process = subprocess.Popen(
            [QEMU, "-name", name, "-machine", "none", "-nodefaults", "-display", "none",
             *(word for path in self.paths for word in ("-qmp", f"unix:{path},server=on,wait=off"))],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def manager(self):
        for _ in range(PATIENCE * 1000):
            try:
                return Client(self.paths[1])
            except OSError:
                time.sleep(0.001)
        raise SystemExit(f"harm: no monitor at {self.paths[1]}")

    def hangs(self):
        """Whether it does not exit. It is gone afterwards, and so are its sockets."""
        try:
            self.process.wait(HANGS_AFTER)
            hung = False
        except subprocess.TimeoutExpired:
            hung = True
            self.tell_where()
            self.process.kill()
            self.process.wait()
        for path in self.paths:
            path.unlink(missing_ok=True)
        return hung

    def tell_where(self):
        """Prints in which system call each of its threads waits."""
        for task in sorted(pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()):
            where = " ".join((task / name).read_text().strip() for name in ("comm", "wchan", "syscall"))
            print(f"hangs: {self.process.args[2]}, thread {task.name}: {where}", file=sys.stderr, flush=True)


class Watch:
    """vmeventd, from `programs`, on a directory; without programs, nobody."""

    def __init__(self, programs, directory):
        self.programs = programs
        self.directory = directory
        self.process = None
        self.log = open(directory / "log", "ab")  # closed with the process

    def start(self):
        if self.programs is None:
            return
        self.process = subprocess.Popen(
            [self.programs / "vmeventd", f"--watch={self.directory}:*.kvmd", f"--listen=unix:{self.directory}/api.sock",
             f"--state-dir={self.directory}/state"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def wait_until_it_listens(self):
        socket_path = self.directory / "api.sock"
        for _ in range(PATIENCE * 1000 if self.programs else 0):
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(socket_path))
                return
            except OSError:
                time.sleep(0.001)

    def ask(self, *command):
        """The objects that vmevents prints. None: it has no answer."""
        done = subprocess.run([self.programs / "vmevents", "--server", f"unix:{self.directory}/api.sock", "-o", "json", *command],
                              check=False, capture_output=True, text=True)
        return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else None

    def wait_until_attached(self, name):
        """Waits until the VM has answered all first questions."""
        end = time.monotonic() + PATIENCE
        while self.programs is not None and not any(vm["attached"] for vm in self.ask("vms", name) or ()):
            if time.monotonic() > end:
                raise SystemExit(f"harm: vmeventd has not attached {name}; its log:\n{(self.directory / 'log').read_text()}")

    def followed(self):
        """Returns the number of VMs that it has followed."""
        if self.programs is None:
            return 0
        events = self.ask("events", "--type", "started")
        if events is None:
            raise SystemExit(f"harm: vmeventd does not list its events; its log:\n{(self.directory / 'log').read_text()}")
        return len(events)


def starts(watch, name, dice):
    qemu = Qemu(watch.directory, name)
    # SIGTERM takes its usual course once QEMU has its handler; before that it is only killed.
    while qemu.process.poll() is None and not qemu.paths[0].exists():
        time.sleep(0.0005)
    time.sleep(dice.uniform(0, 0.06))
    qemu.process.send_signal(signal.SIGTERM)
    return [qemu.hangs()]


def restarts(watch, name, dice):
    watch.kill()
    qemus = [Qemu(watch.directory, f"{name}-{i}") for i in range(RESTART_BATCH)]
    for qemu in qemus:
        qemu.manager().close()
    watch.start()
    # vmeventd attaches QEMUs once it has opened its journal and listens.
    watch.wait_until_it_listens()
    began = time.monotonic()
    for at, qemu in sorted(((dice.uniform(0, 0.12), qemu) for qemu in qemus), key=lambda pair: pair[0]):
        time.sleep(max(0.0, began + at - time.monotonic()))
        qemu.process.send_signal(signal.SIGTERM)
    return [qemu.hangs() for qemu in qemus]


def ends_while_followed(watch, name, dice, pause):
    qemu = Qemu(watch.directory, name)
    manager = qemu.manager()
    watch.wait_until_attached(name)
    if pause:
        manager.execute("stop")
    else:
        time.sleep(dice.uniform(0, 0.02))
    if dice.random() < 0.5:
        manager.send("quit")
    else:
        qemu.process.send_signal(signal.SIGTERM)
    hung = qemu.hangs()
    manager.close()
    return [hung]


PHASES = {"start": starts, "restart": restarts, "stop": functools.partial(ends_while_followed, pause=False),
          "pause": functools.partial(ends_while_followed, pause=True)}


def too_few(phase, done, followed):
    """Whether vmeventd has followed too few of a phase's QEMUs for their ends to show anything."""
    return followed < (done if phase in ("stop", "pause") else 1)


def run_share(phase, programs, rounds, seed):
    """`rounds` ends of one phase, one after the other: how many that were, hung, and were followed."""
    dice = random.Random(seed)
    hung = done = 0
    with tempfile.TemporaryDirectory(prefix="harm.") as directory:
        watch = Watch(programs, pathlib.Path(directory))
        try:
            if phase != "restart":
                watch.start()
                watch.wait_until_it_listens()
            while done < rounds:
                for one in PHASES[phase](watch, f"vm{done}", dice):
                    done += 1
                    hung += one
            followed = watch.followed()
        finally:
            watch.kill()
            watch.log.close()
    return done, hung, followed


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bin_dir", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=1000, help="number of QEMUs that end in each phase (default: 1000)")
    parser.add_argument("--phase", action="append", choices=list(PHASES), help="run only this phase; may be repeated")
    parser.add_argument("--parallel", type=int, default=2, help="number of QEMUs at a time (default: 2)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-control", action="store_true", help="do not repeat the phases without vmeventd")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    for program in ("vmeventd", "vmevents"):
        if not (arguments.bin_dir / program).exists():
            raise SystemExit(f"harm: no program {arguments.bin_dir / program}; build it with ./dev build")
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    print(f"{version}; at most {arguments.parallel} at a time, seed {arguments.seed}")
    print(f"{'phase':<8} {'vmeventd':<8} {'QEMUs':>6} {'followed':>8} {'hung':>5}", flush=True)
    failed = False
    for phase in arguments.phase or PHASES:
        for programs in (arguments.bin_dir,) if arguments.no_control else (arguments.bin_dir, None):
            shares = [arguments.rounds // arguments.parallel + (i < arguments.rounds % arguments.parallel)
                      for i in range(arguments.parallel)]
            with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as pool:
                results = list(pool.map(
                    lambda i, n, phase=phase, programs=programs: run_share(phase, programs, n, f"{arguments.seed} {phase} {i}"),
                    range(arguments.parallel), shares))
            done, hung, followed = (sum(column) for column in zip(*results))
            print(f"{phase:<8} {'runs' if programs else 'none':<8} {done:>6} {followed:>8} {hung:>5}", flush=True)
            if programs and too_few(phase, done, followed):
                print(f"harm: vmeventd has followed only {followed} of {done}", file=sys.stderr, flush=True)
                failed = True
            failed = failed or bool(programs and hung)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
