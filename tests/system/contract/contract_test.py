#!/usr/bin/python3
"""One named check for each sentence of the wire contract, against the real daemon.

  contract_test.py --vmeventd FILE --fake-qemu FILE --hung-disk FILE [MODULE...]
  contract_test.py --sentences       compares the checks' sentences with the contract's, runs none

Each check_*.py names, for every check, the sentences that it holds, word for word (promise()). A
sentence of the proto that no check names fails, and so does a check whose sentence is gone: who
changes a sentence changes its check. Exits with 77 where a check could not be made here.
"""

import argparse
import importlib
import pathlib
import re
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import promises  # noqa: E402
import world  # noqa: E402
from sentences import extract  # noqa: E402

SKIPPED = []
MODULES = sorted(path.stem for path in HERE.glob("check_*.py"))


def compare_sentences():
    """What is wrong between the contract's sentences and the checks'."""
    contract = extract((ROOT / "proto/vmeventd/v1/vm_events.proto").read_text(encoding="utf-8"))
    problems = []
    seen = set()
    for sentence in contract:
        if sentence in seen:
            problems.append(f"said twice: {sentence}")
        seen.add(sentence)
        if sentence not in promises.CHECKS:
            problems.append(f"no check: promise({sentence[0]!r}, {sentence[1]!r})")
    for sentence, check in promises.CHECKS.items():
        if sentence not in seen:
            problems.append(f"{check}: the contract does not say of {sentence[0]}: {sentence[1]}")
    for sentence, test in promises.ELSEWHERE.items():
        path, _, name = test.partition(":")
        suite, _, case = name.rpartition(".")
        text = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        if not re.search(rf"\b{suite}\b", text) or not re.search(rf"\b{case}\b", text):
            problems.append(f"{sentence[0]}: {sentence[1]}: there is no test {test}")
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
            for element, sentence in check.sentences:
                print(f"      {element}: {sentence}")
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
    parser.add_argument("--sentences", action="store_true")
    parser.add_argument("--only", help="a check's name")
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args()
    for module in MODULES if arguments.sentences else arguments.modules or MODULES:
        importlib.import_module(module)
    if arguments.sentences:
        problems = compare_sentences()
        for problem in problems:
            print(problem)
        print(f"{len(promises.CHECKS)} sentences, {len(problems)} problems")
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
