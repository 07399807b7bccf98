"""What events are POSTed to, with faults."""

import collections
import http.server
import socket
import struct
import threading

import local_http
import world

Request = collections.namedtuple("Request", "path headers body")


class Answer:  # pylint: disable=too-few-public-methods
    """How a request is answered. `before` is called first; `reset` breaks the connection off, "before" the answer or in
    the "middle" of it; `after` is called when it is sent."""

    def __init__(self, status=200, body=b"", headers=None, reset=None, before=None, after=None):
        self.status, self.body, self.headers = status, body, headers or {}
        self.reset, self.before, self.after = reset, before, after


class Receiver:
    """Keeps every request. `answers` are for the next ones; then `decide(request)` answers."""

    def __init__(self, tls=None):
        self.lock = threading.Condition()
        self.requests = []
        self.accepted = []  # those that were answered 2xx
        self.answers = []
        self.decide = lambda request: Answer()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers), body)
                with outer.lock:
                    outer.requests.append(request)
                    answer = outer.answers.pop(0) if outer.answers else outer.decide(request)
                    outer.lock.notify_all()
                self._answer(request, answer)

            def _answer(self, request, answer):
                if answer.before:
                    answer.before()
                if answer.status // 100 == 2 and not answer.reset:
                    with outer.lock:
                        outer.accepted.append(request)
                        outer.lock.notify_all()
                if answer.reset == "before":
                    return self._reset()
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(answer.body) + (1000 if answer.reset else 0)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                    self.wfile.flush()
                except OSError:  # the client has gone
                    self.close_connection = True
                if answer.reset:
                    return self._reset()
                if answer.after:
                    answer.after()
                return None

            def _reset(self):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self._server, self.url = local_http.serve(Handler, tls)

    def wait(self, what, condition):
        """Waits for a true value of `condition()`."""
        with self.lock:
            if not self.lock.wait_for(condition, world.PATIENCE):
                raise world.Timeout(f"timed out waiting until {what}; it was sent "
                                    f"{[request.body[:200] for request in self.requests[-5:]]}")
            return condition()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
