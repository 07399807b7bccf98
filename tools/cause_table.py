#!/usr/bin/env python3
"""The table of causes in docs/answers.md. Its columns class, cause and what happened come from the contract and from the
rules in docs/internals/classification.md; its column "look at" is written by hand.

  cause_table.py           compares the table with both; ./dev lint does
  cause_table.py --write   writes the first three columns; ./dev docs does
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONTRACT = ROOT / "proto/vmeventd/v1/vm_events.proto"
RULES = ROOT / "docs/internals/classification.md"
PAGE = ROOT / "docs/answers.md"
HEAD = "| class | cause | what happened | look at |\n|---|---|---|---|\n"
CLASSES = ("USER", "ADMIN", "CRASH", "UNKNOWN")


def causes():
    """What the contract's comments say of each cause, in the contract's order."""
    body = re.search(r"^enum ShutdownCause \{\n(.*?)^\}", CONTRACT.read_text(encoding="utf-8"), re.M | re.S)[1]
    sentences = {}
    comment = []
    for line in body.splitlines():
        value, _, text = (part.strip() for part in line.partition("//"))
        if not value:
            comment.append(text)
            continue
        name = re.match(r"SHUTDOWN_CAUSE_(\w+) = \d+;", value)[1]
        sentences[name] = " ".join([*comment, text] if text else comment)
        comment = []
    del sentences["UNSPECIFIED"]
    return sentences


def classes():
    """The classes of each cause, by the rules."""
    rows = re.findall(r"^\| `[\w-]+` \| .* \| (\w+) \| \w+ \| (\w+): .* \|$", RULES.read_text(encoding="utf-8"), re.M)
    return {cause: {each for each, named in rows if named == cause} for _, cause in rows}


def table(look_at):
    """The rows, with a cause's text of the last column."""
    of = classes()
    rows = []
    for cause, sentence in causes().items():
        names = [name for name in CLASSES if name in of.get(cause, ())]
        if not names:
            sys.exit(f"{RULES.relative_to(ROOT)}: no rule gives the cause {cause}")
        rows.append((CLASSES.index(names[0]), f"| {', '.join(names)} | {cause} | {sentence} | {look_at.get(cause, '')} |"))
    return "".join(f"{row}\n" for _, row in sorted(rows, key=lambda row: row[0])).replace("|  |", "| |")


def main():
    page = PAGE.read_text(encoding="utf-8")
    before, head, rest = page.partition(HEAD)
    if not head:
        sys.exit(f"{PAGE.relative_to(ROOT)}: there is no table with the columns {HEAD.splitlines()[0]}")
    rows = re.match(r"(?:\|.*\n)*", rest)[0]
    cells = [[cell.strip() for cell in row.split("|")] for row in rows.splitlines()]
    expected = table({row[2]: row[4] for row in cells})
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(before + head + expected + rest[len(rows):], encoding="utf-8")
    elif rows != expected:
        print(f"{PAGE.relative_to(ROOT)}: the table of causes is not that of the contract and the rules: ./dev docs writes it")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
