"""A test's HTTP server, on loopback."""

import http.server
import json
import sys
import threading


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # A client that has gone is not reported.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Server:
    """Serves by `answer`, which is called with the handler of each request, a thread for each connection, with TLS by
    the ssl.SSLContext `tls`."""

    def __init__(self, answer, tls=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # pylint: disable=invalid-name
                answer(self)

            do_POST = do_PATCH = do_GET

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self._server = _HttpServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def body_of(handler):
    """The JSON of a request's body; None: it has no body."""
    size = int(handler.headers.get("Content-Length", 0))
    return json.loads(handler.rfile.read(size)) if size else None


def send_json(handler, status, body, headers=None):
    text = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)
