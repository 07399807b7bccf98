#!/usr/bin/env python3
"""Checks that the documents name only files, headings and tests that exist.

It checks README.md, CONTRIBUTING.md and docs/: links to files of the repository and to headings of documents, and in
backticks paths below a folder of the repository and tests (`Suite.Test`, and after it on the same line `.Other` of the
same suite; both may have * in them). Decisions (docs/internals/adr/) may name files and tests that no longer
exist, but not link to them. The thread table of docs/internals/ARCHITECTURE.md has the names that the sources set,
and docs/troubleshooting.md the problem codes of the contract.
"""

import fnmatch
import glob
import os
import re
import sys

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"`([^`\n]+)`")
TEST = re.compile(r"[A-Z]\w*\*?\.[A-Z*][\w*]*")
# TEST(Suite, Name), also with its arguments on the next line.
DEFINED = re.compile(r"\b(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)")
# A suite of stories, whose tests tests/watcher/session/story_suite.h defines.
STORIES = re.compile(r"\bSTORY_SUITE\((\w+)\);")
FOLDERS = ("base", "client", "debian", "deploy", "dev", "docs", "examples", "proto", "server", "tests", "tools", "watcher")


def defined_tests():
    names = set()
    for path in [p for f in ("tests", "tools") for p in glob.glob(f"{f}/**/*.cc", recursive=True)]:
        with open(path, encoding="utf-8") as source:
            text = source.read()
            names.update(f"{suite}.{name}" for suite, name in DEFINED.findall(text))
            names.update(f"{suite}.IsJudged" for suite in STORIES.findall(text))
    return names


def anchors_of(path):
    """The anchors that GitHub gives the headings of a document."""
    with open(path, encoding="utf-8") as document:
        headings = re.findall(r"^#+ (.*)$", document.read(), re.M)
    anchors = []
    for heading in headings:
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        anchors.append(f"{anchor}-{anchors.count(anchor)}" if anchor in anchors else anchor)
    return anchors


def exists(path):
    # `server/logging/log_queue.*` and `{h,cc}` are both files of a pair.
    path = re.sub(r"\{[^}]*\}", "*", path)
    return bool(glob.glob(path))


def is_path(word):
    return "/" in word and word.split("/", 1)[0] in FOLDERS and re.fullmatch(r"[\w./*{},-]+", word)


def problems_of(path, tests):
    is_decision = path.startswith("docs/internals/adr/")
    with open(path, encoding="utf-8") as document:
        lines = document.read().splitlines()
    in_block = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            in_block = not in_block
            continue
        if in_block:
            continue
        for target, anchor in LINK.findall(line):
            if "://" in target or target.startswith("mailto:"):
                continue
            file = os.path.join(os.path.dirname(path), target) if target else path
            if not os.path.exists(file):
                yield number, f"links to {target}, which does not exist"
            elif anchor and file.endswith(".md") and anchor not in anchors_of(file):
                yield number, f"links to {target}#{anchor}, a heading that does not exist"
        if is_decision:
            continue
        suite = ""
        for word in CODE.findall(line):
            word = word.rstrip("/")
            if is_path(word) and not exists(word):
                yield number, f"names {word}, which does not exist"
            if re.fullmatch(r"\.[A-Z]\w+", word):
                word = suite + word  # `Suite.One`, `.Two`
            if TEST.fullmatch(word):
                suite = word.split(".")[0]
                if not fnmatch.filter(tests, word):
                    yield number, f"names the test {word}, which does not exist"


def thread_problems():
    """What differs between the thread table and the names that the sources set."""
    named = {"vmeventd"}  # the main thread has the program's name
    for path in [p for f in ("base", "server", "watcher") for p in glob.glob(f"{f}/**/*.cc", recursive=True)]:
        with open(path, encoding="utf-8") as source:
            named.update(re.findall(r'\bSetThreadName\("([^"]+)"\)', source.read()))
    with open("docs/internals/ARCHITECTURE.md", encoding="utf-8") as document:
        section = document.read().split("\n## Threads\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `([^`]+)`", section, re.M))
    for name in sorted(named - listed):
        yield f"the thread table does not have `{name}`"
    for name in sorted(listed - named):
        yield f"the thread table has `{name}`, a name that no source sets"


def folder_problems():
    """What differs between the table of folders and the folders of the daemon."""
    with open("docs/internals/ARCHITECTURE.md", encoding="utf-8") as document:
        listed = set(re.findall(r"^\| `((?:server|watcher)/\w+)/`", document.read(), re.M))
    folders = {os.path.dirname(path) for f in ("server", "watcher") for path in glob.glob(f"{f}/*/*.h")}
    for name in sorted(folders - listed):
        yield f"the table of folders does not have `{name}/`"
    for name in sorted(listed - folders):
        yield f"the table of folders has `{name}/`, which does not exist"


def code_problems():
    """What differs between the contract's problem codes and those in the columns `code` of docs/troubleshooting.md."""
    with open("proto/vmeventd/v1/vm_events.proto", encoding="utf-8") as contract:
        codes = set(re.findall(r"^  PROBLEM_CODE_(\w+) = ", contract.read(), re.M)) - {"UNSPECIFIED"}
    with open("docs/troubleshooting.md", encoding="utf-8") as document:
        tables = re.findall(r"(?:^\|.*\n)+", document.read(), re.M)
    listed = set()
    for table in tables:
        head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table.splitlines())
        if "code" in head:
            listed.update(code for row in rows for code in row[head.index("code")].split(", "))
    for code in sorted(codes - listed):
        yield f"no table has the problem code {code}"
    for code in sorted(listed - codes):
        yield f"a table has the problem code {code}, which the contract does not have"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    tests = defined_tests()
    documents = ["README.md", "CONTRIBUTING.md", *sorted(glob.glob("docs/**/*.md", recursive=True))]
    count = 0
    for path in documents:
        for number, problem in problems_of(path, tests):
            print(f"{path}:{number}: {problem}", file=sys.stderr)
            count += 1
    for problem in [*thread_problems(), *folder_problems()]:
        print(f"docs/internals/ARCHITECTURE.md: {problem}", file=sys.stderr)
        count += 1
    for problem in code_problems():
        print(f"docs/troubleshooting.md: {problem}", file=sys.stderr)
        count += 1
    print(f"{len(documents)} documents, {count} problems")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
