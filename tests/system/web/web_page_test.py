#!/usr/bin/python3
"""vmevents web with the real vmeventd, in a real browser.

  web_page_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import csv
import io
import pathlib
import re
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import browser  # noqa: E402
import fake_daemon  # noqa: E402
import web_case  # noqa: E402
import world  # noqa: E402
from world import pb  # noqa: E402


class PageTest(web_case.WebTest):
    """The page in Chromium. No test leaves a complaint in the console, such as a violation of the page's policy."""

    def setUp(self):
        super().setUp()
        self.browser = browser.Browser()
        self.addCleanup(self.browser.close)

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])
        self.assertIsNone(self.browser.run("return window.ran || null"))
        super().tearDown()

    def open(self, fragment="", **start):
        if self.port is None:
            self.start(**start)
        self.load(fragment)
        self.wait("it is live", lambda: self.browser.run("return document.getElementById('status').dataset.live") == "yes")

    def load(self, fragment):
        self.browser.driver.get(f"http://127.0.0.1:{self.port}/{fragment}")

    def wait(self, what, condition):
        return world.wait_until(f"{what}: {self.browser.text()[:2000]}", condition)

    def wait_text(self, text, selector="#vms"):
        self.wait(f"there is {text!r}", lambda: text in self.browser.text(selector))

    def names(self):
        return self.browser.texts("#rows .name a")

    def row(self, name="vm1"):
        return self.browser.run("""const links = [...document.querySelectorAll('#rows .name a')];
          const link = links.find((one) => one.textContent === arguments[0]);
          return link ? link.closest('.row').innerText : ''""", name)

    def click(self, selector):
        self.browser.run("document.querySelector(arguments[0]).click()", selector)

    def address(self):
        return self.browser.run("return location.hash")

    def test_an_end_appears_without_a_reload(self):
        qemu = self.world.started_vm(self.stream)
        self.open()
        self.wait("vm1 runs", lambda: "running" in self.row())
        self.browser.run("window.sameDocument = true")
        qemu.kill(signal.SIGABRT)
        self.wait("its end is there", lambda: "CRASH" in self.row() and "stopped" in self.row())
        self.world.started_vm(self.stream, "vm2")
        self.wait("the next VM is there", lambda: "running" in self.row("vm2"))
        self.assertIn("vm1 has ended: CRASH", self.browser.text("#news"))
        self.assertTrue(self.browser.run("return window.sameDocument"))

    def test_a_new_vm_does_not_inherit_the_ends_of_an_old_one_of_its_name(self):
        old, new = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
        self.world.started_vm(self.stream, uuid=old).kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED")
        self.open()
        self.wait("its end is there", lambda: "CRASH" in self.row())
        self.world.started_vm(self.stream, uuid=new)
        rows = "return [...document.querySelectorAll('#rows .row')].map((row) => row.innerText)"
        self.wait("each has a row", lambda: len(self.browser.run(rows)) == 2)
        gone, runs = self.browser.run(rows)  # a crash comes first
        self.assertIn("running", runs)
        self.assertNotIn("CRASH", runs)
        self.assertIn("CRASH", gone)
        self.click("#rows .name a")  # of either row
        self.wait_text(f"another VM of this name, UUID {old}, gone: CRASHED", "#why")
        self.assertIn("has not ended", self.browser.text("#why").split("another VM")[0])
        self.assertIn("no end", self.browser.text("#legend"))

    def test_vms_that_need_attention_come_first_with_their_cause(self):
        self.world.started_vm(self.stream, "aaa")
        self.world.started_vm(self.stream, "bbb").send(world.qmp("STOP"))
        self.stream.wait_event("PAUSED", "bbb")
        self.crash("ccc")
        self.world.started_vm(self.stream, "ddd")
        self.end_unseen("eee")
        self.open()
        self.wait("the list", lambda: self.names() == ["bbb", "ccc", "eee", "aaa", "ddd"])
        self.assertIn("paused", self.row("bbb"))
        self.assertIn("qemu crashed, SIGABRT", self.row("ccc"))
        self.click("#trouble")
        self.wait("they alone", lambda: self.names() == ["bbb", "ccc", "eee"])
        listed = self.get("/api/v1/vms?trouble=1&sort-by=trouble")["vms"]
        self.assertEqual([one["ref"]["name"] for one in listed], self.names(), "the page and the client call the same trouble")
        self.assertEqual(self.address(), "#trouble=1")
        self.browser.run("document.querySelector('#rows .row .why').click()")
        self.wait("the whole row leads to the VM", lambda: self.browser.text("#vm-title") == "bbb")

    def test_each_vm_has_the_same_rank_as_in_the_client(self):
        lines = (ROOT / "tests/golden/trouble.txt").read_text(encoding="utf-8").splitlines()
        self.open()
        wrong, by_class, states, of_down = self.browser.run("""
            const [, heading, ...lines] = arguments[0], now = 1.8e12, wrong = [];
            const classes = lines.pop().split(' ').slice(1), ends = heading.split(' ').slice(4);
            const vmWith = (state, problem, pause, intent, end) => {
              const ended = new Date(now - (end.endsWith('-old') ? DAY : DAY - 1)).toISOString();
              return fromList({
                ref: {name: 'web1'}, state: 'VM_STATE_' + state, state_time: ended, last_end_time: ended, last_sequence: 1,
                problems: problem === '-' ? [] : [{text: problem}], pause_reason: pause === '-' ? '' : pause,
                intent: intent === '-' ? undefined
                    : {expire_time: new Date(now + 2 * MINUTE - (intent === 'late' ? 1 : 0)).toISOString()},
                last_end: end === 'none' ? undefined : {shutdown_class: 'SHUTDOWN_CLASS_' + end.replace('-old', '')},
              });
            };
            for (const line of lines) {
              const words = line.split(' ');
              const ranks = ends.map((end) => troubleOf(vmWith(...words.slice(0, 4), end), now)).join(' ');
              if (ranks !== words.slice(4).join(' ')) wrong.push([line, ranks]);
            }
            const sorted = classes.map((end) => [end, vmWith('RUNNING', '-', '-', '-', end)]).reverse()
                .sort(([, a], [, b]) => ORDERS.class(a, b));
            const down = fromList({ref: {name: 'web1'}, state: 'VM_STATE_GUEST_DOWN', last_sequence: 1,
                                   shutdown: {shutdown_class: 'SHUTDOWN_CLASS_USER'},
                                   last_end: {shutdown_class: 'SHUTDOWN_CLASS_CRASH'}});
            return [wrong, sorted.map(([end]) => end), STATES, classOf(down.end)];
        """, lines)
        self.assertEqual(wrong, [])
        self.assertEqual(by_class, lines[-1].split()[1:])
        self.assertEqual(states, list(dict.fromkeys(line.split()[0] for line in lines[2:-1])), "in the order of the contract")
        self.assertEqual(of_down, "USER", "a guest that is down has its own end, not that of a run before")

    def test_an_unknown_value_is_not_shown_as_zero(self):
        self.crash()
        self.open("#vm=nobody")
        self.wait_text("no VM \"nobody\" is known", "#why")
        self.assertFalse(self.browser.run("return document.getElementById('vm-ends').checkVisibility()"))
        self.open("#vm=vm1")
        self.wait_text("CRASHED", "#why")
        self.world.stop()
        self.browser.run("loadVm()")
        self.wait_text(str(self.world.socket), "#why")
        self.assertFalse(self.browser.run("return document.getElementById('vm-ends').checkVisibility()"))
        self.world.start()
        self.wait_text("CRASHED", "#why")
        self.browser.complaints()  # of the requests that failed

    def test_one_zone_is_shown_and_named_once(self):
        self.crash()
        self.browser.command("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Tehran"})
        self.open("#vm=vm1")
        self.wait_text("times in Asia/Tehran", "header")
        self.wait_text("+0330", "#why")
        clock = re.search(r"\d\d:\d\d:\d\d", self.browser.text("#why"))[0]
        self.assertIn(clock, self.browser.text("#event-rows"))

    def test_ages_grow_while_the_daemon_is_unreachable(self):
        self.world.started_vm(self.stream)
        self.open()
        self.wait_text("running", "#rows")
        self.world.stop()
        self.wait_text("lost the stream", "#status")
        since = "return document.querySelector('#rows .since').innerText"
        before = self.browser.run(since)
        self.wait("the age changes", lambda: self.browser.run(since) != before)
        self.world.start()
        self.wait_text("live", "#status")
        self.browser.complaints()

    def test_the_events_of_all_vms_have_a_range_filters_and_a_chart(self):
        self.world.started_vm(self.stream, "db1", uuid="11111111-1111-4111-8111-111111111111")
        self.crash("web1")
        self.crash("web2")
        self.open("#view=events")
        rows = lambda: self.browser.texts("#log-rows .row")  # noqa: E731
        self.wait("the newest first", lambda: rows() and "web2" in rows()[0] and "SIGABRT" in rows()[0])
        self.wait("all of them", lambda: any("db1" in row for row in rows()))
        self.wait("the chart", lambda: self.browser.run(
            "return document.querySelector('#log-bar svg').getAttribute('aria-label')") == "Ends: 2 CRASH")
        self.crash("web3")
        self.wait("what happens", lambda: "web3" in rows()[0])
        # A bar leads to its ends.
        self.wait("the chart again", lambda: "3 CRASH" in self.browser.run(
            "return document.querySelector('#log-bar svg').getAttribute('aria-label')"))
        self.browser.run("document.querySelector('#log-bar rect.CRASH').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
        self.wait("ends alone", lambda: len(rows()) == 3 and all("stopped" in row for row in rows()))
        address = self.address()
        self.assertRegex(address, "from=.*to=.*class=CRASH")
        self.browser.run("const f = document.getElementById('log-filter'); f.focus(); f.value = 'WEB2'; f.oninput()")
        self.wait("the name's", lambda: len(rows()) == 1 and "web2" in rows()[0])
        self.open(self.address())
        self.wait("the address has it all", lambda: len(rows()) == 1 and "web2" in rows()[0])
        self.click("[data-last=hour]")
        self.wait("the last hour", lambda: "last=hour" in self.address() and "from" not in self.address())
        self.browser.run("document.querySelector('#log-rows .row .what').click()")
        self.wait("the VM", lambda: self.browser.text("#vm-title") == "web2")
        self.click("#back")
        self.wait("the events again", lambda: len(rows()) == 1)

    def counts(self):
        """The rows of what the ends are counted by."""
        return [row.split("\n") for row in self.browser.texts("#log-counts .row")]

    def end_by_alice(self, name):
        qemu = self.world.started_vm(self.stream, name)
        self.world.declare(name, actor="alice")
        qemu.kill()
        self.stream.wait_event("STOPPED", name, self.stream.types(name).count("STARTED"))

    def test_two_clicks_show_who_ended_most_vms(self):
        self.crash("web1")
        self.end_by_alice("web1")
        self.end_by_alice("web2")
        self.open()
        self.click("[data-view=events]")
        self.click("[data-by=who]")
        self.wait("who", lambda: self.counts() == [["2", "alice"], ["1", "QEMU itself"]])
        self.assertIn("by=who", self.address())
        counted = self.get("/api/v1/counts?by=who")["counts"]
        self.assertEqual([[str(one["events"]), one["who"]] for one in counted], self.counts())
        self.click("#log-classes [data-class=ADMIN]")
        self.wait("of the class", lambda: self.counts() == [["2", "alice"]])
        self.click("#log-classes [data-class=ADMIN]")
        self.click("[data-by=vm]")
        self.wait("the VMs", lambda: self.counts() == [["2", "web1"], ["1", "web2"]])
        # A row is a filter.
        rows = lambda: self.browser.texts("#log-rows .row")  # noqa: E731
        self.browser.run("document.querySelectorAll('#log-counts .row')[1].click()")
        self.wait("its events", lambda: self.counts() == [["1", "web2"]] and rows() and all("web2" in row for row in rows()))
        self.assertRegex(self.address(), "name=web2")
        self.click("#log-only button")
        self.wait("all again", lambda: len(self.counts()) == 2)
        self.click("[data-by=cause]")
        self.wait("the causes", lambda: [row[0] for row in self.counts()] == ["2", "1"])
        self.click("#log-counts a")
        self.wait("its ends", lambda: len(rows()) == 2 and all("alice" in row for row in rows()))
        self.assertIn("cause: unobserved", self.browser.text("#log-only"))
        self.click("#log-only button")
        self.click("[data-by=day]")
        self.wait("the day", lambda: sum(int(row[0]) for row in self.counts()) == 3)
        self.click("#log-counts a")
        self.wait("a day is a range", lambda: re.search("from=.*to=", self.address()))
        self.assertFalse(self.browser.run("return document.querySelector('[data-by=node]').checkVisibility()"))

    def test_a_pid_is_found_in_the_list_and_in_the_events(self):
        first = self.world.started_vm(self.stream, "web1")
        first.kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", "web1")
        second = self.world.started_vm(self.stream, "web1")
        self.world.started_vm(self.stream, "web2")
        self.open()
        self.wait("both", lambda: sorted(self.names()) == ["web1", "web2"])
        for qemu in (first, second):
            self.browser.run("const f = document.getElementById('filter'); f.focus(); f.value = arguments[0]; f.oninput()", str(qemu.pid))
            self.wait("its VM", lambda: self.names() == ["web1"])
        self.open("#view=events&type=started,stopped")
        rows = lambda: self.browser.texts("#log-rows .row")  # noqa: E731
        self.wait("all", lambda: len(rows()) == 4)
        for qemu, number in ((first, 2), (second, 1)):
            self.browser.run("const f = document.getElementById('log-filter'); f.focus(); f.value = arguments[0]; f.oninput()", str(qemu.pid))
            self.wait("its run", lambda n=number, q=qemu: len(rows()) == n and "web1" in rows()[0] and f"PID {q.pid}: web1" in self.browser.text("#log-only"))

    def test_times_in_the_filter_are_a_range(self):
        self.open("#view=events")
        times = lambda begin, end: self.browser.run("""return '#' + new URLSearchParams({view: 'events',
          from: new Date(arguments[0]).toISOString(), to: new Date(arguments[1]).toISOString(), q: 'vm'})""", begin, end)  # noqa: E731
        type_ = lambda text: self.browser.run("const f = document.getElementById('log-filter'); f.focus(); f.value = arguments[0]; f.oninput()", text)  # noqa: E731
        type_("vm 2026-11-28 02:00-02:10")
        self.wait("the range", lambda: self.address() == times("2026-11-28T02:00", "2026-11-28T02:10"))
        type_("vm 2026-11-28 23:55-00:05")
        self.wait("over midnight", lambda: self.address() == times("2026-11-28T23:55", "2026-11-29T00:05"))
        type_("vm")
        self.wait("none", lambda: self.address() == "#view=events&q=vm")
        for text in ("00:00-23:59", "23:58-23:59", "9:00-9:01"):
            begin, end = self.browser.run("const t = timesOf(arguments[0]); return [t.from - new Date(), t.to - t.from]", text)
            self.assertTrue(-86400e3 <= begin <= 0 < end < 86400e3, text)

    def test_one_search_finds_the_stops_of_a_projects_vms(self):
        self.world.stop()
        self.world.start("--label", "web*:project=p")
        self.stream = self.world.oldest()
        self.end_by_alice("web1")
        self.crash("db1")
        self.open()
        self.click("[data-view=events]")
        self.browser.run("const f = document.getElementById('log-filter'); f.focus(); f.value = 'project=p'; f.oninput()")
        self.wait("its end", lambda: self.browser.texts("#log-classes button b") == ["0", "1", "0", "0"])
        self.assertIn("alice", self.browser.text("#log-rows"))
        self.assertNotIn("db1", self.browser.text("#log-rows"))

    def test_missed_events_are_one_click_away(self):
        self.open()
        self.click("[data-view=missed]")
        self.wait_text("No gap is known", "#log-empty")
        self.assertEqual(self.browser.texts("nav [aria-current]"), ["Missed"])
        self.crash()
        self.world.damage_journal()
        self.wait_text("did not watch", "#log-rows")
        self.assertIn("the journal was damaged", self.browser.text("#log-rows"))
        self.browser.complaints()  # of the requests that failed

    def test_an_intent_that_is_replaced_is_not_called_withdrawn(self):
        self.world.started_vm(self.stream, "vm1")
        self.world.declare("vm1")
        self.world.declare("vm1", reason="another one")
        self.open("#view=events")
        self.wait_text("intent replaced", "#log-rows")
        self.assertNotIn("intent withdrawn", self.browser.text("#log-rows"))

    def test_the_shown_rows_are_saved_as_csv_without_formulas(self):
        self.crash("=cmd")
        self.crash('a,"b"')
        self.open("#view=events&type=stopped")
        self.wait("both are there", lambda: len(self.browser.texts("#log-rows .row")) == 2)
        table = list(csv.DictReader(io.StringIO(self.browser.run("return csvText()"))))
        self.assertEqual([(one["vm"], one["event"], one["class"], one["cause"]) for one in table],
                         [('a,"b"', "STOPPED", "CRASH", "QEMU_CRASHED"), ("'=cmd", "STOPPED", "CRASH", "QEMU_CRASHED")])

    def numbers(self):
        """The numbers on the classes' buttons in the view of events."""
        return self.browser.texts("#log-classes button b")

    def begin_other(self):
        """Starts another daemon, whose node the page shows too."""
        other = world.World()
        self.addCleanup(other.close)
        other.begin()
        self.start("--server", f"unix:{other.socket}")
        return other

    def test_while_a_node_is_unreachable_the_ends_of_others_are_counted(self):
        self.crash()
        other = self.begin_other()
        other.stop()
        self.load("#view=events")
        self.wait("the end", lambda: "SIGABRT" in self.browser.text("#log-rows"))
        self.assertEqual(self.numbers(), ["1", "0", "0", "0"])
        self.assertEqual(self.browser.run("return document.querySelector('#log-bar svg').getAttribute('aria-label')"), "Ends: 1 CRASH")
        self.assertTrue(self.browser.run("return document.getElementById('log-chart').checkVisibility()"))
        problem, = self.browser.texts("#problems p")
        self.assertIn(str(other.socket), problem)

    def test_unknown_events_are_not_shown_as_none(self):
        self.start()
        # Nothing is answered yet.
        script = self.browser.command("Page.addScriptToEvaluateOnNewDocument", {"source": "window.fetch = () => new Promise(() => {});"})
        self.load("#view=events&type=stopped")
        self.wait_text("Reading the events", "#log-empty")
        self.assertEqual((self.browser.text("#log-title"), self.numbers()), ("Events …", ["…"] * 4))
        self.browser.command("Page.removeScriptToEvaluateOnNewDocument", script)
        self.world.stop()
        self.browser.driver.refresh()
        self.wait_text("are not known", "#log-empty")
        self.assertEqual((self.browser.text("#log-title"), self.numbers()), ("Events –", ["–"] * 4))
        self.assertIn(str(self.world.socket), self.browser.text("#problems"))
        self.world.start()
        self.wait("they are known", lambda: self.numbers() == ["0"] * 4)
        self.assertRegex(self.browser.text("#log-title"), r"^Events \d")
        self.browser.complaints()  # of the requests that failed

    def test_opening_the_view_of_events_reads_them_once(self):
        other = self.begin_other()
        for away in (False, True):
            if away:
                other.stop()
            self.browser.driver.get("about:blank")
            self.load("#view=events")
            self.wait("some time has gone", lambda: self.browser.run("""
              const asked = performance.getEntriesByType('resource').filter((one) => /v1.(events[?]|counts)/.test(one.name));
              return asked.length > 4 && performance.now() > asked[0].startTime + 2000"""))
            asked = self.browser.run("""
              const asked = performance.getEntriesByType('resource').filter((one) => /v1.(events[?]|counts)/.test(one.name));
              return asked.filter((one) => one.startTime < asked[0].startTime + 1500).map((one) => one.name)""")
            self.assertEqual(sorted(re.search(r"v1/(\w+)", one)[1] for one in asked), ["counts"] * 4 + ["events"], away)

    def test_the_node_of_an_event_is_shown_if_there_are_several_nodes(self):
        self.crash()
        self.begin_other()
        self.open("#view=events&type=stopped")
        self.wait("the end", lambda: len(self.browser.texts("#log-rows .row")) == 1)
        self.assertTrue(self.browser.run("return document.querySelector('#log-rows .node').checkVisibility()"))

    def test_an_unreachable_node_has_a_row(self):
        other = world.World()
        self.addCleanup(other.close)
        other.started_vm(other.begin(), "vm2")
        self.crash()
        self.start("--server", f"unix:{other.socket}")
        self.open("#view=nodes")
        rows = lambda: self.browser.texts("#node-rows .row")  # noqa: E731
        self.wait("both", lambda: len(rows()) == 2 and "1 (CRASH 1)" in rows()[0])
        self.assertIn("2 nodes", self.browser.text("header"))
        # Nothing is cut, however narrow the window is.
        for width in (360, 720, 1280):
            self.browser.look(width, 800)
            self.assertEqual(self.browser.run("""return [...document.querySelectorAll('#node-rows [role=cell]')]
              .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText)"""), [], width)
        other.stop()
        self.browser.run("loadNodes()")
        self.wait("it is away", lambda: "away" in rows()[1])
        self.assertIn("1 of 2 up", self.browser.text("#nodes-count"))

    def test_the_page_survives_a_restart_of_the_daemon(self):
        qemu = self.world.started_vm(self.stream)
        self.open()
        self.wait("vm1 runs", lambda: "running" in self.row())
        self.browser.run("window.sameDocument = true")
        self.world.stop()
        self.wait_text("lost the stream", "#status")
        self.world.start()
        self.wait_text("live", "#status")
        qemu.kill(signal.SIGABRT)
        self.wait("its end is there", lambda: "CRASH" in self.row())
        self.assertTrue(self.browser.run("return window.sameDocument"))

    def test_the_page_survives_a_restart_of_its_server(self):
        web = self.start()
        port = self.port
        self.open()
        self.browser.run("window.sameDocument = true")
        web.terminate()
        web.wait(world.patience())
        self.wait_text("connection is lost", "#status")
        self.start("--listen", f"127.0.0.1:{port}", ready=False)
        self.crash()
        self.wait("the end is there", lambda: "CRASH" in self.row())
        self.assertTrue(self.browser.run("return window.sameDocument"))
        self.browser.complaints()  # of the requests while it was away

    def test_a_hostile_name_is_text_and_leads_to_its_own_page(self):
        for name in web_case.HOSTILE:
            self.world.started_vm(self.stream, name).kill(signal.SIGABRT)
            self.stream.wait(f"{name} has ended", lambda: self.stream.events[-1].type == pb.EVENT_TYPE_STOPPED)
        named = sorted({event.vm.name for event in self.stream.events})
        self.open()
        self.wait("all are listed", lambda: sorted(self.names()) == named)
        for name in named:
            self.browser.run("""[...document.querySelectorAll('#rows .name a')].find((one) =>
              one.textContent === arguments[0]).click()""", name)
            self.wait(f"the page of {name!r}", lambda n=name: self.browser.text("#vm-title") == n)
            self.wait("its story", lambda: "ENDED" in self.browser.text("#why").upper() or "CRASH" in self.browser.text("#why"))
            self.wait("its events", lambda: len(self.browser.texts("#event-rows .row")) == 2)
            self.assertIn("1 CRASH", self.browser.run("return document.querySelector('#bar svg').getAttribute('aria-label')"))
            self.open(self.address())
            self.wait(f"the page again of {name!r}", lambda n=name: self.browser.text("#vm-title") == n)
            self.click("#back")
            self.wait("the list", lambda: sorted(self.names()) == named)

    def test_the_filter_is_in_the_address(self):
        # The host may be called "vm", and the word may be that of a node.
        self.crash("web1")
        self.crash("db1")
        self.world.started_vm(self.stream, "web2")
        self.open("#q=web&class=CRASH")
        self.wait("one is selected", lambda: self.names() == ["web1"])
        self.click("[data-class=CRASH]")
        self.wait("all of that name", lambda: sorted(self.names()) == ["web1", "web2"])
        self.assertEqual(self.address(), "#q=web")
        self.browser.run("const f = document.getElementById('filter'); f.value = 'crash'; f.oninput()")
        self.wait("those of the word", lambda: sorted(self.names()) == ["db1", "web1"])
        self.assertEqual(self.address(), "#q=crash")
        self.click("[data-sort=name] button")
        self.wait("by name", lambda: self.names() == ["db1", "web1"])
        self.browser.run("const f = document.getElementById('filter'); f.value = 'none'; f.oninput()")
        self.wait_text("No VM matches", "#empty")

    def fake(self, count):
        daemon = fake_daemon.FakeDaemon(self.world.path / "fake", [fake_daemon.vm(f"vm{i:05}") for i in range(count)])
        self.addCleanup(daemon.close)
        return daemon

    def test_a_list_of_10000_vms_scrolls(self):
        daemon = self.fake(10000)
        self.open(server=daemon.address)
        self.wait_text("10000 alive", "#count")
        for part in (0, .25, .5, .9, 1):
            self.browser.run("window.scrollTo(0, arguments[0] * document.documentElement.scrollHeight)", part)
            self.wait("rows fill the window", lambda: self.browser.run("""
              const rows = [...document.querySelectorAll('#rows .row')].map((row) => row.getBoundingClientRect());
              return rows.length > 0 && rows.length < 100 && Math.min(...rows.map((r) => r.top)) <= document.querySelector('#vms .head').getBoundingClientRect().bottom + 2
                && Math.max(...rows.map((r) => r.bottom)) >= window.innerHeight - 80"""))
        self.assertIn("vm09999", self.names())
        self.assertEqual(self.browser.run("return document.getElementById('vms').getAttribute('aria-rowcount')"), "10001")
        # An event changes its row, wherever it is.
        daemon.add(pb.Event(type="EVENT_TYPE_PAUSED", vm={"name": "vm09999", "run_id": "run of vm09999",
                                                          "source": "libvirt:qemu:///system"}, state="VM_STATE_PAUSED"))
        self.wait("it is paused", lambda: self.browser.run("return vms.get([...vms.keys()].find((k) => k.includes('vm09999'))).state")
                  == "PAUSED")

    def test_the_keyboard_reaches_every_row(self):
        self.open(server=self.fake(500).address)
        self.wait("the list", lambda: self.names()[:1] == ["vm00000"])
        press = lambda key, code: [self.browser.command("Input.dispatchKeyEvent", {  # noqa: E731
            "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text})
            for kind, number, text in (("keyDown", {"/": 191, "Tab": 9, "End": 35, "ArrowUp": 38, "Enter": 13}[key],
                                        {"/": "/", "Enter": "\r"}.get(key, "")), ("keyUp", 0, ""))]
        focused = lambda: self.browser.run("return document.activeElement.id || document.activeElement.textContent")  # noqa: E731
        press("/", "Slash")
        self.wait("the filter", lambda: focused() == "filter")
        for _ in range(40):
            if focused() == "vm00000":
                break
            press("Tab", "Tab")
        self.assertEqual(focused(), "vm00000")
        press("End", "End")
        self.wait("the last row", lambda: focused() == "vm00499")
        press("ArrowUp", "ArrowUp")
        self.wait("the row above", lambda: focused() == "vm00498")
        press("Enter", "Enter")
        self.wait("its page", lambda: self.browser.text("#vm-title") == "vm00498")
        self.wait("its events were read", lambda: self.browser.text("#why"))

    def test_the_page_fits_and_can_be_read_in_every_window(self):
        self.crash("a-name-that-is-" + "long-" * 10)
        self.crash()
        self.open()
        for width in (360, 720, 1600):
            for dark in (False, True):
                for fragment in ("#", "#vm=vm1", "#view=events"):
                    self.browser.look(width, 800, dark)
                    self.open(fragment)
                    self.wait("it is drawn", lambda: "CRASH" in self.browser.text("main"))
                    self.assertLessEqual(self.browser.run("return document.documentElement.scrollWidth - window.innerWidth"), 0)
                    self.assertEqual(self.browser.run(CONTRAST), [], (width, dark, fragment))
        self.wait("the chart", lambda: self.browser.run("return document.getElementById('log-chart').checkVisibility()"))
        headings = self.browser.run("return [...document.querySelectorAll('h1,h2')].filter((e) => e.checkVisibility()).map((e) => e.tagName)")
        self.assertEqual(headings, ["H1", "H2"])
        self.open("#vm=vm1")
        self.wait("it is drawn", lambda: "CRASH" in self.browser.text("main"))
        headings = self.browser.run("return [...document.querySelectorAll('h1,h2')].filter((e) => e.checkVisibility()).map((e) => e.tagName)")
        self.assertEqual(headings, ["H1", "H2", "H2", "H2"])


# Elements whose text has less contrast to its background than WCAG's AA asks for.
CONTRAST = """
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if ((numbers(color)[3] ?? 1) === 1) return color;
    }
  };
  return [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility() &&
      [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && !element.closest('svg, .skip'))
    .filter((element) => {
      const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
      return (a + .05) / (b + .05) < 4.5;
    }).map((element) => element.outerHTML.slice(0, 100));"""


if __name__ == "__main__":
    world.run_tests(__doc__)
