#!/usr/bin/python3
"""One named check for each promise of the wire contract, against the real daemon.

  contract_test.py --vmeventd FILE --fake-qemu FILE --hung-disk FILE [MODULE...]
  contract_test.py --promises       compares the checks with the contract, runs none
  contract_test.py --elsewhere --ctest FILE --build FOLDER PROGRAM...
                                    runs the tests of other suites that hold promises (elsewhere_tests.py)

Each check_*.py names, for every check, the elements of the contract that it holds (promises.py). A
field, value, method or numbered guarantee that no check names fails, and so does a check whose
element is gone. Exits with 77 where a check could not be made here.
"""

import argparse
import importlib
import pathlib
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import elsewhere_tests  # noqa: E402
import promises  # noqa: E402
import world  # noqa: E402
from elements import extract  # noqa: E402

SKIPPED = []
MODULES = sorted(path.stem for path in HERE.glob("check_*.py"))


def compare():
    """What is wrong between the contract's promises and the checks'."""
    contract, others = extract()
    held = promises.ELSEWHERE | promises.CHECKS
    known = {*contract, *((each, "") for each in others)}
    problems = [f"no check: promise({element!r}, {label!r})"
                for element, label in contract if (element, label) not in held]
    problems += [f"{', '.join(held[each])}: the contract has no {' '.join(each)}" for each in sorted(set(held) - known)]
    return problems


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
    parser.add_argument("--elsewhere", action="store_true")
    parser.add_argument("--list-elsewhere", action="store_true", help="lists them: element, file, test")
    parser.add_argument("--ctest", help="the program ctest")
    parser.add_argument("--build", help="the tree of which ctest runs the tests")
    parser.add_argument("--only", help="a check's name")
    parser.add_argument("modules", nargs="*", metavar="MODULE or PROGRAM")
    arguments = parser.parse_args()
    modules = MODULES if arguments.elsewhere or arguments.list_elsewhere else arguments.modules or MODULES
    for module in modules:
        importlib.import_module(module)
    if arguments.list_elsewhere:
        for element, file, test in elsewhere_tests.named_tests():
            print(element, file, test)
        return 0
    if arguments.elsewhere:
        return 1 if elsewhere_tests.check(arguments.modules, arguments.ctest, arguments.build) else 0
    if arguments.promises:
        problems = compare() + elsewhere_tests.problems()
        for problem in problems:
            print(problem)
        print(f"{len(promises.CHECKS | promises.ELSEWHERE)} promises, {len(problems)} problems")
        return 1 if problems else 0
    world.PROGRAMS.update(vmeventd=arguments.vmeventd, fake_qemu=arguments.fake_qemu,
                          hung_disk=arguments.hung_disk)
    if arguments.only:
        promises.FUNCTIONS[:] = [f for f in promises.FUNCTIONS if f.__name__ == arguments.only]
    failures = sum(run(module) for module in modules)
    print(f"{failures} checks failed")
    return 1 if failures else 77 if SKIPPED else 0


if __name__ == "__main__":
    sys.exit(main())
