#!/usr/bin/python3
"""vmevents push with the real vmeventd and a real HTTP server that has faults.

  push_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import http_receiver  # noqa: E402
import world  # noqa: E402
from http_receiver import Answer  # noqa: E402

SECRET = "0123456789abcdef0123456789abcdef"


def document_code(marker):
    """The block of docs/act.md that has the text."""
    text = (ROOT / "docs/act.md").read_text(encoding="utf-8")
    return next(block for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if marker in block)


def cloud_events(request):
    body = json.loads(request.body)
    return body if isinstance(body, list) else [body]


def events_of(request):
    """The (source, id, type, subject) of each CloudEvent of a request."""
    return [(event["source"], int(event["id"]), event["type"], event.get("subject"))
            for event in cloud_events(request)]


class PushTest(world.WorldTest):
    """Each test has a daemon with the VM "vm1" and a receiver."""

    def setUp(self):
        super().setUp()
        self.stream = self.world.begin()
        self.path = self.world.path
        self.receiver = self.make_receiver()

    def make_world(self, *arguments):
        made = world.World()
        self.addCleanup(made.close)
        return made.start(*arguments)

    def make_receiver(self, tls=None):
        receiver = http_receiver.Receiver(tls)
        self.addCleanup(receiver.close)
        return receiver

    # The push.

    def command(self, *arguments, url=None, server=None, state="push"):
        return [world.PROGRAMS["vmevents"], "--server", server or f"unix:{self.world.socket}", "push",
                *([] if "--url-file" in arguments else [url or self.receiver.url + "/hook"]),
                "--state-dir", self.path / state, *arguments]

    def start(self, *arguments, since="oldest", **options):
        with open(self.path / "push.log", "ab") as log:
            push = subprocess.Popen(self.command("--from", since, *arguments, **options),
                                    stderr=log, stdout=log)
        self.addCleanup(self.end, push, signal.SIGKILL)
        return push

    def end(self, push, number=signal.SIGTERM):
        if push.poll() is None:
            push.send_signal(number)
        return push.wait(world.patience())

    @property
    def log(self):
        return (self.path / "push.log").read_text()

    def wait_log(self, text):
        world.wait_until(f"its log has {text!r}: {self.log}", lambda: text in self.log)

    def status(self):
        done = subprocess.run([world.PROGRAMS["vmevents"], "-o", "json", "push", "--status", "--state-dir",
                               self.path / "push"], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def sequence(self):
        """The sequence of the cursor; 0: there is none."""
        positions = self.status()["positions"]
        return int(positions[0]["sequence"]) if positions else 0

    def expected(self, of=None):
        """(source, id, type, subject) of each event of the journal."""
        of = of or self.world
        info = of.info()
        prefix = f"/vmevents/=/{info.node.replace('.', '=2E')}/{info.journal_id}"
        return [(prefix, event.sequence, "vmevents.v1." + self.type_of(event), event.vm.name or None)
                for event in of.events()]

    @staticmethod
    def type_of(event):
        words = [world.type_name(event)]
        if event.HasField("shutdown"):
            words.append(world.pb.ShutdownClass.Name(event.shutdown.shutdown_class).removeprefix("SHUTDOWN_CLASS_"))
        return ".".join(words).lower().replace("_", "-")

    def delivered(self, receiver=None):
        receiver = receiver or self.receiver
        return [event for request in receiver.accepted for event in events_of(request)]

    def wait_delivered(self, expected, receiver=None):
        receiver = receiver or self.receiver
        receiver.wait(f"{expected} were delivered; its log: {self.log}",
                      lambda: set(expected) <= set(self.delivered(receiver)))

    # The VMs.

    def crash(self, name="vm1"):
        self.world.started_vm(self.stream, name).kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", name)

    def events(self, count, name="vm1"):
        """A VM with so many events after STARTED."""
        qemu = self.world.started_vm(self.stream, name)
        for number in range(count):
            qemu.send(world.qmp("STOP" if number % 2 == 0 else "RESUME"))
        self.stream.wait("its events are published", lambda: len(
            [kind for kind in self.stream.types(name) if kind in ("PAUSED", "RESUMED")]) >= count)
        return qemu

    def secret_file(self, name, text):
        """Replaces it as a manager of secrets does."""
        (self.path / "new").write_text(text)
        (self.path / "new").chmod(0o600)
        (self.path / "new").rename(self.path / name)
        return self.path / name

    # Formats.

    def test_the_example_templates_send_their_fields(self):
        self.crash()
        for file in sorted((ROOT / "examples/push").iterdir()):
            receiver = self.make_receiver()
            form = self.path / file.name
            form.write_text(file.read_text(encoding="utf-8").replace("REPLACE-BY-THE-KEY-OF-YOUR-INTEGRATION", "key"))
            self.start("--template", form, "--class", "crash", url=receiver.url, state=file.stem)
            receiver.wait("it is delivered", lambda receiver=receiver: receiver.accepted)
            body = json.dumps(json.loads(receiver.accepted[0].body), separators=(",", ":"))
            self.assertIn("vm1 on ", body)
            self.assertIn(": STOPPED, CRASH (QEMU_CRASHED): QEMU was killed by SIGABRT", body)
            self.assertNotIn("CRASH: ", body, "the class once")
            self.assertNotIn("{{", body)
            self.assertIn(f"({file.name})", (ROOT / "docs/act.md").read_text(encoding="utf-8").replace(
                "../examples/push/", ""))

    def test_a_title_has_the_vms_name_and_a_pager_the_severity(self):
        self.crash()
        for name, field, value in (("slack", "text", "vm1: STOPPED CRASH"), ("ntfy", "title", "vm1: STOPPED CRASH")):
            receiver = self.make_receiver()
            self.start("--template", ROOT / f"examples/push/{name}.json", "--class", "crash", url=receiver.url, state=name)
            receiver.wait("it is delivered", lambda receiver=receiver: receiver.accepted)
            self.assertEqual(json.loads(receiver.accepted[0].body)[field], value)

    def test_a_template_with_a_placeholder_is_refused(self):
        done = subprocess.run(self.command("--template", ROOT / "examples/push/pagerduty.json"), check=False,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn('has "REPLACE-BY-THE-KEY-OF-YOUR-INTEGRATION"; write your own value there', done.stderr)

    def test_a_gap_of_the_node_is_sent_only_if_requested(self):
        self.crash()
        self.world.damage_journal()
        self.stream = self.world.oldest()
        self.crash("vm2")
        gaps = [event.sequence for event in self.world.events() if world.type_name(event) == "GAP"]
        self.assertTrue(gaps)
        other = self.make_receiver()
        self.start("--class", "crash")
        self.start("--class", "crash", "--type", "stopped", "--type", "gap", url=other.url, state="other")
        for receiver in (self.receiver, other):
            receiver.wait("the crash is delivered", lambda receiver=receiver: "vm2" in [
                subject for *_, subject in self.delivered(receiver)])
        self.assertEqual([kind for *_, kind, _ in self.delivered() if kind.endswith("gap")], [])
        self.assertEqual(len([kind for *_, kind, _ in self.delivered(other) if kind.endswith("gap")]), len(gaps))

    def test_a_trial_sends_one_marked_event_and_prints_the_answer(self):
        self.receiver.answers = [Answer(200, b"thanks")]
        done = subprocess.run(self.command("--test"), check=True, capture_output=True, text=True)
        self.assertEqual(done.stdout, f"{self.receiver.url}: it answers 200: thanks\n")
        event, = cloud_events(self.receiver.accepted[0])
        self.assertEqual((event["subject"], event["data"]["message"]),
                         ("vmevents-test", "this is a test of vmevents push, and no VM has ended"))
        self.assertFalse((self.path / "push").exists())
        self.receiver.answers = [Answer(403, b"invalid_token")]
        done = subprocess.run(self.command("--test"), check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("it answers 403: invalid_token", done.stderr)

    def test_a_proxy_of_the_environment_is_used_for_https(self):
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            proxy.settimeout(world.patience())
            push = subprocess.Popen(self.command("--test", url="https://events.example/vms"), stderr=subprocess.DEVNULL,
                                    env={**os.environ, "https_proxy": f"http://127.0.0.1:{proxy.getsockname()[1]}",
                                         "no_proxy": ""})
            connection, _ = proxy.accept()
            with connection, connection.makefile() as lines:
                self.assertEqual(lines.readline(), "CONNECT events.example:443 HTTP/1.1\n")
            self.assertEqual(push.wait(world.patience()), 1)

    def test_the_documented_fields_of_a_template_exist(self):
        (self.path / "form").write_text('{"text": "{{name}}"}')
        done = subprocess.run(self.command("--template", self.path / "form"), check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn('form has "{{name}}", which is no field; ', done.stderr)
        fields = set(re.search("write one of (.*)", done.stderr)[1].split(", "))
        row = re.search(r"(?m)^The fields: (.*?)\.$", (ROOT / "docs/act.md").read_text(encoding="utf-8"), re.DOTALL)[1]
        self.assertEqual(set(re.findall(r"`(\w+)`", row)), fields)

    # The signature.

    def test_the_documented_check_of_a_signature_works(self):
        check = {}
        exec(document_code("def verified("), check)  # pylint: disable=exec-used
        secret = self.path / "secret"
        secret.write_text(SECRET + "\n" + SECRET[::-1] + "\n")
        secret.chmod(0o600)
        self.crash()
        self.start("--secret-file", secret)
        self.receiver.wait("it is delivered", lambda: self.receiver.accepted)
        request = self.receiver.accepted[0]
        header = request.headers["Vmevents-Signature"]
        verified = check["verified"]
        now = int(re.match(r"t=(\d+)", header)[1])
        for right in (SECRET, SECRET[::-1]):
            self.assertTrue(verified(right, header, request.body, now=now + 299))
        self.assertFalse(verified("another secret 0", header, request.body, now=now))
        self.assertFalse(verified(SECRET, header, request.body + b" ", now=now))
        self.assertFalse(verified(SECRET, header.replace(f"t={now}", f"t={now + 1}"), request.body, now=now))
        self.assertFalse(verified(SECRET, header, request.body, now=now + 301), "it is too old")
        self.assertFalse(verified(SECRET, header, request.body, now=now - 301), "it is of the future")
        self.assertFalse(verified(SECRET, "", request.body, now=now))
        self.assertFalse(verified(SECRET, "t=x,v1=", request.body, now=now))

    def test_no_secret_is_logged_or_visible_to_other_users(self):
        for name, text in (("url", self.receiver.url + "/T0/secret-of-the-path\n"), ("secret", SECRET),
                           ("headers", "Authorization: Bearer token-of-mine\nX-Team: ops\n")):
            (self.path / name).write_text(text)
            (self.path / name).chmod(0o600)
        self.crash()
        self.receiver.answers = [Answer(500), Answer(404)]
        push = self.start("--url-file", self.path / "url", "--secret-file", self.path / "secret",
                          "--header-file", self.path / "headers", "--metrics-file", self.path / "push.prom", "--batch", "1")
        self.receiver.wait("it is delivered", lambda: self.receiver.accepted)
        request = self.receiver.accepted[0]
        self.assertEqual(request.path, "/T0/secret-of-the-path")
        self.assertEqual((request.headers["Authorization"], request.headers["X-Team"]), ("Bearer token-of-mine", "ops"))
        self.end(push)
        told = self.log + json.dumps(self.status()) + (self.path / "push.prom").read_text() + \
            "".join(file.read_text() for file in (self.path / "push").iterdir())
        for hidden in ("secret-of-the-path", SECRET, "token-of-mine"):
            self.assertNotIn(hidden, told)
        self.assertIn("http://127.0.0.1:", told)
        for name, option in (("url", "--url-file"), ("secret", "--secret-file"), ("headers", "--header-file")):
            (self.path / name).chmod(0o644)
            done = subprocess.run(self.command(option, self.path / name), check=False, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"{option}: ", done.stderr)
            self.assertIn("may be read by every user of the host", done.stderr)
            (self.path / name).chmod(0o600)

    # Faults that pass.

    def check_after(self, *faults, arguments=(), once=True):
        self.events(5)
        self.receiver.answers = list(faults)
        self.start("--batch", "2", *arguments)
        self.wait_delivered(self.expected())
        delivered = self.delivered() if once else list(dict.fromkeys(self.delivered()))
        self.assertEqual(delivered, self.expected(), "each once, in order")
        self.assertEqual(self.status()["set_aside_events"], 0)

    def test_a_failed_request_is_sent_again(self):
        self.check_after(Answer(503, b"try \x1b[31mlater"), Answer(408), Answer(425))
        self.assertIn("it answers 503: try \\x1b[31mlater (trying again)", self.log)
        self.assertIn("accepts events again", self.log)

    def test_a_reset_connection_is_retried(self):
        self.check_after(Answer(reset="before"), Answer(reset="middle"))

    def test_a_hung_receiver_is_retried_after_the_timeout(self):
        released = threading.Event()
        self.addCleanup(released.set)
        # On a busy machine, so short a timeout may also end a request that would be answered; its events come again.
        self.check_after(Answer(before=lambda: released.wait(world.patience()), status=500),
                         arguments=("--timeout", "1s"), once=False)
        self.assertIn("(trying again)", self.log)

    def test_a_redirection_is_not_followed(self):
        other = self.make_receiver()
        self.check_after(Answer(307, headers={"Location": other.url}), Answer(302, headers={"Location": other.url}))
        self.assertEqual(other.requests, [])
        self.assertIn(f"307, a redirection to {other.url}, which is not followed", self.log)

    def test_an_endless_response_takes_bounded_memory(self):
        self.check_after(Answer(500, b"x" * (1 << 20)), Answer(500, headers={f"X-{n}": "y" * 900 for n in range(90)}))
        self.assertLess(len(json.dumps(self.status())), 4000)

    def test_a_rotated_token_and_secret_are_read_again(self):
        check = {}
        exec(document_code("def verified("), check)  # pylint: disable=exec-used
        secret = self.secret_file("secret", SECRET)
        token = self.secret_file("token", "Authorization: Bearer old\n")
        metrics = self.path / "push.prom"
        self.receiver.decide = lambda request: Answer(
            200 if request.headers["Authorization"] == "Bearer new" else 401, b"expired")
        options = ("--header-file", token, "--secret-file", secret, "--metrics-file", metrics)
        self.crash()
        refused = "it answers 401: expired (trying again)"
        push = self.start(*options)
        self.wait_log(refused)
        self.end(push, signal.SIGKILL)
        push = self.start(*options)
        world.wait_until("it is refused again", lambda: self.log.count(refused) == 2)
        world.wait_until("it shows", lambda: self.status()["state"] == "failing")
        self.assertEqual(self.status()["error"], "it answers 401: expired")
        self.assertIn("lag_seconds", self.status())
        self.assertRegex(metrics.read_text(), r"(?m)^vmevents_push_failing_since_timestamp_seconds\S+ [1-9]")
        self.assertFalse((self.path / "push/set-aside.jsonl").exists())
        token.unlink()
        self.wait_log("token cannot be read: No such file or directory (trying again)")
        self.secret_file("secret", SECRET[::-1])
        self.secret_file("token", "Authorization: Bearer new\n")
        self.wait_delivered(self.expected())
        self.assertEqual(self.delivered(), self.expected())
        request = self.receiver.accepted[0]
        self.assertTrue(check["verified"](SECRET[::-1], request.headers["Vmevents-Signature"], request.body))
        self.assertRegex(request.headers["Content-Type"], r"^application/cloudevents(-batch)?\+json; charset=utf-8$")
        self.assertEqual(self.end(push), 0)

    # Faults that stay.

    def test_events_that_were_set_aside_are_sent_again(self):
        self.events(4)
        expected = self.expected()
        bad = expected[1:3]
        self.receiver.decide = lambda request: Answer(400 if set(bad) & set(events_of(request)) else 200)
        push = self.start()
        self.wait_delivered([event for event in expected if event not in bad])
        world.wait_until("the rest is set aside", lambda: self.status()["set_aside_now"] == 2)
        retry = self.command("--retry-set-aside")
        # One event is still refused.
        bad = bad[1:]
        done = subprocess.run(retry, check=True, capture_output=True, text=True)
        self.assertIn("are sent again by the push that runs", done.stderr)
        self.wait_delivered([expected[1]])
        world.wait_until("the other is set aside again", lambda: self.status()["set_aside_now"] == 1)
        world.wait_until("all is done", lambda: not (self.path / "push/retry.jsonl").exists())
        self.end(push)
        # The next push sends them; a line that is no event stays.
        with open(self.path / "push/set-aside.jsonl", "a", encoding="utf-8") as file:
            file.write("by hand\n")
        bad = []
        done = subprocess.run(retry, check=True, capture_output=True, text=True)
        self.assertIn("are sent again once this push is started", done.stderr)
        self.start()
        self.wait_delivered(expected)
        self.assertEqual(sorted(self.delivered()), expected, "each once")
        world.wait_until("all is done", lambda: not (self.path / "push/retry.jsonl").exists())
        self.assertEqual((self.path / "push/set-aside.jsonl").read_text(), "by hand\n")
        (self.path / "push/set-aside.jsonl").unlink()
        done = subprocess.run(retry, check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("nothing is set aside in", done.stderr)

    # TLS.

    def certificates(self):
        """A CA, and certificates for 127.0.0.1, for another name and of a client."""
        world.make_certificate(self.path, "ca")
        for name, names in (("right", "IP:127.0.0.1"), ("wrong", "DNS:other.example"), ("client", "DNS:node7")):
            world.make_certificate(self.path, name, f"subjectAltName={names}", authority="ca")

    def tls_receiver(self, name, client=False, context=None):
        context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path / f"{name}.pem", self.path / f"{name}.key")
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path / "ca.pem")
        return self.make_receiver(context)

    def test_only_a_receiver_with_a_trusted_certificate_gets_events(self):
        self.certificates()
        self.crash()
        ca = ("--push-ca", self.path / "ca.pem")
        wrong = self.tls_receiver("wrong")
        push = self.start(*ca, url=wrong.url)
        self.wait_log("SSL: no alternative certificate subject name matches target host name '127.0.0.1'")
        self.end(push)
        right = self.tls_receiver("right")
        push = self.start(url=right.url)  # whose CA is not the system's
        self.wait_log("SSL certificate problem")
        self.end(push)
        self.assertEqual(wrong.requests + right.requests, [])
        self.start(*ca, url=right.url)
        self.wait_delivered(self.expected(), right)

    def test_a_receiver_without_tls_is_named_as_the_cause(self):
        self.crash()
        self.start(url=self.receiver.url.replace("http:", "https:"))
        self.wait_log("its port may be that of http://")

    def test_a_replaced_ca_is_read_again(self):
        self.certificates()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        receiver = self.tls_receiver("right", context=context)
        receiver.decide = lambda _: Answer(headers={"Connection": "close"})
        in_use = self.secret_file("in-use.pem", (self.path / "ca.pem").read_text())
        self.crash()
        self.start("--push-ca", in_use, url=receiver.url)
        self.wait_delivered(self.expected(), receiver)
        self.certificates()  # of another CA than the one in use
        context.load_cert_chain(self.path / "right.pem", self.path / "right.key")
        self.crash("vm2")
        self.wait_log("SSL certificate problem")
        self.secret_file("in-use.pem", (self.path / "ca.pem").read_text())
        self.wait_delivered(self.expected(), receiver)

    def test_a_receiver_may_require_a_client_certificate(self):
        self.certificates()
        self.crash()
        receiver = self.tls_receiver("right", client=True)
        ca = ("--push-ca", self.path / "ca.pem")
        push = self.start(*ca, url=receiver.url)
        self.wait_log("(trying again)")
        self.end(push)
        self.assertEqual(receiver.requests, [])
        self.start(*ca, "--push-cert", self.path / "client.pem", "--push-key", self.path / "client.key",
                   url=receiver.url)
        self.wait_delivered(self.expected(), receiver)

    # Stops and kills.

    def test_a_kill_loses_nothing_and_repeats_the_same(self):
        dice = random.Random(1)
        pushes = []
        lock = threading.Lock()

        def kill():
            with lock:
                if pushes:
                    pushes[-1].kill()
                    pushes[-1].wait()
            with self.receiver.lock:
                self.receiver.lock.notify_all()  # no request will

        def decide(_):
            if dice.random() < 0.6:
                return Answer()
            return Answer(**{dice.choice(("before", "after")): kill})

        self.receiver.decide = decide
        qemu = self.world.started_vm(self.stream)
        for number in range(12):
            qemu.send(world.qmp("STOP" if number % 2 == 0 else "RESUME"))
            self.stream.wait("its event is published",
                             lambda number=number: len(self.stream.types()) >= number + 2)
            with lock:
                if not pushes or pushes[-1].poll() is not None:
                    pushes.append(self.start("--batch", "2"))
            last = self.expected()[-1]
            self.receiver.wait("it is delivered, or killed",
                               lambda last=last: last in self.delivered() or pushes[-1].poll() is not None)
        self.receiver.decide = lambda _: Answer()
        self.end(pushes[-1], signal.SIGKILL)
        self.start("--batch", "2")
        expected = self.expected()
        self.wait_delivered(expected)
        self.assertGreater(len(pushes), 1, "none was killed")
        bodies = {}
        for request in self.receiver.requests:
            for event in cloud_events(request):
                self.assertEqual(bodies.setdefault((event["source"], event["id"]), event), event)
        firsts = list(dict.fromkeys(self.delivered()))
        self.assertEqual(firsts, expected, "in order, none left out")

    def test_a_stop_waits_for_the_request_in_progress(self):
        self.crash()
        released = threading.Event()
        self.addCleanup(released.set)
        self.receiver.answers = [Answer(before=lambda: released.wait(world.patience()))]
        push = self.start()
        self.receiver.wait("the request is there", lambda: self.receiver.requests)
        push.send_signal(signal.SIGTERM)
        released.set()
        self.assertEqual(push.wait(world.patience()), 0)
        self.assertEqual(self.sequence(), self.expected()[-1][1])

    def test_a_push_waits_for_the_daemon_and_survives_its_restart(self):
        self.world.stop()
        metrics = self.path / "push.prom"
        self.start("--metrics-file", metrics)
        self.wait_log("(trying again)")
        world.wait_until("it shows", lambda: self.status()["state"] == "failing")
        self.assertIn(str(self.world.socket), self.status()["error"])
        self.assertRegex(metrics.read_text(), r"(?m)^vmevents_push_failing_since_timestamp_seconds\S+ [1-9]")
        self.world.start()
        world.wait_until("it shows", lambda: self.status()["state"] == "running")
        self.stream = self.world.oldest()
        self.crash()
        self.wait_delivered(self.expected())
        self.world.restart(signal.SIGKILL)
        self.stream = self.world.oldest()
        self.crash("vm2")
        self.wait_delivered(self.expected())
        self.assertEqual(self.delivered(), self.expected())

    # Gaps.

    def test_a_journal_that_was_lost_is_a_gap(self):
        self.crash()
        push = self.start()
        before = self.expected()
        self.wait_delivered(before)
        world.wait_until("the cursor is there", lambda: self.sequence() == before[-1][1])
        self.end(push)
        self.world.stop()
        for file in self.world.state.glob("*"):
            file.unlink()
        self.world.start()
        self.stream = self.world.oldest()
        self.crash("vm2")
        self.start()
        self.receiver.wait("the new journal's events come", lambda: b"vm2" in b"".join(
            request.body for request in self.receiver.accepted))
        gaps = [event for request in self.receiver.accepted for event in cloud_events(request)
                if event["id"].startswith("gap")]
        self.assertEqual([(gap["source"], gap["id"], gap["type"]) for gap in gaps],
                         [(before[0][0], f"gap-after-{before[-1][1]}", "vmevents.v1.gap")])
        self.assertIn("events may be missing", gaps[0]["data"]["message"])

    # Several nodes, and a fleet.

    def test_the_events_of_several_nodes_are_delivered(self):
        other = self.make_world("--node", "node2")
        self.crash()
        qemu = other.vm("far1")
        stream = other.oldest()
        stream.wait_event("STARTED", "far1")
        servers = f"unix:{self.world.socket},unix:{other.socket}"
        push = self.start(server=servers)
        self.wait_delivered(self.expected() + self.expected(other))
        self.end(push, signal.SIGKILL)
        qemu.kill()
        stream.wait_event("STOPPED", "far1")
        self.crash("vm2")
        self.start(server=servers)
        for of in (self.world, other):
            expected = self.expected(of)
            self.wait_delivered(expected)
            firsts = dict.fromkeys(event for event in self.delivered() if event[0] == expected[0][0])
            self.assertEqual(list(firsts), expected)

    def test_the_events_of_a_fleet_are_delivered(self):
        port = world.free_port()
        nats = subprocess.Popen(["/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd",
                                 self.path / "js"], stderr=subprocess.DEVNULL)
        self.addCleanup(nats.wait)
        self.addCleanup(nats.terminate)
        url = f"nats://127.0.0.1:{port}"
        world.wait_until("the stream is made", lambda: subprocess.run(
            [world.PROGRAMS["vmevents"], "--server", url, "fleet", "create"], check=False,
            capture_output=True).returncode == 0)
        node = self.make_world("--node", "n1.example")
        publisher = subprocess.Popen(
            [world.PROGRAMS["vmevents"], "--server", f"unix:{node.socket}", "push", url, "--cluster", "prod",
             "--state-dir", self.path / "fleet"], stderr=subprocess.DEVNULL)
        self.addCleanup(publisher.wait)
        self.addCleanup(publisher.terminate)
        stream = node.oldest()
        node.started_vm(stream).kill(signal.SIGABRT)
        stream.wait_event("STOPPED")
        self.start(server=url)
        expected = [(source.replace("/=/", "/prod/"), *rest) for source, *rest in self.expected(node)]
        self.wait_delivered(expected)
        self.assertEqual(self.delivered(), expected)

    # What the push reports about itself.

    def test_a_start_logs_the_position_from_which_it_delivers(self):
        self.crash()
        push = self.start()
        self.wait_delivered(self.expected())
        last = self.expected()[-1][1]
        world.wait_until("the cursor is written", lambda: self.sequence() == last)
        self.end(push)
        other = self.start(state="other", since="now")
        self.wait_log(" from now on (--from oldest: all events)\n")
        self.end(other)
        self.start()
        begin = f"vmevents: delivering to {self.receiver.url} the events of unix:{self.world.socket} "
        self.wait_log(f"{begin}after event {last}, its position\n")
        self.assertIn(f"{begin}from the oldest event\n", self.log)

    def test_only_a_push_loads_libcurl(self):
        libraries = subprocess.run(["ldd", world.PROGRAMS["vmevents"]], check=True, capture_output=True, text=True)
        self.assertNotIn("libcurl", libraries.stdout)

    def test_status_and_metrics_show_the_state_of_the_push(self):
        metrics = self.path / "push.prom"
        done = subprocess.run(self.command("--status"), check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("no push has run in", done.stderr)
        self.crash()
        self.receiver.answers = [Answer(500, b"broken")]
        push = self.start("--metrics-file", metrics)
        self.wait_delivered(self.expected())
        last = self.expected()[-1][1]
        world.wait_until("the cursor is written", lambda: self.sequence() == last)
        status = self.status()
        self.assertEqual((status["state"], status["lag_seconds"], status["failures"]), ("running", 0, 1))
        self.assertEqual(status["delivered_events"], len(self.expected()))
        self.assertEqual(status["error"], "", "a success has passed since")
        self.end(push)
        self.assertEqual(self.status()["state"], "stopped")
        text = subprocess.run(self.command("--status"), check=True, capture_output=True, text=True).stdout
        self.assertRegex(text, rf"(?m)^position +{last} of ")
        self.assertRegex(text, r"(?m)^last error +\d.* ago\)$")
        self.assertNotRegex(text, r"(?m)^error ")
        self.assertEqual(stat.S_IMODE(metrics.stat().st_mode), 0o644)
        values = dict(re.findall(r'(?m)^(\w+)\{push="push"\} (\S+)$', metrics.read_text()))
        self.assertEqual(float(values["vmevents_push_delivered_events_total"]), len(self.expected()))
        self.assertEqual(float(values["vmevents_push_failures_total"]), 1)
        self.assertGreater(float(values["vmevents_push_last_success_timestamp_seconds"]), 1.7e9)
        page = (ROOT / "docs/act.md").read_text(encoding="utf-8")
        self.assertEqual(set(re.findall(r"\| `(vmevents_push_\w+)` \|", page)), set(values))

    def test_a_directory_that_every_user_may_write_is_refused(self):
        (self.path / "push").mkdir()
        (self.path / "push").chmod(0o777)
        done = subprocess.run(self.command(), check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("may be written by every user", done.stderr)

    def test_a_directory_has_one_push(self):
        self.start()
        world.wait_until("it runs", lambda: (self.path / "push/state.json").exists())
        done = subprocess.run(self.command(), check=False, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another vmevents uses the cursor file", done.stderr)


if __name__ == "__main__":
    world.run_tests(__doc__)
