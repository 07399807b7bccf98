#!/usr/bin/env python3
"""Compares the skipped tests with those that may be skipped.

  check_skips.py PERMITTED JUNIT...

PERMITTED is tests/permitted_skips.txt, which explains its format; each JUNIT is output of ctest
--output-junit. Fails if a test was skipped that may not be, or if an entry matches none of the tests.
"""

import fnmatch
import os
import re
import sys
import xml.etree.ElementTree

# A suite's output names its tests.
IN_SUITE = re.compile(r"^\[ +(OK|SKIPPED) +\] (\S+) \(\d+ ms\)$", re.MULTILINE)
IS_CUT = "test output was removed"
ENTRY = re.compile(r"(not-root )?(\S+): (\S.*)")


def permitted(path):
    """Maps the patterns of tests that may be skipped to their line and whether they apply here."""
    entries = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = ENTRY.fullmatch(line.strip())
            if match is None:
                sys.exit(f"{path}:{number}: neither 'TEST: REASON' nor 'not-root TEST: REASON'")
            entries[match[2]] = (number, match[1] is None or os.geteuid() != 0)
    return entries


def results(junit):
    """Yields each test's name, whether it was skipped, and the end of its output."""
    for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
        name, output = case.get("name"), case.findtext("system-out") or ""
        if IS_CUT in output:
            sys.exit(f"{junit}: ctest cut what {name} said, and so which of its tests were skipped")
        last = " ".join(output.strip().splitlines()[-3:])
        if case.get("status") == "notrun" or case.find("skipped") is not None:
            yield name, True, last or case.find("skipped").get("message")
        elif in_suite := list(IN_SUITE.finditer(output)):
            yield from ((test[2], test[1] == "SKIPPED", last) for test in in_suite)
        else:
            yield name, False, last


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: check_skips.py PERMITTED JUNIT...")
    path = sys.argv[1]
    entries = permitted(path)
    problems = []
    names = set()
    skips = 0
    for junit in sys.argv[2:]:
        for name, skipped, last in results(junit):
            names.add(name)
            skips += skipped
            if skipped and not any(counts and fnmatch.fnmatchcase(name, pattern)
                                   for pattern, (_, counts) in entries.items()):
                problems.append(f"{junit}: {name} was skipped, which {path} does not permit: {last}")
    for pattern, (number, _) in entries.items():
        if not fnmatch.filter(names, pattern):
            problems.append(f"{path}:{number}: no test is called {pattern}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(names)} tests, {skips} skipped, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
