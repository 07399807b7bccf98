"""An HTTP server of a test, on loopback."""

import http.server
import threading


def serve(handler):
    """Serves with the class `handler`, a thread for each connection: the server and its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"
