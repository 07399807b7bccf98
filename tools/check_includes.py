#!/usr/bin/env python3
"""Compares the includes of every source with tools/include_rules.txt, from the root of the repository."""

import pathlib
import re
import sys

TABLE = pathlib.Path("tools/include_rules.txt")
TREES = ("base", "watcher", "server", "client")
GENERATED = re.compile(r"((vmeventd|grpc/health)/v1/\w+(\.grpc)?|google/rpc/status)\.pb\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


class Rules:
    """The table: what each folder may and may not include and exports, and the exceptions."""

    def __init__(self, text):
        self.uses = {}
        self.forbidden = {}
        self.exports = {}
        self.exceptions = {}
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            words = line.split()
            if words[0] == "except" and len(words) == 3:
                self.exceptions[words[1], words[2]] = number
            elif words[0].endswith(":"):
                self.uses[words[0][:-1]] = words[1:]
            elif len(words) > 2 and words[1] == "exports":
                self.exports[words[0]] = words[2:]
            elif len(words) > 2 and words[1] == "!":
                self.forbidden[words[0]] = words[2:]
            else:
                sys.exit(f"{TABLE}:{number}: no rule: {line}")
        self.libraries = {
            name for names in self.uses.values() for name in names if not self.is_folder(name)
        }

    @staticmethod
    def is_folder(name):
        return name.split("/")[0] in TREES

    def may_use(self, folder):
        """The folders and libraries that `folder` may use, including itself."""
        found = set()
        waiting = [folder]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            if self.is_folder(name):
                if name not in self.uses:
                    sys.exit(f"{TABLE}: the folder {name} has no rule")
                waiting.extend(self.uses[name])
        return found

    def problem(self, folder, quoted, include):
        """Why a file in `folder` may not have this include; None where it may."""
        if any(matches(include, name) for name in self.forbidden.get(folder, ())):
            return f"{folder} may not use this"
        allowed = self.may_use(folder)
        if self.is_folder(include) or include.startswith("tests/"):
            parent, _, header = include.rpartition("/")
            if parent not in allowed:
                return f"{folder} may not use {parent}"
            if parent != folder and header not in self.exports.get(parent, [header]):
                return f"{parent} exports {', '.join(self.exports[parent])} only"
            return None
        if GENERATED.fullmatch(include):
            if "generated" not in allowed:
                return f"{folder} may not use the wire contract"
            if include.endswith(".grpc.pb.h") and "grpcpp/" not in allowed:
                return f"{folder} may not use gRPC"
            return None
        if any(matches(include, name) for name in allowed):
            return None
        if quoted or any(matches(include, name) for name in self.libraries):
            return f"{folder} may not use this library"
        return None


def matches(include, name):
    return include.startswith(name) if name.endswith("/") else include == name


def main():
    rules = Rules(TABLE.read_text())
    problems = []
    needed = set()
    for tree in TREES:
        for source in sorted(pathlib.Path(tree).rglob("*")):
            if source.suffix not in (".h", ".cc"):
                continue
            path = source.as_posix()
            folder = path.rpartition("/")[0]
            for mark, include in INCLUDE.findall(source.read_text()):
                problem = rules.problem(folder, mark == '"', include)
                if problem is None:
                    continue
                if (path, include) in rules.exceptions:
                    needed.add((path, include))
                else:
                    problems.append(f"{path}: includes {include}: {problem}")
    for exception, number in rules.exceptions.items():
        if exception not in needed:
            problems.append(f"{TABLE}:{number}: the exception is not needed: {' '.join(exception)}")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
