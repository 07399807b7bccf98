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
