#!/usr/bin/python3
"""vmeventd behind Debian's haproxy, which shares one connection to it between its own clients.

  proxy_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import pathlib
import re
import sys

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402


def configuration():
    """The one of the page."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    return re.search(r"```\n(defaults\n.*?)```", page[page.index("### Behind a proxy"):], re.DOTALL)[1]


def connections_to(port):
    """How many connections the listener on this port of loopback has."""
    end = f"0100007F:{port:04X}"
    lines = pathlib.Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[1] == end and line.split()[3] == "01" for line in lines)


class ProxyTest(world.WorldTest):
    """The daemon with TLS, haproxy in front of it, and clients of haproxy."""

    def setUp(self):
        super().setUp()
        self.path = self.world.path
        self.make_certificates()
        self.node_port, self.port = world.free_port(), world.free_port()
        self.world.start("--listen", f"unix:{self.world.socket}", "--listen", f"127.0.0.1:{self.node_port}",
                         "--tls-cert", self.path / "node.pem", "--tls-key", self.path / "node.key",
                         "--tls-client-ca", self.path / "ca.pem")
        text = configuration()
        for name in ("front.pem", "client.pem", "ca.crt"):
            text, count = re.subn(rf"\S+/{name}", str(self.path / name.replace(".crt", ".pem")), text)
            self.assertEqual(count, 1, name)
        text = text.replace("bind :9558", f"bind 127.0.0.1:{self.port}")
        text = text.replace("node7.example:9555", f"127.0.0.1:{self.node_port}")
        # Else each thread of haproxy has connections of its own.
        (self.path / "haproxy.cfg").write_text("global\n  nbthread 1\n" + text, encoding="utf-8")
        self.run_beside(["haproxy", "-db", "-f", self.path / "haproxy.cfg"])

    def make_certificates(self):
        """Makes a CA, and front.pem and client.pem with their keys, in the form that haproxy reads."""
        world.make_certificate(self.path, "ca")
        for name in ("node", "front", "client"):
            world.make_certificate(self.path, name, "subjectAltName=IP:127.0.0.1", authority="ca")
            with open(self.path / f"{name}.pem", "ab") as file:
                file.write((self.path / f"{name}.key").read_bytes())

    def client(self):
        credentials = grpc.ssl_channel_credentials((self.path / "ca.pem").read_bytes())
        channel = grpc.secure_channel(f"127.0.0.1:{self.port}", credentials,
                                      options=[("grpc.use_local_subchannel_pool", 1),
                                               ("grpc.max_reconnect_backoff_ms", 50)])
        self.addCleanup(channel.close)
        grpc.channel_ready_future(channel).result(world.patience())
        return channel

    def outcome(self, channel, size):
        """The status of a call with a token of so many bytes."""
        get = channel.unary_unary("/vmeventd.v1.VmEventService/GetServerInfo")
        try:
            get(b"", timeout=world.patience(), metadata=[("authorization", "Bearer " + "x" * size)])
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    def test_a_large_token_ends_no_other_clients_stream(self):
        streams = []
        for _ in range(3):  # one after the other: each finds the connection of the one before
            stream = self.world.watch(self.client())
            stream.wait("it is open", lambda s=stream: s.messages)
            streams.append(stream)
        for size in (100, 6000):
            self.assertEqual(self.outcome(self.client(), size), "OK", size)
        for size in (9000, 13000, 40000):
            self.assertNotEqual(self.outcome(self.client(), size), "OK", size)
        self.world.vm("web1")
        for stream in streams:
            stream.wait_event("STARTED", "web1")
            self.assertIsNone(stream.error)
        self.assertEqual(connections_to(self.node_port), 1)


if __name__ == "__main__":
    world.run_tests(__doc__)
