#!/usr/bin/python3
"""The recipes of docs/act.md work as written, with the real vmeventd and vmevents.

  recipes_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import contextlib
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess

from hook_case import HOOKS, ROOT, HookTest, world


def section(heading):
    page = (ROOT / "docs/act.md").read_text(encoding="utf-8")
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(heading, kind):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    return [text.replace("/usr/share/doc/vmevents/examples/", f"{ROOT}/examples/") for each, text in found if each == kind]


class RecipesTest(HookTest):
    """Each test has a daemon with a VM that alice stopped, one that its user shut down, and one that crashed."""

    def setUp(self):
        super().setUp()
        qemu = self.world.started_vm(self.stream, "admins")
        self.world.declare("admins", actor="alice", reason="maintenance")
        qemu.kill(signal.SIGKILL)
        qemu = self.world.started_vm(self.stream, "users")
        self.send_shutdown(qemu)
        qemu.exit()
        self.world.started_vm(self.stream, "=crash()").kill(signal.SIGABRT)
        for name in ("admins", "users", "=crash()"):
            self.stream.wait_event("STOPPED", name)
        self.environment = {**os.environ, "PATH": self.programs(), "VMEVENTS_SERVER": f"unix:{self.world.socket}"}

    def run_block(self, text):
        """What a block that is pasted prints."""
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], check=False, capture_output=True,
                              text=True, cwd=self.world.path, env=self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), text)
        return done.stdout

    def test_the_page_for_who_was_paged(self):
        page = (ROOT / "docs/paged.md").read_text(encoding="utf-8")
        self.world.started_vm(self.stream, "web1").kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", "web1")
        why, doctor, events = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertTrue(self.run_block(why).startswith("web1 CRASHED "))
        self.assertIn("crash", self.run_block(events))
        # Its exit status says whether it found something to repair.
        done = subprocess.run(doctor, check=False, shell=True, capture_output=True, text=True, env=self.environment)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(done.stderr, "")

    def test_the_audit_of_a_month(self):
        month, daily = blocks("Audit", "sh")
        # That the node's events are of this month is not said.
        self.run_block(month.replace("2026-06-01", "2001-01-01").replace("2026-07-01", "2999-01-01"))
        with open(self.world.path / "stops.csv", encoding="utf-8", newline="") as file:
            rows = {row["vm"]: row for row in csv.DictReader(file)}
        self.assertEqual(set(rows), {"admins", "users", "'=crash()"})
        self.assertEqual([rows["admins"][name] for name in ("class", "cause", "who", "why")],
                         ["ADMIN", "UNOBSERVED", "alice", "maintenance"])
        self.assertEqual([rows["users"][name] for name in ("class", "who")], ["USER", "the guest"])
        self.assertIn("exit signal 6", rows["'=crash()"]["evidence"])
        for _ in range(2):  # each stop once
            self.run_block(daily)
        with contextlib.closing(sqlite3.connect(self.world.path / "audit.db")) as database:
            answers = [database.execute(query).fetchall() for query in blocks("Audit", "sql")]
        self.assertEqual([row[2:] for row in answers[0]], [("admins", "alice", "maintenance", "UNOBSERVED")])
        self.assertEqual([row[:3] for row in answers[1]], [("=crash()", "QEMU_CRASHED", 1)])
        self.assertEqual(answers[2:], [[], []])

    def test_the_audit_names_gaps_and_senders(self):
        def stopped(number, **shutdown):
            return {"type": "EVENT_TYPE_STOPPED", "observe_time": "2026-06-02T00:00:00Z", "node": "n1",
                    "sequence": str(number), "vm": {"name": f"vm{number}", "run_id": f"run{number}"},
                    "shutdown": {"shutdown_class": "SHUTDOWN_CLASS_ADMIN", "cause": "SHUTDOWN_CAUSE_HOST_KILL",
                                 "rule": "killed-by-host", **shutdown}}
        events = [stopped(1, sender={"command": "virtqemud", "uid": 0}),
                  stopped(2, sender={"kernel": True}), stopped(3),
                  {"type": "EVENT_TYPE_GAP", "observe_time": "2026-06-01T00:00:00Z", "node": "n1",
                   "sequence": "4", "message": "10 events were given up"}]
        done = subprocess.run([ROOT / "examples/audit/audit_stops.py", "--database", self.world.path / "a.db"],
                              input="".join(json.dumps(each) + "\n" for each in events), check=True, text=True,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.stderr, "audit_stops: stops may be missing before 2026-06-01T00:00:00Z n1: "
                                      "10 events were given up\n")
        with contextlib.closing(sqlite3.connect(self.world.path / "a.db")) as database:
            self.assertEqual(database.execute("SELECT who FROM stops ORDER BY vm").fetchall(),
                             [("virtqemud (uid 0)",), ("the kernel",), ("the host",)])
            self.assertEqual(database.execute("SELECT count(*) FROM gaps").fetchall(), [(1,)])
        for given, said, code in (("", "no events were given", 0), ("vmevents: x\n", "standard input is not", 1)):
            done = subprocess.run([ROOT / "examples/audit/audit_stops.py", "--database", self.world.path / "a.db"],
                                  input=given, check=False, text=True, stderr=subprocess.PIPE)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (code, 1), done.stderr)
            self.assertIn(said, done.stderr)

    def test_who_is_paged(self):
        (script,) = blocks("Page somebody", "sh")
        pager = self.world.path / "page-for-stop"
        pager.write_text(script)
        pager.chmod(0o755)
        (watch,) = [block for block in blocks("Page somebody", "") if "vmevents watch" in block]
        watch = watch.replace("/usr/local/bin/page-for-stop", str(pager)).replace(
            "/var/lib/page-for-stop/cursor", "cursor").replace(" watch ", " watch --from oldest --count 1 ")
        self.assertRegex(self.run_block(watch), r"^hypervisor team: =crash\(\): QEMU was killed by SIGABRT")
        for verdict, paged in (("USER/GUEST_POWEROFF", ""), ("ADMIN/HOST_QUIT", ""),
                               ("CRASH/GUEST_PANIC", "owner of web1: m\n"), ("CRASH/WATCHDOG", "owner of web1: m\n"),
                               ("CRASH/OUT_OF_MEMORY", "hypervisor team: web1: m\n"),
                               ("UNKNOWN/UNOBSERVED", "hypervisor team, ticket: web1: m\n")):
            with self.subTest(verdict):
                shutdown_class, cause = verdict.split("/")
                done = subprocess.run([pager], check=True, capture_output=True, text=True, env={
                    "VMEVENTS_CLASS": shutdown_class, "VMEVENTS_CAUSE": cause, "VMEVENTS_VM": "web1",
                    "VMEVENTS_MESSAGE": "m"})
                self.assertEqual(done.stdout, paged)

    def test_the_causes_that_page_are_causes(self):
        known = {name.removeprefix("SHUTDOWN_CAUSE_") for name in world.pb.ShutdownCause.keys()}
        rows = re.findall(r"^\| CRASH, ([A-Z_, ]+) \|", section("Page somebody"), re.MULTILINE)
        self.assertEqual(len(rows), 4)
        self.assertLessEqual({cause for row in rows for cause in row.split(", ")}, known)

    def test_the_pages_have_one_sentence_on_an_unknown_end(self):
        sentence = ("Nobody can say who wanted an UNKNOWN end: the hooks leave such a VM off, unless you start them with "
                    "`--unknown restart`.")
        for page in ("README.md", "docs/answers.md", "docs/act.md"):
            self.assertIn(sentence, " ".join((ROOT / page).read_text(encoding="utf-8").split()), page)

    def test_the_managers_are_those_of_the_hook(self):
        hook = (HOOKS / "restart_crashed.py").read_text(encoding="utf-8")
        commands = dict(re.findall(r'^    "(\w+)": "(.*)",$', hook, re.MULTILINE))
        listed = re.findall(r"^\| [^|]+ \| `(.*?)` \|", section("Restart what crashed"), re.MULTILINE)
        self.assertEqual({command.replace("MASTER", "{master}") for command in listed}, set(commands.values()))


if __name__ == "__main__":
    world.run_tests(__doc__)
