"""What the tests of vmevents web share: a daemon, the program, its answers and its streams."""

import http.client
import json
import re
import signal

import world

TOKEN = "0123456789abcdef0123456789abcdef"
# Names that a directory of monitors can have, and what a page could take them for.
HOSTILE = ("<img src=x onerror=window.ran=1>", "\"'><script>window.ran=1<", "a%2fb", "%", "a,b", "[a]*?", "a+b c&d=e#f",
           "ünïcode\u202e", "javascript:window.ran=1")


class Events:
    """A stream of server-sent events: (id, kind, data) of each."""

    def __init__(self, response):
        self.response = response
        self.id = None

    def __iter__(self):
        kind, data = "message", None
        for line in self.response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
            elif not name and data is not None:
                yield self.id, kind, data
                kind, data = "message", None

    def next(self, wanted="message"):
        return next((id_, data) for id_, kind, data in self if kind == wanted)


class WebTest(world.WorldTest):
    """Each test has a daemon, and starts the page."""

    def setUp(self):
        super().setUp()
        self.stream = self.world.begin()
        self.port = self.scheme = None
        self.context = None
        self.connection = None  # the latest

    def start(self, *arguments, server=None, ready=True):
        """The program; once its page can be read, unless it is not to become `ready`."""
        port = world.free_port()
        listen = [] if "--listen" in arguments else ["--listen", f"127.0.0.1:{port}"]
        web = self.run_beside([world.PROGRAMS["vmevents"], "--server", server or f"unix:{self.world.socket}",
                               "web", *listen, *map(str, arguments)])
        if ready:
            found = world.wait_until(f"the page is there: {self.log}",
                                     lambda: re.search(rf"is at (https?)://127.0.0.1:({port})/", self.log))
            self.scheme, self.port = found[1], int(found[2])
        return web

    def ask(self, path, method="GET", body=None, **headers):
        if self.scheme == "https":
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=world.patience(), context=self.context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=world.patience())
        self.addCleanup(connection.close)
        self.connection = connection
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse()

    def get(self, path, status=200, **headers):
        response = self.ask(path, **headers)
        body = response.read()
        self.assertEqual(response.status, status, body)
        return json.loads(body)

    def follow(self, query="", **headers):
        response = self.ask("/api/v1/events/stream" + query, **headers)
        self.assertEqual((response.status, response.getheader("Content-Type")), (200, "text/event-stream"))
        return Events(response)

    def crash(self, name="vm1"):
        self.world.started_vm(self.stream, name).kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED", name)

    def end_unseen(self, name):
        """An end whose cause nobody knows: its signal has no sender."""
        self.world.started_vm(self.stream, name).kill()
        self.stream.wait_event("STOPPED", name)
