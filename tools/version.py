#!/usr/bin/env python3
"""Compares the version that files name with the one of CMakeLists.txt, the only place that is edited by hand.

  version.py           exits with 1 and lists what differs
  version.py --write   corrects the files

debian/changelog gets its entry by hand: it also says what changed.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBER = r"\d+\.\d+\.\d+"
# What stands before a version, by file.
PLACES = {
    "client/python/pyproject.toml": r'^version = "',
    "Dockerfile": r"^ARG VERSION=",
    "deploy/compose.yaml": r"vmeventd:(?=\d)|:-vmeventd:",
    "deploy/kubernetes/README.md": r"newTag: ",
    "deploy/kubernetes/base/kustomization.yaml": r"newTag: ",
    "deploy/kubernetes/components/fleet/kustomization.yaml": r"newTag: ",
    "deploy/kubernetes/components/kubevirt-hook/kustomization.yaml": r"newTag: ",
    "docs/act.md": r"vmeventd-kubevirt:",
    "docs/install.md": r"\bvmevent[ds]:",
}


def main():
    version = re.search(rf"^project\(vmeventd VERSION ({NUMBER})", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    problems = []
    for name, before in PLACES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        found = re.findall(rf"(?:{before})({NUMBER})", text, re.M)
        if not found:
            problems.append(f"{name} names no version any longer: correct tools/version.py")
        problems += [f"{name} has {each}" for each in found if each != version]
        if "--write" in sys.argv:
            path.write_text(re.sub(rf"({before}){NUMBER}", rf"\g<1>{version}", text, flags=re.M), "utf-8")
    if "--write" in sys.argv:
        return 0
    newest = re.match(r"vmeventd \((\S+)-\d+\)", (ROOT / "debian/changelog").read_text("utf-8"))[1]
    if newest != version:
        problems.append(f"debian/changelog begins with {newest}")
    if f"## [{version}]" not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        problems.append(f"CHANGELOG.md has no section {version}")
    for problem in problems:
        print(f"{problem}, and CMakeLists.txt has {version}: run tools/version.py --write")
    return 1 if problems else 0


sys.exit(main())
