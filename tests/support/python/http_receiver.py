"""A receiver of POSTed events, with faults."""

import collections
import socket
import struct
import threading

import local_http
import world

Request = collections.namedtuple("Request", "path headers body")


class Answer:  # pylint: disable=too-few-public-methods
    """How a request is answered. `before` is called first; `reset` breaks the connection off, "before" the answer or in
    the "middle" of its head; `after` is called when it is sent."""

    def __init__(self, status=200, body=b"", headers=None, reset=None, before=None, after=None):
        self.status, self.body, self.headers = status, body, headers or {}
        self.reset, self.before, self.after = reset, before, after


class Receiver:
    """Keeps every request. `answers` are for the next ones; then `decide(request)` answers."""

    def __init__(self, tls=None):
        self.lock = threading.Condition()
        self.requests = []
        self.accepted = []  # requests that were answered 2xx
        self.answers = []
        self.decide = lambda request: Answer()
        self._server = local_http.Server(self._handle, tls)
        self.url = self._server.url

    def _handle(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        request = Request(handler.path, dict(handler.headers), body)
        with self.lock:
            self.requests.append(request)
            answer = self.answers.pop(0) if self.answers else self.decide(request)
            self.lock.notify_all()
        if answer.before:
            answer.before()
        if answer.status // 100 == 2 and not answer.reset:
            with self.lock:
                self.accepted.append(request)
                self.lock.notify_all()
        if answer.reset == "before":
            return self._reset(handler)
        if answer.reset == "middle":
            handler.wfile.write(f"HTTP/1.1 {answer.status} OK\r\nContent-Le".encode())
            handler.wfile.flush()
            return self._reset(handler)
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(answer.body)))
            handler.end_headers()
            handler.wfile.write(answer.body)
            handler.wfile.flush()
        except OSError:  # the client has gone
            handler.close_connection = True
        if answer.after:
            answer.after()
        return None

    @staticmethod
    def _reset(handler):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True

    def wait(self, what, condition):
        """Waits for a true value of `condition()`."""
        with self.lock:
            if not self.lock.wait_for(condition, world.patience()):
                raise world.Timeout(f"timed out waiting until {what}; it was sent "
                                    f"{[request.body[:200] for request in self.requests[-5:]]}")
            return condition()

    def close(self):
        self._server.close()
