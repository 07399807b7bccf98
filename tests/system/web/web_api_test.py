#!/usr/bin/python3
"""vmevents web with the real vmeventd, by its API.

  web_api_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import base64
import json
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import fake_daemon  # noqa: E402
import web_case  # noqa: E402
import world  # noqa: E402


class ApiTest(web_case.WebTest):

    def test_the_lists_match_the_command_line(self):
        self.crash()
        self.world.started_vm(self.stream, "vm2")
        self.start()
        self.assertEqual([one["ref"]["name"] for one in self.get("/api/v1/vms")["vms"]], ["vm2"])
        every = {one["ref"]["name"]: one for one in self.get("/api/v1/vms?all")["vms"]}
        self.assertEqual((every["vm1"]["state"], every["vm1"]["ends"]), ("VM_STATE_STOPPED", 1))
        stopped = self.get("/api/v1/events?type=stopped&class=crash&since=1h")["events"]
        printed = subprocess.run([world.PROGRAMS["vmevents"], "--server", f"unix:{self.world.socket}", "-o", "json", "events",
                                  "--type", "stopped"], check=True, capture_output=True, text=True).stdout
        for one in stopped:
            self.assertIn("qemu crashed, SIGABRT", one.pop("detail"))
        self.assertEqual(stopped, [json.loads(line) for line in printed.splitlines()])
        self.assertEqual(self.get("/api/v1/events?class=user")["events"], [])
        story, = self.get("/api/v1/vms/vm1")["stories"]
        self.assertIn("CRASH", story["text"])
        self.assertEqual(story["last_end"]["type"], "EVENT_TYPE_STOPPED")

    def test_ends_are_counted_and_nodes_described(self):
        self.crash()
        self.start()
        self.assertEqual(self.get("/api/v1/counts?by=class")["counts"], [{"class": "CRASH", "events": 1}])
        hour, = self.get("/api/v1/counts?by=hour&class=crash&since=1h&zone=UTC")["counts"]
        self.assertRegex(hour["hour"], r"^\d{4}-\d\d-\d\d \d\d$")
        node, = self.get("/api/v1/nodes")["nodes"]
        self.assertEqual((node["reachable"], node["ends_in_24h"], [one["vm"] for one in node["trouble"]]), (True, {"CRASH": 1}, ["vm1"]))
        self.assertEqual(self.get("/api/v1/vms")["servers"], [node["node"]])

    def test_trouble_matches_the_command_line(self):
        self.world.started_vm(self.stream, "aaa")
        self.world.started_vm(self.stream, "bbb").send(world.qmp("STOP"))
        self.stream.wait_event("PAUSED", "bbb")
        self.crash("ccc")
        self.end_unseen("ddd")
        self.start()
        printed = subprocess.run([world.PROGRAMS["vmevents"], "--server", f"unix:{self.world.socket}", "-o", "name", "vms",
                                  "--trouble", "--sort-by", "trouble"], check=True, capture_output=True, text=True).stdout
        self.assertEqual(printed.split(), ["bbb", "ccc", "ddd"])
        for query in ("trouble=1", "trouble"):
            self.assertEqual([one["ref"]["name"] for one in self.get(f"/api/v1/vms?{query}&sort-by=trouble")["vms"]], ["bbb", "ccc", "ddd"])

    def test_a_pid_finds_its_run(self):
        first = self.world.started_vm(self.stream)
        first.kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED")
        second = self.world.started_vm(self.stream)
        self.world.started_vm(self.stream, "vm2")
        self.start()
        types = lambda path: [one["type"].removeprefix("EVENT_TYPE_") for one in self.get("/api/v1/events?" + path)["events"]]  # noqa: E731
        self.assertEqual(types(f"pid={first.pid}"), ["STARTED", "STOPPED"])
        self.assertEqual(types(f"pid={second.pid}&vm=vm1"), ["STARTED"])
        self.assertEqual(types(f"pid={second.pid}&vm=vm2"), [])
        self.assertEqual([(one["ref"]["name"], one["state"]) for one in self.get(f"/api/v1/vms?pid={first.pid}")["vms"]],
                         [("vm1", "VM_STATE_STOPPED")])
        self.assertEqual(self.get(f"/api/v1/counts?by=vm&pid={first.pid}")["counts"], [{"vm": "vm1", "events": 1}])
        for path in ("vms", "events", "counts"):
            self.assertEqual(self.get(f"/api/v1/{path}?pid={os.getpid()}")[path], [])
        self.assertIn("write a number", self.get("/api/v1/events?pid=x", 400)["error"])
        self.assertIn("the parameters are node", self.get("/api/v1/nodes?pid=1", 400)["error"])

    def test_texts_are_in_the_requested_zone(self):
        self.crash()
        self.start()
        for zone, offset in (("Asia/Tehran", r"\+0330"), ("UTC", "UTC")):
            answer = self.get(f"/api/v1/vms/vm1?zone={zone}")
            self.assertEqual(answer["zone"], zone)
            self.assertRegex(answer["stories"][0]["text"], offset)
        for wrong in ("Nowhere/City", "/etc/localtime", "../zoneinfo/Asia/Tehran", "file:/etc/localtime", "Asia", "Asia//Kathmandu"):
            error = self.get("/api/v1/vms?" + urllib.parse.urlencode({"zone": wrong}), 400)["error"]
            self.assertIn(f'zone: "{wrong}" is not a time zone', error)

    def test_the_error_for_a_wrong_query_names_the_fault_and_the_correct_form(self):
        self.start()
        for path, sentence in (("events?type=stoped", "did you mean stopped?"), ("events?since=x", "since: "),
                               ("events?bogus=1", "the parameters are cause, class, label"), ("events?last=1001", "at most 1000"),
                               ("events?vm=%ff", "UTF-8"), ("events?vm=", "empty"), ("events?vm", "empty"),
                               ("events?server=x", "not a parameter"), ("vms?state=x", "state: "),
                               ("events/stream?from=snapshot", "/api/v1/vms"), ("vms/", "empty"), ("vms/%ff", "UTF-8")):
            self.assertIn(sentence, self.get("/api/v1/" + path, 400)["error"], path)
        self.assertIn("not a position", self.get("/api/v1/events/stream", 400, Last_Event_ID="x")["error"])
        self.assertIn("vm9", self.get("/api/v1/vms/vm9", 404)["error"])
        self.assertIn("/healthz", self.get("/api/v2/vms", 404)["error"])

    def test_a_stream_resumes_after_the_last_id(self):
        self.crash()
        self.start()
        stream = self.follow("?from=oldest")
        first, event = stream.next()
        self.assertEqual(first, f"{self.world.info().journal_id}:{event['sequence']}")
        second, later = stream.next()
        resumed, same = self.follow(Last_Event_ID=first).next()
        self.assertEqual((resumed, same), (second, later))

    def test_a_lost_journal_is_a_gap(self):
        self.crash()
        self.start()
        last, _ = self.follow("?from=oldest").next()
        self.world.damage_journal()
        _, gap = self.follow(Last_Event_ID=last).next("gap")
        self.assertIn("may be missing", gap["message"])

    def test_an_unreachable_daemon_is_noted_and_no_event_is_lost(self):
        self.start()
        stream = self.follow("?type=started")
        stream.next("open")
        self.world.restart()
        self.assertIn("lost the stream", stream.next("note")[1]["text"])
        self.stream = self.world.oldest()
        self.world.started_vm(self.stream)
        self.assertEqual(stream.next()[1]["vm"]["name"], "vm1")

    def test_without_a_daemon_the_api_answers_503_and_the_page_is_served(self):
        self.world.stop()
        self.start()
        self.assertIn(str(self.world.socket), self.get("/api/v1/vms", 503)["error"])
        self.assertEqual(self.ask("/").status, 200)
        self.assertEqual(self.ask("/healthz").read(), b"ok\n")

    def test_several_daemons_are_one_list_and_one_stream(self):
        other = world.World()
        self.addCleanup(other.close)
        stream = other.begin()
        self.world.started_vm(self.stream, "vm1")
        other.started_vm(stream, "vm2")
        self.start("--server", f"unix:{other.socket}")
        self.assertEqual({one["ref"]["name"] for one in self.get("/api/v1/vms")["vms"]}, {"vm1", "vm2"})
        world.wait_until("both are in the journals", lambda: sum(
            one.get("durable", False) for one in self.get("/api/v1/events?type=started")["events"]) == 2)
        events = self.follow("?from=oldest&type=started")
        ids = [events.next()[0] for _ in range(2)]
        # One position for each daemon: there is nothing after the second event.
        self.crash("vm3")
        again = self.follow("?type=started", Last_Event_ID=ids[1])
        self.assertEqual(again.next()[1]["vm"]["name"], "vm3")
        other.stop()
        listed = self.get("/api/v1/vms?all")
        self.assertIn(str(other.socket), " ".join(listed["problems"]))
        self.assertIn("vm1", {one["ref"]["name"] for one in listed["vms"]})
        # An empty list is an answer if some nodes answer; if no node answers, it is none.
        for path in ("counts?by=class&class=user", "events?class=user"):
            answer = self.get("/api/v1/" + path)
            self.assertEqual(answer[path.split("?", maxsplit=1)[0]], [])
            self.assertIn(str(other.socket), " ".join(answer["problems"]))
        unknown = self.get("/api/v1/vms/vm9", 404)
        self.assertIn("no such VM is known on the nodes that answer", unknown["error"])
        self.assertIn(str(other.socket), " ".join(unknown["problems"]))
        self.world.stop()
        self.assertIn("error", self.get("/api/v1/vms/vm9", 503))
        self.assertIn("error", self.get("/api/v1/counts?by=class&class=user", 503))

    def test_a_list_that_takes_longer_than_the_timeout_of_a_client_is_answered(self):
        daemon = fake_daemon.FakeDaemon(self.world.path / "fake", [fake_daemon.vm("vm1")])
        self.addCleanup(daemon.close)
        daemon.list_seconds = 12
        self.start(server=daemon.address)
        self.assertEqual(self.get("/api/v1/vms")["vms"][0]["ref"]["name"], "vm1")

    def test_64_streams_may_be_open_at_a_time(self):
        self.start()
        first = self.follow()
        connection = self.connection
        rest = [self.follow() for _ in range(63)]
        self.assertIn("64", self.get("/api/v1/events/stream", 503)["error"])
        self.assertEqual(self.get("/api/v1/vms")["vms"], [])
        first.response.close()
        connection.close()

        def is_open():
            status = self.ask("/api/v1/events/stream").status
            self.connection.close()
            return status == 200
        world.wait_until("a stream has gone", is_open)
        self.assertEqual(rest[-1].next("open")[1], {})

    def test_a_vm_of_any_name_has_a_path(self):
        for name in web_case.HOSTILE:
            self.world.started_vm(self.stream, name)
        self.start()
        for one in self.get("/api/v1/vms")["vms"]:
            path = "/api/v1/vms/" + urllib.parse.quote(one["ref"]["name"], safe="")
            self.assertEqual([story["name"] for story in self.get(path)["stories"]], [one["ref"]["name"]])

    def test_only_reads_from_the_same_site_are_permitted(self):
        self.start()
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            response = self.ask("/api/v1/vms", method, body=None if method in ("OPTIONS", "TRACE") else "x" * 100)
            self.assertEqual((response.status, response.getheader("Allow")), (405, "GET, HEAD"), method)
        for host in ("evil.example", "evil.example:9557", "127.0.0.1.evil.example", "", ":9557", "localhost.", "localhost.evil",
                     "::1", "[::1", "[::1]x", "[127.0.0.1]", "0x7f000001"):
            self.assertEqual(self.ask("/", Host=host).status, 421, host)
        for host in ("localhost", "LOCALHOST:1", "10.1.2.3:9557", "[::1]:9557", "[fe80::1]"):
            self.assertEqual(self.ask("/", Host=host).status, 200, host)
        head = self.ask("/api/v1/events/stream", "HEAD")
        self.assertEqual((head.status, head.read()), (200, b""))
        for path in ("/", "/page.js", "/api/v1/vms", "/nothing"):
            response = self.ask(path, Origin="https://evil.example")
            self.assertRegex(response.getheader("Content-Security-Policy"), "^default-src 'none'; script-src 'self';")
            self.assertEqual(response.getheader("X-Content-Type-Options"), "nosniff")
            self.assertEqual(response.getheader("X-Frame-Options"), "DENY")
            self.assertEqual(response.getheader("X-Accel-Buffering"), "no", "or nginx holds the event stream back")
            self.assertIsNone(response.getheader("Access-Control-Allow-Origin"))
        self.assertGreaterEqual(self.ask("/", X="y" * 40000).status, 400)

    def test_a_request_without_the_token_is_refused(self):
        token = self.world.path / "token"
        token.write_text(web_case.TOKEN + "\n")
        token.chmod(0o600)
        self.start("--token-file", token)
        basic = base64.b64encode(f"me:{web_case.TOKEN}".encode()).decode()
        for authorization in (f"Bearer {web_case.TOKEN}", f"bearer  {web_case.TOKEN} ", f"Basic {basic}",
                              f"Basic {base64.b64encode(web_case.TOKEN.encode()).decode()}"):
            self.assertEqual(self.get("/api/v1/vms", Authorization=authorization)["vms"], [])
        for path in ("/", "/page.js", "/api/v1/vms", "/api/v1/events/stream"):
            for headers in ({}, {"Authorization": f"Bearer {web_case.TOKEN}x"}, {"Authorization": "Basic x"},
                            {"Authorization": "Basic " + base64.b64encode(web_case.TOKEN[:-1].encode()).decode()}, {"Authorization": web_case.TOKEN}, {"Authorization": "Bearer"},
                            {"Authorization": f"Digest {web_case.TOKEN}"}, {"Authorization": f"Basic {web_case.TOKEN}"}):
                response = self.ask(path, **headers)
                self.assertEqual(response.status, 401)
                self.assertRegex(response.getheader("WWW-Authenticate"), "^Basic ")
        self.assertEqual(self.ask("/healthz").read(), b"ok\n", "a probe has no token")
        self.assertEqual(self.ask("/healthz", "POST").status, 401)

    def certificates(self):
        """A CA, and certificates of it for a server and for a client."""
        world.make_certificate(self.world.path, "ca")
        for kind in ("server", "client"):
            world.make_certificate(self.world.path, kind, "subjectAltName=DNS:vms.example,IP:127.0.0.1",
                                   f"extendedKeyUsage={kind}Auth", authority="ca")
        return ["--web-cert", self.world.path / "server.pem", "--web-key", self.world.path / "server.key"]

    def use(self, certificate=None):
        self.context = ssl.create_default_context(cafile=self.world.path / "ca.pem")
        if certificate:
            self.context.load_cert_chain(self.world.path / f"{certificate}.pem", self.world.path / f"{certificate}.key")

    def test_with_tls_only_clients_with_a_client_certificate_are_served(self):
        self.start(*self.certificates(), "--web-client-ca", self.world.path / "ca.pem")
        for certificate, status in ((None, 403), ("server", 403), ("client", 200)):
            self.use(certificate)
            self.assertEqual(self.ask("/api/v1/vms").status, status, certificate)
        self.assertEqual(self.ask("/", Host="vms.example").status, 200)
        self.assertEqual(self.ask("/", Host="evil.example").status, 421)

    def test_beyond_loopback_tls_and_authentication_are_required(self):
        tls = self.certificates()
        token = self.world.path / "token"
        token.write_text(web_case.TOKEN)
        token.chmod(0o600)
        for arguments in ((), tls, ("--token-file", token)):
            web = self.start("--listen", f"0.0.0.0:{world.free_port()}", *arguments, ready=False)
            self.assertEqual(web.wait(world.patience()), 2)
            self.assertIn("other machines can connect", self.log)
        self.start("--listen", f"0.0.0.0:{(port := world.free_port())}", *tls, "--token-file", token, ready=False)
        world.wait_until("it serves", lambda: f"https://0.0.0.0:{port}/" in self.log)

    def test_an_unusable_file_or_address_is_named(self):
        token = self.world.path / "token"
        token.write_text("short")
        token.chmod(0o600)
        for arguments, code, sentence in (
                (["--token-file", token], 2, "fewer than 16"), (["--token-file", "/none"], 2, "--token-file: /none"),
                (["--web-cert", "x"], 2, "--web-key"), (["--web-client-ca", "x"], 2, "--web-cert"),
                (["--listen", "nohost.invalid"], 2, "--listen: no address of this host is nohost.invalid:9557"),
                (["--listen", "x:y"], 2, "--listen: "), (["--listen", "127.0.0.1:1", "--web-cert", ROOT / "README.md",
                                                          "--web-key", token], 2, "PEM")):
            done = subprocess.run([world.PROGRAMS["vmevents"], "web", *map(str, arguments)], check=False, capture_output=True,
                                  text=True, timeout=world.patience())
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(sentence, done.stderr)


if __name__ == "__main__":
    world.run_tests(__doc__)
