"""The tests of other suites that hold promises: whether they are what a promise needs, and whether they pass."""

import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import promises

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

# pylint: disable=wrong-import-position
from test_summary import permitted  # noqa: E402

STORY = ROOT / "tests/watcher/session/story.cc"
VALUE = re.compile(r"\w+\.[A-Z0-9_]+")
FIELD = re.compile(r"\w+\.([a-z0-9_]+)")


def named_tests():
    """(element, "FILE", "SUITE.TEST") of each entry of ELSEWHERE."""
    for (element, _), tests in promises.ELSEWHERE.items():
        for test in tests:
            file, _, name = test.partition(":")
            yield element, file, name


def spellings(value):
    """How tests may write a value of an enumeration: as the contract, as C++ of the watcher, or without its prefix."""
    enumeration, _, name = value.partition(".")
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enumeration).upper() + "_"
    short = name.removeprefix(prefix)
    return name, short, "k" + "".join(word.capitalize() for word in short.split("_"))


def has_word(words, text):
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def story_row(text, name):
    """A row of a table of stories in a file's text; None where it has none of that name."""
    suite, _, row = name.partition(".")
    if f"STORY_SUITE({suite});" not in text:
        return None
    match = re.search(rf'^ *\{{"{row}",.*?\}},?$', text, re.MULTILINE | re.DOTALL)
    return match and match[0]


def verdict_words(field):
    """The words of a story's verdict whose rows in story.cc look at a field of the end."""
    table = STORY.read_text().partition("Expectation kExpectations[] = {")[2].partition("\n};")[0]
    rows = re.split(r'^ *\{"(\w+)",', table, flags=re.MULTILINE)
    return [word for word, code in zip(rows[1::2], rows[2::2]) if re.search(rf"\.{field}\(\)", code)]


def problem_of(element, file, name):
    """What is wrong with one entry; None if it can hold its promise."""
    text = (ROOT / file).read_text()
    suite, _, test = name.partition(".")
    row = story_row(text, name)
    if row is None and not re.search(rf"^TEST(_F|_P)?\({suite},\s*{test}\)", text, re.MULTILINE):
        return "the file has no such test"
    field = FIELD.fullmatch(element)
    if VALUE.fullmatch(element) and not has_word(spellings(element), row or text):
        return f"it does not name {element}"
    if field and row and not has_word(verdict_words(field[1]), row):
        return f"its verdict does not look at {element}"
    if field and not row and not has_word([field[1], f"has_{field[1]}", f"set_{field[1]}"], text):
        return f"it does not name {element}"
    return None


def problems():
    """Entries whose file lacks the test, whose test cannot hold its promise, or that a check holds already."""
    found = [f"{file}:{name}: {problem}" for element, file, name in named_tests()
             if (problem := problem_of(element, file, name))]
    return found + [f"{' '.join(each)}: has the checks {', '.join(promises.CHECKS[each])}; drop its test elsewhere"
                    for each in sorted(set(promises.ELSEWHERE) & set(promises.CHECKS))]


def instances(program):
    """The full names of a program's tests that are not disabled."""
    listed = subprocess.run([program, "--gtest_list_tests"], check=True, capture_output=True, text=True).stdout
    suite = ""
    for line in listed.splitlines():
        name = line.partition("#")[0].strip()
        if not line.startswith(" "):
            suite = name
        elif "DISABLED_" not in suite + name:
            yield suite + name


def is_instance(full, name):
    """Whether a full name, INSTANCE/SUITE.TEST/PARAMETER, is of SUITE.TEST; a story is its parameter."""
    suite, _, test = full.partition(".")
    return any(f"{suite.rpartition('/')[2]}.{part}" == name for part in test.split("/"))


def selects(gtest_filter, full):
    """Whether --gtest_filter=FILTER runs a test."""
    wanted, _, unwanted = gtest_filter.partition("-")
    return (any(fnmatch.fnmatchcase(full, pattern) for pattern in (wanted or "*").split(":")) and
            not any(fnmatch.fnmatchcase(full, pattern) for pattern in unwanted.split(":")))


def run(program, tests):
    """Runs tests by their full names. Yields the name of each, and "OK", "SKIPPED" or "FAILED"."""
    with tempfile.TemporaryDirectory() as directory:
        report = pathlib.Path(directory) / "report.json"
        command = [program, f"--gtest_filter={':'.join(tests)}", f"--gtest_output=json:{report}"]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace")
        # A program that broke off has written no report.
        suites = json.loads(report.read_text())["testsuites"] if report.exists() else []
    results = {f"{suite['name']}.{test['name']}": "FAILED" if "failures" in test else
               "SKIPPED" if test["result"] == "SKIPPED" else "OK" for suite in suites for test in suite["testsuite"]}
    if done.returncode != 0:
        print(done.stdout)
    for test in tests:
        yield test, results.get(test, "FAILED")


def run_by_ctest(ctest, build):
    """The full names of all tests that ctest runs in this tree by itself, in the tiers of ./dev test --all."""
    listed = subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True, capture_output=True,
                            text=True)
    filters = {}
    for test in json.loads(listed.stdout)["tests"]:
        labels = next((each["value"] for each in test["properties"] if each["name"] == "LABELS"), [])
        gtest_filter = [argument for argument in test.get("command", []) if argument.startswith("--gtest_filter=")]
        if gtest_filter and {"quick", "all"} & set(labels):
            filters.setdefault(test["command"][0], []).append(gtest_filter[0].partition("=")[2])
    return [full for program, each in filters.items() for full in instances(program)
            if any(selects(one, full) for one in each)]


def check(programs, ctest, build):
    """Runs the tests that promises name, and looks for those of tests/system, which take minutes, among the tests that
    ctest runs. How many names are missing, failed, or were skipped without leave."""
    failures = 0
    names = {name: file for _, file, name in named_tests()}
    own = {name for name, file in names.items() if not file.startswith("tests/system/")}
    by_ctest = run_by_ctest(ctest, build)
    for name in sorted(set(names) - own):
        if not any(is_instance(full, name) for full in by_ctest):
            failures += 1
            print(f"missing  {name}: ctest runs it in no tier of ./dev test --all")
    results = {}
    for program in programs:
        tests = [full for full in instances(program) if any(is_instance(full, name) for name in own)]
        if tests:
            results.update(run(program, tests))
    may_skip = [pattern for pattern, (_, applies) in permitted(ROOT / "tests/permitted_skips.txt").items() if applies]
    for name in sorted(own):
        ran = {full: result for full, result in results.items() if is_instance(full, name)}
        bad = [f"{result} {full}" for full, result in ran.items() if result == "FAILED" or (
            result == "SKIPPED" and not any(fnmatch.fnmatchcase(full, pattern) for pattern in may_skip))]
        if not ran or bad:
            failures += 1
            print(f"missing  {name}: no program has it" if not ran else "; ".join(bad))
        elif "SKIPPED" in ran.values():
            print(f"skip  {name}: tests/permitted_skips.txt says why")
    print(f"{len(own)} tests ran, {len(names) - len(own)} more are ctest's own; {failures} are missing or failed")
    return failures
