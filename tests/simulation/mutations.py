#!/usr/bin/env python3
"""Builds defects into a copy of the tree, one switch each, and lets the simulation look for them.

usage: tests/simulation/mutations.py [--check | --units | --saved | --rules | --elsewhere | NAME...]

A defect (mutation_list.py) is a piece of a file and what it becomes. All are compiled at once, each behind a switch that an
environment variable sets, so that one build serves all. For each the simulation runs until a seed fails,
or for as long as SECONDS_A_MUTATION says (600). Without the switch nothing may fail. A defect that has no effect in the
simulation, or too seldom, names the unit test that fails with it; the simulation does not look for it unless its NAME is
given.
Then each field that is saved of a run, and each rule of the classification, is left out in turn: a unit test of the session
must fail.
Then each element of the contract that tests outside of tests/system/contract hold is left out of what is published, and
each of these tests must fail.
--check: only whether each of the pieces, and each of the unit tests, is there.
--units: only the unit tests that defects name.
--saved: only the fields that are saved. --rules: only the rules. --elsewhere: only the elements of the contract.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # of mutation_list, in the source tree

# pylint: disable=wrong-import-position
from mutation_list import MUTATIONS, PUBLISHERS, Mutation  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutations"
SAVED = "watcher/session/run_state.cc"
CLASSIFY = "watcher/session/classification.cc"
RULES = "watcher/session/classification_rules.h"
# Folders with unit tests, and their programs.
UNIT_TESTS = {"tests/watcher": "watcher_test", "tests/server": "server_test", "tests/client": "client_test"}
SECONDS = int(os.environ.get("SECONDS_A_MUTATION", "600"))
HEADER = """#pragma once
#include <cstdlib>
#include <string>
#include <string_view>
namespace vmeventd {
inline bool Mutated(std::string_view name) {
  static const char* const chosen = std::getenv("VMEVENTD_MUTATION");
  return chosen != nullptr && name == chosen;
}
// Without a field of a struct, or a rule.
inline bool Mutated(std::string_view of, std::string_view part) {
  static const bool any = std::getenv("VMEVENTD_MUTATION") != nullptr;
  return any && Mutated(std::string(of) + "." + std::string(part));
}
}  // namespace vmeventd
"""
# Leaves an element of the contract out of a message and of those in it: "MESSAGE.field" is cleared, "ENUM.VALUE" becomes
# another value.
PUBLISHER_HEADER = """#pragma once
#include <string>
#include <vector>
#include "absl/strings/string_view.h"
#include "base/mutation.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
namespace vmeventd {
inline int Published(const google::protobuf::EnumValueDescriptor* value) {
  const google::protobuf::EnumDescriptor* const of = value->type();
  if (!Mutated(of->name(), value->name())) return value->number();
  return of->value(value->index() + 1 < of->value_count() ? value->index() + 1 : 1)->number();
}
inline void LeaveOut(google::protobuf::Message* message) {
  using Field = google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection* const reflection = message->GetReflection();
  std::vector<const Field*> fields;
  reflection->ListFields(*message, &fields);
  for (const Field* field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 0;
    if (Mutated(message->GetDescriptor()->name(), field->name())) {
      reflection->ClearField(message, field);
    } else if (field->cpp_type() == Field::CPPTYPE_ENUM && !field->is_repeated()) {
      reflection->SetEnumValue(message, field, Published(reflection->GetEnum(*message, field)));
    } else if (field->cpp_type() == Field::CPPTYPE_ENUM) {
      for (int i = 0; i < count; ++i) {
        const int value = Published(reflection->GetRepeatedEnum(*message, field, i));
        reflection->SetRepeatedEnumValue(message, field, i, value);
      }
    } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE && !field->is_repeated()) {
      LeaveOut(reflection->MutableMessage(message, field));
    } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE && !field->is_map()) {
      for (int i = 0; i < count; ++i) LeaveOut(reflection->MutableRepeatedMessage(message, field, i));
    }
  }
}
template <typename Message>
Message WithoutElement(Message message) {
  LeaveOut(&message);
  return message;
}
// The reason of a failed call is a value of ErrorReason without its prefix.
inline std::string WithoutElement(absl::string_view reason) {
  return Mutated("ErrorReason", "ERROR_REASON_" + std::string(reason)) ? "OTHER" : std::string(reason);
}
}  // namespace vmeventd
"""


def mutated(text: str, mutation: Mutation) -> str:
    place = mutation.place.replace("⟦", "").replace("⟧", "")
    if text.count(place) != 1:
        sys.exit(f"{mutation.file}: the place of {mutation.name} is there {text.count(place)} times, not once")
    begin, mark, rest = mutation.place.partition("⟦")
    before, _, end = rest.partition("⟧") if mark else (mutation.place, "", "")
    begin = begin if mark else ""
    switch = f'::vmeventd::Mutated("{mutation.name}")'
    if before.endswith(";"):
        statement = f"if ({switch}) {{ {mutation.after} }} else {{ {before} }}"
        # After a condition it needs braces: an `else` may belong to either.
        if begin.rstrip().endswith(")"):
            statement = f"{{ {statement} }}"
        return text.replace(place, f"{begin}{statement}{end}")
    return text.replace(place, f"{begin}({switch} ? ({mutation.after}) : ({before})){end}")


def mutated_texts() -> dict[str, str]:
    """The files with a defect, by path, with all of them."""
    texts: dict[str, str] = {}
    for mutation in MUTATIONS:
        text = texts.get(mutation.file) or (ROOT / mutation.file).read_text()
        texts[mutation.file] = mutated(text, mutation)
    texts[SAVED] = without_saved_field(texts[SAVED])
    texts[CLASSIFY] = without_rule(texts[CLASSIFY])
    for file, place in PUBLISHERS:
        text = texts.get(file) or (ROOT / file).read_text()
        plain = place.replace("⟦", "").replace("⟧", "")
        if text.count(plain) != 1:
            sys.exit(f"{file}: {plain!r} is there {text.count(plain)} times, not once")
        texts[file] = text.replace(plain, place.replace("⟦", "::vmeventd::WithoutElement(").replace("⟧", ")"))
    return texts


def saved_fields() -> list[str]:
    """The fields of a run that are saved, as STRUCT.FIELD."""
    lists = re.findall(r"#define \w+\(F, O, S, M, R, B, N\)((?:.*\\\n)*.*)\nCONVERT\((\w+),", (ROOT / SAVED).read_text())
    return [f"{of}.{field}" for fields, of in lists for field in re.findall(r"\b[FOSMR]\((\w+)\)", fields)]


def without_saved_field(text: str) -> str:
    """The code that saves a run, with a switch for each of its fields."""
    text = re.sub(r"(#define SAVE_[FOSMR]\(field\))", r"\1 if (!::vmeventd::Mutated(kOf, #field))", text)
    return text.replace("void Save(const Struct& from, Saved* to) {",
                        "void Save(const Struct& from, Saved* to) { constexpr char kOf[] = #Struct;")


def rules() -> list[str]:
    """The rules but the last, which always holds, as rule.ID."""
    table = (ROOT / RULES).read_text().partition("constexpr Rule kTable[] = {\n")[2].partition("\n};")[0]
    named = dict(re.findall(r'constexpr char (k\w+)\[\] = "([\w-]+)";', (ROOT / CLASSIFY).with_suffix(".h").read_text()))
    ids = re.findall(r'^    \{(?:"([\w-]+)"|(k\w+)),', table, re.MULTILINE)
    return [f"rule.{text or named[constant]}" for text, constant in ids][:-1]


def without_rule(text: str) -> str:
    """The code that applies the rules, with a switch for each of them."""
    place = "while (!rule->holds(input)) ++rule;"
    if text.count(place) != 1:
        sys.exit(f"{CLASSIFY}: the place that applies the rules is there {text.count(place)} times, not once")
    return text.replace(place, 'while (!rule->holds(input) || ::vmeventd::Mutated("rule", rule->id)) ++rule;')


def file_of(unit_test: str) -> str:
    """The file of a unit test, SUITE.TEST, or of a row of a table of stories, SUITE.ROW."""
    suite, _, name = unit_test.partition(".")
    for path in (path for folder in UNIT_TESTS for path in sorted((ROOT / folder).rglob("*_test.cc"))):
        text = path.read_text()
        is_story = f"STORY_SUITE({suite});" in text and re.search(rf'^ *\{{"{name}",', text, re.MULTILINE)
        if is_story or re.search(rf"^TEST(_F|_P)?\({suite},\s+{name}\)", text, re.MULTILINE):
            return str(path.relative_to(ROOT))
    sys.exit(f"no such unit test: {unit_test}")


def copy_tree() -> None:
    texts = mutated_texts()
    COPY.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           check=True, capture_output=True, text=True).stdout.split("\0")
    publishing = {file for file, _ in PUBLISHERS}
    texts = {file: f'#include "base/{"publisher" if file in publishing else "mutation"}.h"\n{text}'
             for file, text in texts.items()}
    texts["base/mutation.h"] = HEADER
    texts["base/publisher.h"] = PUBLISHER_HEADER
    for file in filter(None, files):
        if file not in texts and (ROOT / file).exists():
            write_if_changed(COPY / file, (ROOT / file).read_bytes(), ROOT / file)
    for file, text in texts.items():
        write_if_changed(COPY / file, text.encode())


def write_if_changed(to: pathlib.Path, content: bytes, like: pathlib.Path | None = None) -> None:
    if to.exists() and to.read_bytes() == content:
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)
    if like is not None:
        shutil.copymode(like, to)


def build(target: str) -> pathlib.Path:
    environment = dict(os.environ, CCACHE_BASEDIR=str(COPY))
    tree = COPY / "build" / "release"
    if not (tree / "build.ninja").exists():
        subprocess.run(["cmake", "--preset", "release"], cwd=COPY, check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(tree), target], check=True, env=environment, stdout=subprocess.DEVNULL)
    return tree / "bin" / target


def run(simulate: pathlib.Path, name: str) -> str:
    """The first line about a seed that fails; empty: none did in time."""
    end = time.monotonic() + SECONDS
    environment = dict(os.environ, VMEVENTD_MUTATION=name)
    first = 1
    while (left := end - time.monotonic()) > 0:
        command = [simulate, "--lives", "100000000" if name else "3000", "--failures", "1", "--first",
                   str(first), "--processes", str(len(os.sched_getaffinity(0)))]
        try:
            found = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace",
                                   timeout=left, check=False).stdout
        except subprocess.TimeoutExpired:
            break
        line = next((line for line in found.splitlines() if line.startswith("seed ")), "")
        if not line or not name:
            return line
        seed = line.split()[1].rstrip(":")
        # A seed that fails without the defect as well has not found it.
        plain = subprocess.run([simulate, "--seed", seed], stdout=subprocess.DEVNULL, check=False)
        if plain.returncode == 0:
            return line
        first = int(seed) + 1
    return ""


def result_of(program: pathlib.Path, test: str, mutation: str) -> str:
    """What becomes of a unit test: "failed", "passed", "skipped" or "missing". One with several parameters has passed if none
    failed and not all were skipped."""
    patterns = [pattern.format(*test.split(".", 1)) for pattern in ("{}.{}", "*/{}.{}/*", "*/{}.*/{}")]
    done = subprocess.run([program, f"--gtest_filter={':'.join(patterns)}"], check=False, text=True, errors="replace",
                          env=dict(os.environ, VMEVENTD_MUTATION=mutation), stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    if done.returncode != 0:
        return "failed"
    return "passed" if "[       OK ]" in done.stdout else "skipped" if "[  SKIPPED ]" in done.stdout else "missing"


def look_with_unit_tests(wanted: list[tuple[str, str, str]]) -> int:
    """Each of wanted is a mutation, the file of a unit test and the test, which must fail with it.

    A test that is skipped on this machine has found nothing, and is no failure."""
    found = 0
    skipped = 0
    programs: dict[str, pathlib.Path] = {}
    for mutation, file, test in wanted:
        name = UNIT_TESTS["/".join(file.split("/")[:2])]
        if name not in programs:
            programs[name] = build(name)
        with_it = result_of(programs[name], test, mutation)
        without = result_of(programs[name], test, "") if with_it == "failed" else ""
        if with_it == "failed" and without == "passed":
            found += 1
            continue
        skipped += with_it == "skipped"
        print(f"{'skip' if with_it == 'skipped' else 'NOT '}  {mutation}: {test} {with_it}"
              + (f", and {without} without it" if without else ""), flush=True)
    print(f"{found} of {len(wanted)} unit tests fail with what they are named for"
          + (f"; {skipped} were skipped" if skipped else ""))
    return 1 if found + skipped < len(wanted) else 0


def units() -> list[tuple[str, str, str]]:
    return [(each.name, file_of(each.unit_test), each.unit_test) for each in MUTATIONS if each.unit_test]


def elements_elsewhere() -> list[tuple[str, str, str]]:
    """The elements of the contract that unit tests hold, with the file and the name of each test."""
    listed = subprocess.run([ROOT / "tests/system/contract/contract_test.py", "--list-elsewhere"],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [tuple(line.split()) for line in listed.splitlines()]
    # A method's promise is no part of a message.
    return [row for row in rows if row[1].startswith(tuple(UNIT_TESTS)) and "." in row[0]]


def look_for(watcher_test: pathlib.Path, parts: list[str], gtest_filter: str, missing: str) -> int:
    """Leaves out each of the parts; a unit test must fail."""
    def fails(part: str) -> bool:
        command = [watcher_test, "--gtest_brief=1", "--gtest_fail_fast", f"--gtest_filter={gtest_filter}"]
        environment = dict(os.environ, VMEVENTD_MUTATION=part)
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0

    if fails(""):
        sys.exit("the unit tests fail without a mutation")
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        missed = [part for part, failed in zip(parts, pool.map(fails, parts)) if not failed]
    for part in missed:
        print(f"NOT  {part}: no unit test of a session fails {missing}")
    print(f"{len(parts) - len(missed)} of {len(parts)} found")
    return 1 if missed else 0


def look_for_saved_fields() -> int:
    # RunStateTest would only find that the field is not saved, and not what that means.
    return look_for(build("watcher_test"), saved_fields(), "*VmSession*:*Story*", "if it is not saved")


def look_for_rules() -> int:
    return look_for(build("watcher_test"), rules(), "*VmSession*:*Story*:ClassificationTest.*", "without it")


def main() -> int:
    names = sys.argv[1:]
    if names == ["--check"]:
        mutated_texts()
        units()
        return 0
    if names == ["--units"]:
        copy_tree()
        return look_with_unit_tests(units())
    if names in (["--saved"], ["--rules"]):
        copy_tree()
        return look_for_saved_fields() if names == ["--saved"] else look_for_rules()
    if names == ["--elsewhere"]:
        copy_tree()
        return look_with_unit_tests(elements_elsewhere())
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [each for each in MUTATIONS if each.name in names or (not names and not each.unit_test)]
    copy_tree()
    simulate = build("simulate")
    if problem := run(simulate, ""):
        sys.exit(f"without a mutation: {problem}")
    missed = 0
    for mutation in chosen:
        begin = time.monotonic()
        found = run(simulate, mutation.name)
        missed += not found
        print(f"{'found' if found else 'NOT'}  {time.monotonic() - begin:5.0f} s  {mutation.name:40} {found}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    status = 0 if missed * 20 <= len(chosen) else 1
    if names:
        return status
    return max(status, look_with_unit_tests(units()), look_for_saved_fields(), look_for_rules(),
               look_with_unit_tests(elements_elsewhere()))


if __name__ == "__main__":
    sys.exit(main())
