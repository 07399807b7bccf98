#!/usr/bin/python3
"""vmevents web with the real vmeventd, behind the real nginx.

  web_nginx_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import base64
import os
import pathlib
import re
import socket
import ssl
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import web_case  # noqa: E402
import world  # noqa: E402


class NginxTest(web_case.WebTest):
    """The page behind Debian's nginx, with Debian's settings and the server of docs/vmevents.md."""

    def setUp(self):
        super().setUp()
        self.path = self.world.path
        token = self.path / "token"
        token.write_text(web_case.TOKEN)
        token.chmod(0o600)
        self.start("--token-file", token)
        world.make_certificate(self.path, "web", "subjectAltName=IP:127.0.0.1")
        (self.path / "users").write_text("alice:{PLAIN}secret\n")
        page = (ROOT / "docs/vmevents.md").read_text(encoding="utf-8")
        server = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)[1]
        front = world.free_port()
        for text, ours in (("listen 443 ssl", f"listen 127.0.0.1:{front} ssl"), ("/etc/nginx/web.pem", self.path / "web.pem"),
                           ("/etc/nginx/web.key", self.path / "web.key"), ("/etc/nginx/vms.users", self.path / "users"),
                           ("127.0.0.1:9557", f"127.0.0.1:{self.port}"), ('"Bearer TOKEN"', f'"Bearer {web_case.TOKEN}"')):
            self.assertEqual(server.count(text), 1, text)
            server = server.replace(text, str(ours))
        (self.path / "site").write_text(server + "".join(
            f"{kind}_temp_path {self.path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")))
        debians = pathlib.Path("/etc/nginx/nginx.conf").read_text(encoding="utf-8")
        for pattern, ours in ((r"/etc/nginx/sites-enabled/\*", self.path / "site"), (r"/run/nginx\.pid", self.path / "pid"),
                              (r"/var/log/nginx", self.path), (r"(?m)^user .*;", "user root;" if os.geteuid() == 0 else "")):
            debians, count = re.subn(pattern, str(ours), debians)
            self.assertGreaterEqual(count, 1, pattern)
        (self.path / "nginx.conf").write_text(debians)
        self.run_beside(["/usr/sbin/nginx", "-c", self.path / "nginx.conf", "-e", self.path / "error.log", "-g", "daemon off; master_process off;"])
        self.context = ssl.create_default_context(cafile=self.path / "web.pem")
        self.scheme, self.port = "https", front
        world.wait_until("nginx listens", lambda: self.is_open(front))
        self.alice = {"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}

    @staticmethod
    def is_open(port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def test_authenticated_users_get_the_page_below_nginxs_path(self):
        self.crash()
        self.assertEqual(self.ask("/vms/").status, 401)
        self.assertEqual(self.ask("/vms/", **self.alice).status, 200)
        self.assertEqual(self.ask("/vms/page.js", **self.alice).status, 200)
        self.assertEqual([one["ref"]["name"] for one in self.get("/vms/api/v1/vms?all", **self.alice)["vms"]], ["vm1"])

    def test_an_event_arrives_while_the_stream_is_open(self):
        response = self.ask("/vms/api/v1/events/stream?type=stopped", **self.alice)
        self.assertEqual(response.status, 200)
        stream = web_case.Events(response)
        stream.next("open")
        self.crash()
        self.assertEqual(stream.next()[1]["vm"]["name"], "vm1")


if __name__ == "__main__":
    world.run_tests(__doc__)
