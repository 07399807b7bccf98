#!/usr/bin/env python3
"""What ./dev nightly managers has run, as the documents tell it: docs/internals/managers.json, the column "tried with" of
docs/connect.md, and the names and versions in README.md's Status.

  managers_table.py                    compares the two documents with the file; ./dev lint does
  managers_table.py --write RESULT...  adds the results of runs to the file, and writes the column

A manager that the nightly could run and that is not in the file has "not run" in its row.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/internals/managers.json"
PAGE = ROOT / "docs/connect.md"
README = ROOT / "README.md"
# The row of each manager that the nightly runs; Podman runs vmeventd, and no VMs.
ROWS = {"ganeti": "Ganeti", "incus": "Incus, LXD", "lxd": "Incus, LXD", "nova": "OpenStack nova"}


def tried_with(results, row):
    parts = [f"{result['manager']} {result['version']} with QEMU {result['qemu']}"
             for key, result in sorted(results.items()) if ROWS.get(key) == row]
    missing = [key for key, name in ROWS.items() if name == row and key not in results]
    if not parts:
        return "not run"
    return "; ".join(parts) + "".join(f"; {key} not run" for key in missing)


def page_with(results, page):
    for row in dict.fromkeys(ROWS.values()):
        page, count = re.subn(rf"^(\| {re.escape(row)} \|.*\|) [^|]* \|$",
                              lambda match, row=row: f"{match[1]} {tried_with(results, row)} |", page, flags=re.MULTILINE)
        assert count == 1, f"docs/connect.md has not one row {row}"
    return page


def main():
    results = {result["key"]: result for result in json.loads(RESULTS.read_text(encoding="utf-8"))}
    if sys.argv[1:2] == ["--write"]:
        for path in sys.argv[2:]:
            result = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            results[result["key"]] = result
        RESULTS.write_text(json.dumps(list(results.values()), indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page_with(results, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    problems = []
    page = PAGE.read_text(encoding="utf-8")
    if page != page_with(results, page):
        problems.append("docs/connect.md: the column \"tried with\" is not that of docs/internals/managers.json: "
                        "tools/managers_table.py --write")
    status = README.read_text(encoding="utf-8").split("## Status\n")[1].split("\n## ")[0]
    for result in results.values():
        ran = f"{result['manager']} {result['version']}"
        if ran not in re.sub(r"\s+", " ", status):
            problems.append(f"README.md: its Status does not name {ran}, which was run")
    print("\n".join([*problems, f"{len(results)} managers were run, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
