#!/usr/bin/python3 -B
"""Compares what vmeventd, ganeti-kvmd and libvirt's lifecycle events say of the same endings.

  compare.py PROGRAMS GUEST CACHE OUT [ENDING...]   boots guests, ends them, writes OUT/comparison.*
  compare.py --render OUT                           writes them again from OUT/comparison.json

PROGRAMS has vmeventd and vmevents, GUEST the image of tests/support/guest, CACHE keeps what libvirt finds
out about QEMU. Needs root, for mount namespaces, and takes some minutes. With ENDINGs only these are made.
"""

import concurrent.futures
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import machine
import observers
import report
from endings import ENDINGS

AT_A_TIME = 3  # guests
# What a killed observer has not taken in by then is lost to it.
SECONDS_BEFORE_A_RESTART = 2
QEMU_ARGUMENTS = {"plain": ("-action", "shutdown=poweroff"), "libvirt": ()}


class Comparison:
    """A machine with all observers on it."""

    def __init__(self, directory, programs, guest, cache):
        self._guest = guest
        self._watched = [directory / "kvmd", directory / "qmp"]
        nothing = directory / "empty"
        for path in (*self._watched, nothing):
            path.mkdir()
        self._libvirtd = machine.Libvirtd(directory / "libvirt", cache)
        self._observers = {
            "qmp": observers.Vmeventd(directory, "vmeventd-qmp", programs, ["--watch", f"{self._watched[1]}:*.kvmd"]),
            "kvmd": observers.Kvmd(directory, self._watched[0]),
            "libvirt": observers.Vmeventd(directory, "vmeventd-libvirt", programs,
                                          ["--watch", nothing, "--libvirt", self._libvirtd.uri]),
            "lifecycle": observers.LifecycleEvents(directory, self._libvirtd),
        }

    def start_observers(self):
        for observer in self._observers.values():
            observer.start()

    def kill_observers(self):
        for observer in self._observers.values():
            observer.kill()

    def close(self):
        for observer in self._observers.values():
            observer.close()
        self._libvirtd.close()

    def begin(self, ending, life):
        """A domain whose guest is up, and which every observer follows."""
        options = dataclasses.replace(ending.options, qemu_arguments=QEMU_ARGUMENTS[life])
        domain = machine.Domain(self._libvirtd, f"{ending.name}.{life}", options, self._guest,
                                self._watched)
        self.wait_follows(domain)
        return domain

    def wait_follows(self, domain):
        for observer in self._observers.values():
            observer.wait_follows(domain.name)

    def finish(self, domain):
        """The answers about a domain that is ending."""
        domain.wait_gone()
        answers = {key: observer.answer(domain.name) for key, observer in self._observers.items()}
        domain.unlink_sockets()
        said = "; ".join(f"{key}: {answer['said']}" for key, answer in answers.items())
        print(f"{domain.name}: {said}", flush=True)
        return answers

    def run(self, ending, life):
        domain = self.begin(ending, life)
        ending.act(domain)
        return self.finish(domain)

    def run_with_restart(self, lives):
        """Several (ending, life) at once, because the observers are killed for all of them."""
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            domains = list(pool.map(lambda one: self.begin(*one), lives))
        for (ending, _), domain in zip(lives, domains):
            ending.before(domain)
        time.sleep(SECONDS_BEFORE_A_RESTART)
        self.kill_observers()
        for (ending, _), domain in zip(lives, domains):
            ending.away(domain)
            if is_away(ending):
                domain.wait_gone()
                domain.unlink_sockets()
        self.start_observers()
        for (ending, _), domain in zip(lives, domains):
            if not is_away(ending):
                self.wait_follows(domain)
        for (ending, _), domain in zip(lives, domains):
            if not is_away(ending):
                ending.act(domain)
        return [self.finish(domain) for domain in domains]


def is_away(ending):
    return ending.act is None


def compare(directory, programs, guest, cache, endings):
    """The record."""
    comparison = Comparison(directory, programs, guest, cache)
    try:
        comparison.start_observers()
        lives = [(ending, life) for life in report.LIVES for ending in endings]
        plain = [one for one in lives if not one[0].observers_restart]
        restarted = [one for one in lives if one[0].observers_restart]
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            answers = list(pool.map(lambda one: comparison.run(*one), plain))
        for first in range(0, len(restarted), AT_A_TIME):
            answers += comparison.run_with_restart(restarted[first:first + AT_A_TIME])
    finally:
        comparison.close()
    of = {(ending.name, life): answer
          for (ending, life), answer in zip(plain + restarted, answers)}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "versions": observers.versions(programs),
        "endings": [{"title": ending.title, "truth": ending.truth,
                     "lives": {life: of[ending.name, life] for life in report.LIVES}}
                    for ending in endings],
    }


def render(out):
    record = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    (out / "comparison.md").write_text(report.markdown(record), encoding="utf-8")
    (out / "comparison.svg").write_text(report.svg(record), encoding="utf-8")
    for life, observer in report.COLUMNS:
        print(f"{report.OBSERVERS[observer]}: "
              f"right in {report.summary(report.judge(record, life, observer))}")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--render":
        render(pathlib.Path(arguments[1]))
        return 0
    if len(arguments) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    programs, guest, cache, out = (pathlib.Path(path).resolve() for path in arguments[:4])
    chosen = [ending for ending in ENDINGS if not arguments[4:] or ending.name in arguments[4:]]
    if os.geteuid() != 0:
        print("compare: must be root, for mount namespaces", file=sys.stderr)
        return 1
    # An end by SIGTERM cleans up like one by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vmeventd-compare.", dir="/tmp"))
    try:
        record = compare(directory, programs, guest, cache, chosen)
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        return 130
    except (machine.Failure, KeyError) as failure:
        print(f"compare: {failure!r}; the logs are in {directory}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    out.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    (out / "comparison.json").write_text(f"{text}\n", encoding="utf-8")
    render(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
