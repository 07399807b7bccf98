#!/usr/bin/env python3
"""The AppArmor profile compiles, and permits what the documents' own settings make the service open.

  profile_test.py SOURCE_DIR

Every --listen, --watch, --libvirt and file that a document names for the system's service is looked up in
the rules. No kernel is needed: the parser expands the profile, and this program matches its file rules.
"""

import pathlib
import re
import subprocess
import sys

PARSER = ("apparmor_parser", "--skip-kernel-load", "--skip-cache")
RULE = re.compile(r"^\s*(?:(?P<deny>deny)\s+)?(?:owner\s+)?(?P<path>[/@]\S*)\s+(?P<permissions>[rwaklmixpucPUC]+)\s*,")
# What documents name for a trial, a user's own daemon or a container, which the profile does not confine.
OTHERS = re.compile(r"^/(tmp|home|x|etc/vmeventd-tls|var/lib/vmeventd-)")


def expression(path):
    """The regular expression of a path in AppArmor's own syntax, its variables expanded."""
    out = ""
    at = 0
    depth = 0
    while at < len(path):
        char = path[at]
        if path.startswith("**", at):
            # After a slash neither matches the directory itself (apparmor.d(5)).
            out += ".+" if path[at - 1] == "/" and at + 2 == len(path) else ".*"
            at += 1
        elif char == "*":
            out += "[^/]+" if path[at - 1] == "/" and path[at + 1:at + 2] in ("", "/") else "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "{":
            out += "(?:"
            depth += 1
        elif char == "}":
            out += ")"
            depth -= 1
        elif char == "," and depth:
            out += "|"
        elif char == "[":
            end = path.index("]", at)
            out += path[at:end + 1]
            at = end
        else:
            out += re.escape(char)
        at += 1
    return re.compile(out)


def variables(profile):
    """Each variable's alternatives, as braces."""
    text = subprocess.run([*PARSER, "--dump=expanded-variables", profile], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    out = {}
    for name, values in re.findall(r"^@(\w+) = (.*)$", text, re.M):
        out[name] = "{" + ",".join(value.rstrip("/") for value in re.findall(r'"([^"]*)"', values)) + "}"
    return out


def rules(profile):
    """(whether it denies, expression, permissions) of each file rule."""
    text = subprocess.run([*PARSER, "--preprocess", profile], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    known = variables(profile)
    out = []
    for line in text.splitlines():
        found = RULE.match(line)
        if not found:
            continue
        path = re.sub(r"@\{(\w+)\}", lambda name: known.get(name[1], "[^/]*"), found["path"])
        path = re.sub(r"/+", "/", path)
        out.append((found["deny"] is not None, expression(path), set(found["permissions"])))
    return out


def missing(table, path, wanted):
    """The permissions of `wanted` that the rules do not give."""
    given = set()
    for deny, pattern, permissions in table:
        if pattern.fullmatch(path):
            given = given - permissions if deny else given | permissions
    return set(wanted) - given


def needs(source):
    """(document, path, permissions) of what settings in the documents make the service open."""
    pages = [*sorted((source / "docs").glob("*.md")), source / "docs/vmeventd.8", source / "README.md",
             source / "deploy/vmeventd.conf", *sorted((source / "examples/systemd").rglob("*.conf"))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for line in text.splitlines():
            listens = "--listen" in line or re.search(r"\blisten = \[", line)
            for path in re.findall(r"unix:(/[\w./-]+)", line) if listens else []:
                yield page.name, path, "rw"
                yield page.name, path + ".lock", "rwk"
                yield page.name, path.rpartition("/")[0] + "/", "rw"
            for directory, name in re.findall(r"(/[\w./-]+):([\w.-]*\*[\w.-]*)", line):
                directory = re.sub("^/var/run/", "/run/", directory)
                yield page.name, f"{directory}/", "r"
                yield page.name, f"{directory}/{name.replace('*', 'web1')}", "rw"
                yield page.name, f"{directory}/web1.shutdown", "rw"
            for path in re.findall(r"socket=(/[^\s\"`')]+)", line):
                path = path.replace("*", "one")
                yield page.name, path, "rw"
                for pid in ("qemu/web1.pid", "qemu/run/web1.pid"):
                    yield page.name, f"{path.rpartition('/')[0]}/{pid}", "r"
            for path in re.findall(r"(?:tls-\w+|tls-client-ca)\"?(?: =|) \"?(/[\w./-]+)", line):
                yield page.name, path, "r"


def check_expressions():
    """The matching of this program, by examples of apparmor.d(5)."""
    for path, yes, no in (("/a/*", "/a/b", "/a/b/c"), ("/a/**", "/a/b/c", "/a/"), ("/a/*/", "/a/b/", "/a/b"),
                          ("/**.{kvmd,qmp} ".strip(), "/a/b.qmp", "/a/b.sock"), ("/a/b[12]", "/a/b1", "/a/b3"),
                          ("/**/", "/a/b/", "/a/b"), ("/a.b", "/a.b", "/axb")):
        assert expression(path).fullmatch(yes), (path, yes)
        assert not expression(path).fullmatch(no), (path, no)


def main():
    source = pathlib.Path(sys.argv[1])
    profile = source / "deploy/apparmor/vmeventd"
    subprocess.run([*PARSER, profile], check=True)
    check_expressions()
    table = rules(profile)
    assert missing(table, "/etc/shadow", "r") and missing(table, "/etc/vmeventd/vmeventd.conf", "w"), (
        "the profile permits what it must not")
    wanted = {need for need in needs(source) if not OTHERS.match(need[1])}
    for path in ("/run/vmeventd-all/vmeventd.sock", "/run/qemu/web1.qmp", "/run/libvirt/libvirt-sock"):
        assert any(need[1] == path for need in wanted), f"no document names {path}"
    problems = [f"{page}: {path}: the profile lacks {''.join(sorted(lacks))}"
                for page, path, permissions in sorted(wanted)
                if (lacks := missing(table, path, permissions))]
    print(f"{len(wanted)} paths of the documents, {len(table)} rules")
    return "\n".join(problems) or 0


sys.exit(main())
