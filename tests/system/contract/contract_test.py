#!/usr/bin/python3
"""One named check for each promise of the wire contract, against the real daemon.

  contract_test.py --vmeventd FILE --fake-qemu FILE --hung-disk FILE [MODULE...]
  contract_test.py --promises       compares the checks with the contract, runs none
  contract_test.py --elsewhere PROGRAM...   finds the tests of other suites that hold promises in their programs

Each check_*.py names, for every check, the elements of the contract that it holds (promises.py). A
field, value, method or numbered guarantee that no check names fails, and so does a check whose
element is gone. Exits with 77 where a check could not be made here.
"""

import argparse
import importlib
import pathlib
import re
import subprocess
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import promises  # noqa: E402
import world  # noqa: E402
from elements import extract  # noqa: E402

SKIPPED = []
MODULES = sorted(path.stem for path in HERE.glob("check_*.py"))


def compare():
    """What is wrong between the contract's promises and the checks'."""
    contract, others = extract()
    known = {*contract, *((each, "") for each in others)}
    problems = [f"no check: promise({element!r}, {label!r})"
                for element, label in contract if (element, label) not in promises.CHECKS]
    problems += [f"{', '.join(promises.CHECKS[each])}: the contract has no {' '.join(each)}"
                 for each in sorted(set(promises.CHECKS) - known)]
    return problems


def spellings(value):
    """How tests may write a value of an enumeration: as the contract, as C++ of the watcher, or without its prefix."""
    enumeration, _, name = value.partition(".")
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enumeration).upper() + "_"
    short = name.removeprefix(prefix)
    return name, short, "k" + "".join(word.capitalize() for word in short.split("_"))


def unnamed_elsewhere():
    """The values of enumerations whose test in another suite stands in a file that never names them."""
    found = []
    for (element, _), test in promises.ELSEWHERE.items():
        text = (ROOT / test.partition(":")[0]).read_text()
        if re.fullmatch(r"\w+\.[A-Z0-9_]+", element) and not any(one in text for one in spellings(element)):
            found.append(f"{test}: its file does not name {element}")
    return found


def tests_of(program):
    """The tests of a program that ctest runs, without instances: a parameter that has a name is a test, too."""
    listed = subprocess.run([program, "--gtest_list_tests"], check=True, capture_output=True, text=True).stdout
    suite = ""
    for line in listed.splitlines():
        name = line.partition("#")[0].strip()
        if not line.startswith(" "):
            suite = name.rstrip(".").rpartition("/")[2]
        elif "DISABLED_" not in suite + name:
            yield from (f"{suite}.{part}" for part in name.split("/"))


def missing_elsewhere(programs):
    """Prints the tests that promises name outside of this suite and that no program has; how many they are."""
    there = {test for program in programs for test in tests_of(program)}
    missing = sorted({test.partition(":")[2] for test in promises.ELSEWHERE.values()} - there)
    for test in missing:
        print(f"no program has {test}")
    return len(missing)


def run(module):
    """Runs the checks of a module; how many fail."""
    failures = 0
    for check in [check for check in promises.FUNCTIONS if check.__module__ == module]:
        scene = world.World()
        try:
            check(scene)
            print(f"ok    {check.__name__}", flush=True)
        except world.Impossible as reason:
            SKIPPED.append(check.__name__)
            print(f"skip  {check.__name__}: {reason}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failures += 1
            print(f"FAIL  {check.__name__}", flush=True)
            print("      " + "; ".join(" ".join(each).strip() for each in check.promises))
            traceback.print_exc(file=sys.stdout)
            print("the daemon's log:\n" + (scene.log() if (scene.path / "log").exists() else ""))
        finally:
            scene.close()
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vmeventd")
    parser.add_argument("--fake-qemu")
    parser.add_argument("--hung-disk", help="the library of tests/support/hung_disk.cc")
    parser.add_argument("--promises", action="store_true")
    parser.add_argument("--elsewhere", nargs="+", metavar="PROGRAM")
    parser.add_argument("--only", help="a check's name")
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()
    for module in arguments.modules or MODULES:
        importlib.import_module(module)
    if arguments.elsewhere:
        missing = missing_elsewhere(arguments.elsewhere)
        print(f"{len(promises.ELSEWHERE)} promises elsewhere, {missing} tests are missing")
        return 1 if missing else 0
    if arguments.promises:
        problems = compare() + unnamed_elsewhere()
        for problem in problems:
            print(problem)
        print(f"{len(promises.CHECKS)} promises, {len(problems)} problems")
        return 1 if problems else 0
    world.PROGRAMS.update(vmeventd=arguments.vmeventd, fake_qemu=arguments.fake_qemu,
                          hung_disk=arguments.hung_disk)
    if arguments.only:
        promises.FUNCTIONS[:] = [f for f in promises.FUNCTIONS if f.__name__ == arguments.only]
    failures = sum(run(module) for module in arguments.modules or MODULES)
    print(f"{failures} checks failed")
    return 1 if failures else 77 if SKIPPED else 0


if __name__ == "__main__":
    sys.exit(main())
