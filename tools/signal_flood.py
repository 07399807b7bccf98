#!/usr/bin/env python3
"""What the kernel's records of signals cost an idle vmeventd, with and without a flood of signals to others.

usage: tools/signal_flood.py VMEVENTD [SECONDS]

Starts VMEVENTD over an empty directory, and takes the CPU time that it uses in SECONDS (10): with --signal-senders
off, with the records and no signals, and while a process sends another one 10,000 SIGTERMs a second, which that
waits for. Root, for the records. Prints a row of Markdown for each.
"""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

PER_SECOND = 10_000
BATCH = 100


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def take_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while True:
        signal.sigwait({signal.SIGTERM})


def send_signals(pid, count):
    begin = time.monotonic()
    sent = 0
    while True:
        for _ in range(BATCH):
            os.kill(pid, signal.SIGTERM)
        sent += BATCH
        count.value = sent
        time.sleep(max(0.0, begin + sent / PER_SECOND - time.monotonic()))


def measure(daemon, senders, seconds, flood):
    with tempfile.TemporaryDirectory(prefix="vmeventd-flood.") as directory:
        vms = pathlib.Path(directory) / "vms"
        vms.mkdir()
        with open(f"{directory}/log", "wb") as log:
            process = subprocess.Popen(
                [daemon, "--watch", f"{vms}:*.qmp", "--listen", f"unix:{directory}/socket", "--state-dir",
                 f"{directory}/state", "--signal-senders", senders], stderr=log)
        children = []
        count = multiprocessing.Value("L", 0, lock=False)
        try:
            while not os.path.exists(f"{directory}/socket"):
                if process.poll() is not None:
                    sys.exit(pathlib.Path(directory, "log").read_text(encoding="utf-8"))
                time.sleep(0.05)
            time.sleep(1)  # its start is over
            if flood:
                children.append(multiprocessing.Process(target=take_signals))
                children[0].start()
                children.append(multiprocessing.Process(target=send_signals, args=(children[0].pid, count)))
                children[1].start()
            before = cpu_seconds(process.pid), count.value
            time.sleep(seconds)
            return cpu_seconds(process.pid) - before[0], count.value - before[1]
        finally:
            for child in reversed(children):
                child.kill()
                child.join()
            process.kill()
            process.wait()


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    seconds = int(arguments[1]) if len(arguments) == 2 else 10
    print("| records of signals | sent a second | CPU time of vmeventd |\n|---|---|---|")
    for title, senders, flood in (("`--signal-senders off`", "off", False),
                                  ("kept", "require", False),
                                  ("kept", "require", True)):
        used, sent = measure(os.path.abspath(arguments[0]), senders, seconds, flood)
        print(f"| {title} | {sent / seconds:,.0f} | {100 * used / seconds:.1f} % of a core |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
