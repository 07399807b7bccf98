#!/usr/bin/env python3
"""Sums up the tests that ran, and compares the skipped ones with those that may be skipped.

  test_summary.py [--complete] PERMITTED JUNIT...

PERMITTED is tests/permitted_skips.txt, which explains its format; each JUNIT is output of ctest
--output-junit. The last lines are those of ctest, for all of them together. Fails if a test failed, if
one was skipped that may not be, or, --complete, if an entry matches none of the tests.
"""

import argparse
import fnmatch
import os
import re
import sys
import xml.etree.ElementTree

# A suite's output names its tests.
IN_SUITE = re.compile(r"^\[ +(OK|SKIPPED|FAILED) +\] (\S+) \(\d+ ms\)$", re.MULTILINE)
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
    """Yields the name of each test, "OK", "SKIPPED" or "FAILED", and the end of its output."""
    for case in xml.etree.ElementTree.parse(junit).getroot().iter("testcase"):
        name, output = case.get("name"), case.findtext("system-out") or ""
        if IS_CUT in output:
            sys.exit(f"{junit}: ctest cut the output of {name}, and so which of its tests were skipped")
        last = " ".join(output.strip().splitlines()[-3:])
        in_suite = [(test[2], test[1], last) for test in IN_SUITE.finditer(output)]
        if case.get("status") == "notrun" or case.find("skipped") is not None:
            yield name, "SKIPPED", last or case.find("skipped").get("message")
        elif case.get("status") != "run":
            # A program that broke off names its tests up to then.
            failed = [test for test in in_suite if test[1] == "FAILED"]
            yield from in_suite if failed else [*in_suite, (name, "FAILED", last)]
        else:
            yield from in_suite or [(name, "OK", last)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--complete", action="store_true")
    parser.add_argument("permitted")
    parser.add_argument("junit", nargs="+")
    arguments = parser.parse_args()
    entries = permitted(arguments.permitted)
    problems, failed = [], []
    names = set()
    total = 0
    for junit in arguments.junit:
        if not os.path.exists(junit):
            print(f"{junit:28} not run")
            continue
        count = {"OK": 0, "SKIPPED": 0, "FAILED": 0}
        for name, outcome, last in results(junit):
            names.add(name)
            count[outcome] += 1
            if outcome == "FAILED":
                failed.append(f"{junit}: {name}")
            if outcome == "SKIPPED" and not any(
                    counts and fnmatch.fnmatchcase(name, pattern)
                    for pattern, (_, counts) in entries.items()):
                problems.append(f"{junit}: {name} was skipped, which {arguments.permitted} does not permit: {last}")
        total += sum(count.values())
        print(f"{junit:28} {sum(count.values()):5} tests, {count['SKIPPED']} skipped, {count['FAILED']} failed")
    if arguments.complete and not failed:
        for pattern, (number, _) in entries.items():
            if not fnmatch.filter(names, pattern):
                problems.append(f"{arguments.permitted}:{number}: no test is called {pattern}")
    for problem in problems:
        print(problem)
    passed = 100 * (total - len(failed)) // total if total else 0
    print(f"\n{passed}% tests passed, {len(failed)} tests failed out of {total}")
    if failed:
        print("\nThe following tests FAILED:")
        print("\n".join(f"\t{name}" for name in failed))
    return 1 if problems or failed or not total else 0


if __name__ == "__main__":
    sys.exit(main())
