#!/usr/bin/env python3
"""Compares what the hot paths cost with tools/measure/hot_paths.json: instructions, as callgrind
counts them, and the system calls of a commit and of a stop. So a path that becomes slower fails a
test, however loaded the machine is.

  hot_paths.py PROGRAM [--write]    --write: what is measured now becomes the bounds
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

BOUNDS = pathlib.Path(__file__).with_suffix(".json")
# C libraries choose their string functions by the processor, and hash seeds differ.
INSTRUCTIONS_MARGIN = 1.10
TRACED = {"commits": "20 commits of one event", "stops": "20 stops"}
TIMES = 20


def run(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"hot_paths: {' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return result.stderr


def count_instructions(program):
    """Instructions for one event, run or commit, by path."""
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory) / "out"
        run(["valgrind", "--tool=callgrind", "--instr-atstart=no",
             f"--callgrind-out-file={out}", program])
        counts = {}
        for file in out.parent.glob("out.*"):
            text = file.read_text(encoding="utf-8", errors="replace")
            name = re.search(r"^desc: Trigger: Client Request: (.*) (\d+)$", text, re.MULTILINE)
            if name:
                total = int(re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)[1])
                each = total / int(name[2])
                # The state of the C library's allocator changes some results by a tenth of an instruction.
                counts[name[1]] = round(each) if each >= 100 else round(each, 1)
    return counts


def count_system_calls(program):
    """System calls of what TRACED names, by name."""
    log = run(["valgrind", "--tool=none", "--trace-syscalls=yes", program, "--system-calls"])
    calls = {}
    for mark, what in TRACED.items():
        between = log.split(f"* {mark} begin")[1].split(f"* {mark} end")[0]
        names = re.findall(r"SYSCALL\[[^]]*\]\([^)]*\) (?:sys_)?(\w+)", between)
        calls[what] = dict(collections.Counter(names).most_common())
    return calls


def main():
    program = sys.argv[1]
    instructions = count_instructions(program)
    calls = count_system_calls(program)
    if "--write" in sys.argv:
        BOUNDS.write_text(json.dumps(
            {"instructions": instructions, "system calls": calls}, indent=2) + "\n", encoding="utf-8")
        return
    bounds = json.loads(BOUNDS.read_text(encoding="utf-8"))
    too_much = []
    for path, bound in bounds["instructions"].items():
        now = instructions.get(path, 0)
        print(f"{now:>9} instructions, {bound:>9} when they were last accepted: {path}")
        if not 0 < now <= bound * INSTRUCTIONS_MARGIN:
            too_much.append(f"{path}: {now} instructions, {now / bound:.2f} times the {bound} of "
                            "tools/measure/hot_paths.json")
    for what, accepted in bounds["system calls"].items():
        for call in sorted(set(calls[what]) | set(accepted)):
            now, bound = calls[what].get(call, 0), accepted.get(call, 0)
            print(f"{now:>9} {call}, {bound} when they were last accepted: {what}")
            # A few more may be what happens now and then.
            if now > bound + TIMES // 4:
                too_much.append(f"{what}: {now} {call}, not {bound}")
    if too_much:
        sys.exit("\nThese paths cost more than before:\n  " + "\n  ".join(too_much) +
                 "\nFind out why with callgrind_annotate. If the cost is meant, accept it: "
                 f"{sys.argv[0]} {program} --write")


if __name__ == "__main__":
    main()
