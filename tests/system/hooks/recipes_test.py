#!/usr/bin/python3
"""The recipes of docs/act.md, and the commands of other pages, work as written, with the real vmeventd and vmevents.

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
import sys

from hook_case import HOOKS, ROOT, HookTest, world


def section(heading):
    page = (ROOT / "docs/act.md").read_text(encoding="utf-8")
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(heading, kind):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    return [text.replace("/usr/share/doc/vmevents/examples/", f"{ROOT}/examples/") for each, text in found if each == kind]


def block_with(page, text):
    """The only block of a page that has the text."""
    page = (ROOT / page).read_text(encoding="utf-8")
    (found,) = [block for block in re.findall(r"^ *```\w*\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL) if text in block]
    return found


def commands_of(text):
    """The commands of a block, without their comments."""
    return [line.split("  #")[0].strip() for line in text.replace("\\\n", "").splitlines()]


class PasteTest(HookTest):
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

    def write_program(self, name, text):
        """A program that the commands of the pages find by its name."""
        path = self.world.path / "bin" / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def crash(self, name):
        self.world.started_vm(self.stream, name).kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", name)


class RecipesTest(PasteTest):
    """docs/act.md, and what other pages repeat of it."""

    def test_the_commands_for_a_paged_admin_work(self):
        page = (ROOT / "docs/paged.md").read_text(encoding="utf-8")
        self.crash("web1")
        why, doctor, events = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertTrue(self.run_block(why).startswith("web1 CRASHED "))
        self.assertIn("crash", self.run_block(events))
        # Its exit status says whether it found something to repair.
        done = subprocess.run(doctor, check=False, shell=True, capture_output=True, text=True, env=self.environment)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertEqual(done.stderr, "")

    def test_the_audit_lists_the_stops_of_a_month(self):
        month, daily = blocks("Audit", "sh")
        # Nothing names the month of the node's events.
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
                   "sequence": "4", "message": "10 events were dropped"}]
        done = subprocess.run([ROOT / "examples/audit/audit_stops.py", "--database", self.world.path / "a.db"],
                              input="".join(json.dumps(each) + "\n" for each in events), check=True, text=True,
                              stderr=subprocess.PIPE)
        self.assertEqual(done.stderr, "audit_stops: stops may be missing before 2026-06-01T00:00:00Z n1: "
                                      "10 events were dropped\n")
        with contextlib.closing(sqlite3.connect(self.world.path / "a.db")) as database:
            self.assertEqual(database.execute("SELECT who FROM stops ORDER BY vm").fetchall(),
                             [("virtqemud (uid 0)",), ("the kernel",), ("the host",)])
            self.assertEqual(database.execute("SELECT count(*) FROM gaps").fetchall(), [(1,)])
        for given, message, code in (("", "no events were given", 0), ("vmevents: x\n", "standard input is not", 1)):
            done = subprocess.run([ROOT / "examples/audit/audit_stops.py", "--database", self.world.path / "a.db"],
                                  input=given, check=False, text=True, stderr=subprocess.PIPE)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (code, 1), done.stderr)
            self.assertIn(message, done.stderr)

    def test_the_pager_script_pages_for_the_documented_ends(self):
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

    def test_the_documented_causes_that_page_exist(self):
        known = {name.removeprefix("SHUTDOWN_CAUSE_") for name in world.pb.ShutdownCause.keys()}
        rows = re.findall(r"^\| CRASH, ([A-Z_, ]+) \|", section("Page somebody"), re.MULTILINE)
        self.assertEqual(len(rows), 4)
        self.assertLessEqual({cause for row in rows for cause in row.split(", ")}, known)

    def test_the_pages_have_the_same_sentence_on_an_unknown_end(self):
        sentence = ("Nobody can say who wanted an UNKNOWN end: the hooks that restart VMs leave such a VM off, unless you "
                    "start them with `--unknown restart`.")
        for page in ("README.md", "docs/answers.md", "docs/act.md"):
            self.assertIn(sentence, " ".join((ROOT / page).read_text(encoding="utf-8").split()), page)

    def test_the_documented_managers_match_the_hook(self):
        hook = (HOOKS / "restart_crashed.py").read_text(encoding="utf-8")
        commands = dict(re.findall(r'^    "(\w+)": "(.*)",$', hook, re.MULTILINE))
        listed = re.findall(r"^\| [^|]+ \| `(.*?)` \|", section("Restart what crashed"), re.MULTILINE)
        self.assertEqual({command.replace("MASTER", "{master}") for command in listed}, set(commands.values()))

    def test_the_mail_command_sends_mail_about_each_crash(self):
        self.write_program("mail", "#!/bin/sh\necho \"$*\"\n")
        page = (ROOT / "docs/vmevents.1").read_text(encoding="utf-8").replace("\\e\n", "\\\n")
        (manual,) = re.findall(r"^vmevents watch (?:.*\\\n)+.*'mail .*'$", page, re.MULTILINE)
        (readme,) = [line for line in block_with("README.md", "'mail ").splitlines() if "'mail " in line]
        for command in (readme, manual, block_with("docs/act.md", "'mail ")):
            with self.subTest(command):
                command = command.replace("/var/lib/crashmail/cursor", "cursor").replace(
                    " watch ", " watch --from oldest --count 1 ")
                self.assertRegex(self.run_block(command), r"^-s =crash\(\) crashed(: QEMU_CRASHED)? ops\n$")
                for cursor in ("cursor", "crashes"):
                    (self.world.path / cursor).unlink(missing_ok=True)

    def test_the_documented_intent_commands_work(self):
        self.world.started_vm(self.stream, "web1")
        declare, listing, withdraw = block_with("docs/act.md", "vmevents intent list").splitlines()
        self.run_block(declare)
        found = re.search(r"^(\S+) +web1 +alice .* node is emptied *$", self.run_block(listing), re.MULTILINE)
        self.assertTrue(found, self.run_block(listing))
        self.run_block(withdraw.replace("INTENT_ID", found[1]))
        self.assertNotIn("alice", self.run_block(listing))


class PagesTest(PasteTest):
    """Other pages."""

    def test_the_commands_of_the_readme_work(self):
        self.crash("web1")
        answers = {}
        for command in commands_of(block_with("README.md", "vmevents vms --all")):
            # The push and the page in the browser have their own tests, or none.
            if "https://" in command or command == "vmevents web" or "'mail " in command:
                continue
            if command == "vmevents doctor":
                self.run_doctor(command)
                continue
            if command == "vmevents events --type gap":
                command += " 2>&1"  # it says that there is none
            answers[command] = self.run_block(
                command.replace("vmevents watch", "vmevents watch --from oldest --count 1"))
        self.assertTrue(answers["vmevents why web1"].startswith("web1 CRASHED "))
        self.assertRegex(answers["vmevents vms --all"], r"admins +STOPPED")
        self.assertIn("web1", answers["vmevents events --class crash --since 24h"])
        self.assertIn("no events match", answers["vmevents events --type gap 2>&1"])
        self.assertEqual(len(answers), 5)

    def run_doctor(self, command):
        """Its exit status says whether it found something."""
        done = subprocess.run(command, check=False, shell=True, capture_output=True, text=True, env=self.environment)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertRegex(done.stdout, "Asked vmeventd ")

    def test_the_commands_that_check_a_connection_work(self):
        vms, doctor, health = commands_of(block_with("docs/connect.md", "vmevents health sources"))
        self.world.started_vm(self.stream, "web1")
        self.assertRegex(self.run_block(vms), "web1 +RUNNING")
        self.run_doctor(doctor.removeprefix("sudo "))
        self.assertEqual(self.run_block(health), "SERVING\n")

    def test_the_commands_for_programs_work(self):
        self.crash("web1")
        history, end = block_with("docs/vmevents.md", "| jq -r .vm.name").splitlines()
        self.assertEqual(set(self.run_block(history).split()), {"=crash()", "web1"})
        page = (ROOT / "docs/vmevents.1").read_text(encoding="utf-8")
        (manual,) = re.findall(r"^vmevents -o json watch .*\|\n *jq .*$", page, re.MULTILINE)
        for command in (end, manual):
            self.assertEqual(self.run_block(command.replace(" watch ", " watch --from oldest ")), "SHUTDOWN_CLASS_CRASH\n")

    def test_the_examples_of_the_manual_work(self):
        self.crash("web1")
        page = (ROOT / "docs/vmevents.1").read_text(encoding="utf-8").split(".Sh EXAMPLES")[1].split("\n.Sh ")[0]
        ran = []
        for command in re.findall(r"^\.Dl (vmevents .*)$", page, re.MULTILINE):
            if "--server" in command or "--context" in command or "JOURNAL_ID" in command:
                continue
            if " watch " in command or command.endswith(" -f"):
                command = f"timeout -s INT {world.patience(5)} {command} || [ $? = 124 ]"
            ran.append(self.run_block(command))
        self.assertEqual(len(ran), 6)
        self.assertTrue(all("web1" in text for text in ran[:2] + ran[3:5]), ran)
        self.assertEqual(ran[-1], "SERVING\n")

    def test_the_documented_queries_read_the_journal_with_sqlite(self):
        self.crash("web1")
        journal = str(self.world.state / "journal.db")
        world.wait_until("the events are in the journal", lambda: all(event.durable for event in self.world.events()))
        page = (ROOT / "docs/internals/journal.md").read_text(encoding="utf-8")
        ends, last, most = [self.run_block(block.replace("/var/lib/vmeventd/journal.db", journal))
                            for block in re.findall(r"^```\n(sqlite3 .*?)^```$", page, re.MULTILINE | re.DOTALL)]
        self.assertRegex(ends, r"(?m)^[0-9-]+ [0-9:]+\|web1\|3$")
        self.assertEqual(len(ends.splitlines()), 4)
        self.assertRegex(last, r"(?m)^[0-9]+\|[0-9-]+ [0-9:]+\|2\|\S+$")
        self.assertRegex(most, r"(?m)^web1\|[0-9]+$")
        (backup,) = re.findall(r'`(sqlite3 /var/lib/vmeventd/journal.db ".backup FILE")`',
                               (ROOT / "docs/install.md").read_text(encoding="utf-8"))
        self.run_block(backup.replace("/var/lib/vmeventd/journal.db", journal).replace("FILE", "copy.db"))
        with contextlib.closing(sqlite3.connect(self.world.path / "copy.db")) as database:
            self.assertEqual(database.execute("SELECT count(*) FROM events WHERE vm = 'web1' AND type = 2").fetchall(), [(1,)])

    def test_the_documented_python_loop_works(self):
        text = block_with("docs/api.md", "with vmeventd.follow(").replace("/run/vmeventd/vmeventd.sock",
                                                                         str(self.world.socket))
        frame = "def load():\n    return None\ndef work(event):\n    print(event.vm.name)\n    raise SystemExit\n" \
                "def report(why):\n    raise AssertionError(why)\ndef store(position):\n    pass\n"
        done = subprocess.run([sys.executable, "-B", "-c", frame + text], check=False, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": world.STUBS.name})
        self.assertEqual((done.returncode, done.stdout), (0, "=crash()\n"), done.stderr)

    def test_the_documented_commands_serve_the_web_page_and_its_stream(self):
        port = str(world.free_port())
        (command,) = {commands_of(block_with(page, "vmevents web  "))[number]
                      for page, number in (("README.md", 5), ("docs/vmevents.md", 0))}
        self.run_beside(["sh", "-c", f"exec {command} --listen 127.0.0.1:{port}"], environment=self.environment)
        (curl,) = re.findall(r"`(curl -N .*?)`", (ROOT / "docs/vmevents.md").read_text(encoding="utf-8"))
        output = self.world.path / "output"
        with open(output, "wb") as out:
            self.run_beside(["sh", "-c", "until " + curl.replace(":9557", f":{port}") + "; do sleep 0.1; done"], stdout=out)

        def crash_is_said():
            self.crash("web1")
            return "SHUTDOWN_CLASS_CRASH" in output.read_text(encoding="utf-8")
        world.wait_until("the crash arrives", crash_is_said)

    def test_the_documented_command_changes_the_address_of_the_runbooks(self):
        copy = self.world.path / "vmeventd.rules.yml"
        rules = (ROOT / "deploy/prometheus/vmeventd.rules.yml").read_text(encoding="utf-8")
        copy.write_text(rules, encoding="utf-8")
        command = block_with("docs/monitoring.md", "sed -i")
        self.run_block(command.replace("/etc/prometheus/rules/vmeventd.rules.yml", str(copy)))
        text = copy.read_text(encoding="utf-8")
        self.assertEqual(text.count("'https://wiki.internal/vmeventd-runbooks"), rules.count("/vmeventd-runbooks"))


if __name__ == "__main__":
    world.run_tests(__doc__)
