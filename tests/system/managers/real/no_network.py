#!/usr/bin/python3
"""A stand-in for neutron that has no networks: enough for instances with --nic none."""

import http.server
import json


class NoNetwork(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0].strip("/")
        if not path:
            version = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": "http://127.0.0.1:9696/v2.0/"}]}
            self.answer(200, {"versions": [version]})
        else:
            self.answer(200, {path.split("/")[1].replace("-", "_"): []})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(201, {})

    do_PUT = do_POST

    def do_DELETE(self):
        self.answer(204, None)

    def answer(self, status, content):
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", 9696), NoNetwork).serve_forever()
