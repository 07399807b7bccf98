#!/usr/bin/env python3
"""Compares the tests that were skipped with those that may be.

  check_skips.py PERMITTED JUNIT...

PERMITTED is tests/permitted_skips.txt, which says what its lines are; each JUNIT is what ctest
--output-junit wrote. Fails where a test was skipped that may not be, and where an entry names no
test of all these.
"""

import fnmatch
import os
import re
import sys
import xml.etree.ElementTree

ENTRY = re.compile(r"(not-root )?(\S+): (\S.*)")


def permitted(path):
    """Patterns of tests that may be skipped, to the line where each is and whether it counts here."""
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


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: check_skips.py PERMITTED JUNIT...")
    path = sys.argv[1]
    entries = permitted(path)
    problems = []
    names = set()
    skips = 0
    for junit in sys.argv[2:]:
        for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
            name = case.get("name")
            names.add(name)
            if case.get("status") != "notrun" and case.find("skipped") is None:
                continue
            skips += 1
            if not any(counts and fnmatch.fnmatchcase(name, pattern)
                       for pattern, (_, counts) in entries.items()):
                output = (case.findtext("system-out") or "").strip().splitlines()
                problems.append(f"{junit}: {name} was skipped, which {path} does not permit: "
                                f"{' '.join(output[-3:]) or case.find('skipped').get('message')}")
    for pattern, (number, _) in entries.items():
        if not fnmatch.filter(names, pattern):
            problems.append(f"{path}:{number}: no test is called {pattern}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(names)} tests, {skips} skipped, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
