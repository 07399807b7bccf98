#!/usr/bin/env python3
"""Runs clang-tidy on changed sources, and remembers which were clean.

  tidy.py BUILD_TREE JOBS [--since COMMIT] [--seconds SECONDS]

Checks every source that the tree compiles, or with --since those that differ from COMMIT in the
working tree. A changed header is checked through the source of the same name, or else through one that
includes it. The key of a clean source covers its content, that of the project's headers that it
includes, its command line, .clang-tidy and the installed compiler and libraries; build/tidy-cache
has one empty file for each key. After SECONDS it starts on no further source, and reports how many are left.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = ROOT / "build/tidy-cache"
DATABASE = ROOT / "build/tidy"
GCC_ALONE = re.compile(r"-Winvalid-pch -include \S+cmake_pch\.hxx |--param \S+ ")
KEEP_SECONDS = 60 * 24 * 3600  # entries unused for so long are removed
PROJECT = ("base/", "client/", "server/", "tests/", "tools/", "watcher/")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
NOISE = re.compile(r"^(\d+ warnings? generated|Suppressed |Use -header-filter|Use -system-headers)")


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


class Sources:
    """The project's files that make up a source, and their hashes."""

    def __init__(self):
        self.includes = {}
        self.hashes = {}

    def includes_of(self, path):
        if path not in self.includes:
            text = (ROOT / path).read_bytes()
            self.hashes[path] = hashlib.sha256(text).hexdigest()
            found = INCLUDE.findall(text.decode())
            # Generated code depends only on the contract.
            found = [re.sub(r"(\.grpc)?\.pb\.h$", ".proto", name) for name in found]
            found = ["proto/" + name if name.endswith(".proto") else name for name in found]
            self.includes[path] = [name for name in found if (ROOT / name).is_file()]
        return self.includes[path]

    def closure(self, path):
        """The path itself and all files of the project that it includes."""
        found = set()
        waiting = [path]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.includes_of(name))
        return found

    def key(self, path, common, command):
        digest = hashlib.sha256(common.encode())
        digest.update("\0".join(command).encode())
        for name in sorted(self.closure(path)):
            digest.update(f"\0{name}\0{self.hashes[name]}".encode())
        return digest.hexdigest()


def each_source(entries):
    """Yields an entry for each source, also of those that a unity build compiles together."""
    for entry in entries:
        unity = pathlib.Path(entry["directory"], entry["file"])
        if unity.parent.name != "Unity":
            yield entry
            continue
        for source in re.findall(r'^#include "(.*)"$', unity.read_text(), re.MULTILINE):
            command = entry["command"].replace(entry["file"], source)
            yield {**entry, "file": source, "command": command}


def compile_commands(tree):
    """Maps the project's sources to their arguments; also writes them to DATABASE for clang-tidy."""
    commands = {}
    entries = list(each_source(json.loads((tree / "compile_commands.json").read_text())))
    for entry in entries:
        # Clang cannot read GCC's precompiled headers, and each source must include what it uses.
        entry["command"] = GCC_ALONE.sub("", entry["command"])
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), ROOT)
        if path.startswith(PROJECT) and path not in commands:
            # Independent of the clone's path.
            command = entry["command"].replace(str(ROOT), "")
            commands[path] = shlex.split(command)
    DATABASE.mkdir(parents=True, exist_ok=True)
    (DATABASE / "compile_commands.json").write_text(json.dumps(entries))
    return commands


def changed_since(commit):
    changed = output_of("git", "diff", "--name-only", "--diff-filter=d", "-z", commit, "--", *PROJECT)
    new = output_of("git", "ls-files", "--others", "--exclude-standard", "-z", "--", *PROJECT)
    return {name for name in (changed + new).split("\0") if name}


def to_check(sources, commands, changed):
    """Returns the sources to check for these changed files."""
    chosen = {name for name in changed if name in commands}
    for header in sorted(name for name in changed if name.endswith(".h")):
        own = header[:-2] + ".cc"
        if own in commands:
            chosen.add(own)
            continue
        users = sorted(path for path in commands if header in sources.closure(path))
        if users and not chosen.intersection(users):
            chosen.add(users[0])
    return chosen


def toolchain():
    packages = output_of(
        "dpkg-query", "-W", "-f", "${Package} ${Version}\n", "clang-tidy*", "g++*", "lib*-dev",
        "nlohmann-json3-dev", "prometheus-cpp-dev")
    return packages + (ROOT / ".clang-tidy").read_text()


def check(path):
    """Returns clang-tidy's complaints about a source; empty if it is clean."""
    done = subprocess.run(
        ["clang-tidy", "-quiet", "-p", str(DATABASE), str(ROOT / path)],
        cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stdout.splitlines() if not NOISE.match(line)]
    return "\n".join(lines) or f"{path}: clang-tidy ended with status {done.returncode}"


def trim_cache():
    oldest = time.time() - KEEP_SECONDS
    for entry in CACHE.iterdir():
        if entry.stat().st_mtime < oldest:
            entry.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=pathlib.Path)
    parser.add_argument("jobs", type=int)
    parser.add_argument("--since", metavar="COMMIT")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds

    sources = Sources()
    commands = compile_commands(arguments.tree)
    chosen = set(commands)
    if arguments.since:
        chosen = to_check(sources, commands, changed_since(arguments.since))
    CACHE.mkdir(parents=True, exist_ok=True)
    common = toolchain()
    keys = {path: sources.key(path, common, commands[path]) for path in chosen}
    waiting = []
    # What is shipped comes first.
    for path in sorted(chosen, key=lambda name: (name.startswith("tests/"), name)):
        remembered = CACHE / keys[path]
        if remembered.exists():
            remembered.touch()
        else:
            waiting.append(path)
    print(f"clang-tidy: {len(chosen)} of {len(commands)} sources, "
          f"{len(chosen) - len(waiting)} of them known to be clean", flush=True)

    left = []

    def look(path):
        if time.monotonic() > end:
            left.append(path)
            return ""
        complaint = check(path)
        if not complaint:
            (CACHE / keys[path]).touch()
        return complaint

    complaints = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for complaint in pool.map(look, waiting):
            if complaint:
                complaints += 1
                print(complaint, flush=True)
    if left:
        print(f"clang-tidy: the time is up; {len(left)} sources were not checked")
    trim_cache()
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
