#!/usr/bin/python3
"""vmevents --server ssh://, by Debian's ssh and sshd, with the real vmeventd.

  ssh_test.py --vmeventd FILE --vmevents FILE --fake-qemu FILE
"""

import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import world  # noqa: E402

SSHD = "/usr/sbin/sshd"


class SshTest(world.WorldTest):
    """The daemon, and an sshd of this user by which its host is reached."""

    def setUp(self):
        super().setUp()
        self.stream = self.world.begin()
        self.path = self.world.path
        self.port = world.free_port()
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path / name], check=True)
        (self.path / "authorized").write_bytes((self.path / "user.pub").read_bytes())
        programs = pathlib.Path(world.PROGRAMS["vmevents"]).resolve().parent
        (self.path / "sshd_config").write_text(f"""ListenAddress 127.0.0.1:{self.port}
HostKey {self.path}/host
AuthorizedKeysFile {self.path}/authorized
AuthenticationMethods publickey
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
SetEnv PATH={programs}:/usr/bin:/bin VMEVENTS_SERVER=unix:{self.world.socket}
""")
        if os.geteuid() == 0:
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its unit makes it
        self.run_beside([SSHD, "-D", "-e", "-f", self.path / "sshd_config"])
        # ssh takes its files from the user's home, whatever $HOME is.
        host = (self.path / "host.pub").read_text()
        (self.path / "known").write_text(f"[127.0.0.1]:{self.port} {host}")
        self.use("user")
        world.wait_until(f"sshd listens: {self.log}", self.is_open)

    def is_open(self):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def use(self, key):
        """The ssh that vmevents finds shows this key."""
        (self.path / "ssh_config").write_text(f"""IdentityFile {self.path}/{key}
IdentitiesOnly yes
IdentityAgent none
BatchMode yes
UserKnownHostsFile {self.path}/known
""")
        ssh = self.path / "bin/ssh"
        ssh.parent.mkdir(exist_ok=True)
        ssh.write_text(f"#!/bin/sh\nexec /usr/bin/ssh -F {self.path}/ssh_config \"$@\"\n")
        ssh.chmod(0o755)

    @property
    def address(self):
        return f"ssh://{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1:{self.port}"

    def ask(self, *arguments, server=None):
        environment = {**os.environ, "PATH": f"{self.path}/bin:{os.environ['PATH']}"}
        return subprocess.run([world.PROGRAMS["vmevents"], "--server", server or self.address, *arguments], check=False,
                              capture_output=True, text=True, env=environment, timeout=world.patience())

    def test_a_node_is_asked_by_ssh(self):
        self.world.started_vm(self.stream).kill(signal.SIGABRT)
        self.stream.wait_event("STOPPED")
        done = self.ask("-o", "json", "vms", "--all")
        self.assertEqual((done.returncode, json.loads(done.stdout)["ref"]["name"]), (0, "vm1"), done.stderr)
        done = self.ask("watch", "--from", "oldest", "--count", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("CRASH", done.stdout)

    def test_errors_of_ssh_are_shown_as_they_are(self):
        self.use("stranger")
        done = self.ask("vms")
        self.assertEqual(done.returncode, 4)
        self.assertIn("Permission denied (publickey)", done.stderr)
        self.assertIn(f"vmeventd at {self.address} cannot be reached", done.stderr)

    def test_an_unreachable_daemon_is_named_by_the_remote_client(self):
        self.world.stop()
        done = self.ask("vms")
        self.assertEqual(done.returncode, 4)
        self.assertIn(str(self.world.socket), done.stderr)

    def test_the_remote_client_connects_to_one_local_socket_only(self):
        for server in (f"unix:{self.world.socket},unix:/x", "node1.invalid"):
            done = self.ask("proxy", server=server)
            self.assertEqual((done.returncode, done.stdout), (2, ""), server)
            self.assertIn("--server unix:PATH", done.stderr)


if __name__ == "__main__":
    world.run_tests(__doc__)
