#!/usr/bin/python3
"""docs/quickstart.md, or a section of another page: pastes its blocks into one shell, in order, and compares what each
prints with the block that follows it. Only `./dev demo`, which built what is tested, is not run.

  tutorial_test.py --bin DIR --guest DIR [--page PAGE --section HEADING]
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

from patience import patience  # noqa: E402  # pylint: disable=wrong-import-position

BLOCK = 180  # seconds, for any one block


def blocks_of(page):
    """Pairs of a block to paste and what it prints, None where the page does not say."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    pairs = []
    for kind, text in found:
        if kind == "sh":
            pairs.append([text, None])
        elif pairs:  # what comes before the first one builds the programs
            assert pairs[-1][1] is None, f"output without a command: {text}"
            pairs[-1][1] = text
    return pairs


class Shell:
    """One bash, to which blocks are pasted as by hand."""

    def __init__(self, directory, home):
        environment = dict(os.environ, HOME=str(home), TERM="dumb")
        environment.pop("VMEVENTS_SERVER", None)
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            ["bash", "-m"], cwd=directory, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def paste(self, block):
        """Returns what it printed."""
        self.process.stdin.write(f"{block}\necho ::end::\n")
        self.process.stdin.flush()
        timer = threading.Timer(patience(BLOCK), self.process.kill)
        timer.start()
        lines = []
        for line in self.process.stdout:
            if line == "::end::\n":
                break
            lines.append(line)
        else:
            raise AssertionError(f"the shell ended, or took too long, at:\n{block}\nit printed:\n"
                                 f"{''.join(lines)}")
        timer.cancel()
        return "".join(lines)


def end_what_is_left(home):
    """Kills what a failed page left behind: all that has its home directory."""
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if f"HOME={home}".encode() in environment:
                os.kill(int(entry.name), 9)
        except (OSError, ProcessLookupError):
            continue  # it has ended, or is another user's


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--guest", required=True, type=pathlib.Path)
    parser.add_argument("--page", default="docs/quickstart.md", help="in the repository")
    parser.add_argument("--section", metavar="HEADING", help="only this one")
    options = parser.parse_args()
    page = (ROOT / options.page).read_text(encoding="utf-8")
    if options.section:
        page = re.split(r"^##", page.split(f"\n{options.section}\n", 1)[1], flags=re.MULTILINE)[0]
    pairs = blocks_of(page)
    assert len(pairs) >= 5, "the page's blocks are not found"
    with tempfile.TemporaryDirectory(prefix="vmt-") as directory:
        home = pathlib.Path(directory) / "home"
        clone = pathlib.Path(directory) / "clone"
        home.mkdir()
        (clone / "build/release").mkdir(parents=True)
        (clone / "build/release/bin").symlink_to(options.bin.resolve())
        (clone / "build/guest").symlink_to(options.guest.resolve())
        (clone / "examples").symlink_to(ROOT / "examples")
        shell = Shell(clone, home)
        try:
            for block, expected in pairs:
                printed = shell.paste(block)
                print(block, printed, sep="\n", flush=True)
                assert expected is None or printed == expected, (
                    f"the page says:\n{expected}\nbut it printed:\n{printed}\nlogs:\n" + "".join(
                        path.read_text(errors="replace") for path in home.glob("*-lab/*.log")))
            assert not list(home.glob("*-lab")), "the page left its directory behind"
        finally:
            end_what_is_left(home)
            shell.process.kill()
            shell.process.wait()
            sys.stderr.write(shell.process.stderr.read()[-4000:])


if __name__ == "__main__":
    main()
