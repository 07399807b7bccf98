#!/usr/bin/python3
"""Draws the page of `vmevents web` in Chromium, with VMs that are made up, as PNG.

  web_picture.py BIN_DIRECTORY PICTURE
"""

import pathlib
import random
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support/python"))

# pylint: disable=wrong-import-position
import browser  # noqa: E402
import fake_daemon  # noqa: E402
import world  # noqa: E402
from world import pb  # noqa: E402

HOUR = 3600
ENDS = {"web3": ("CRASH", "GUEST_PANIC", 2 * HOUR), "db2": ("ADMIN", "HOST_POWERDOWN", 26 * HOUR),
        "build7": ("CRASH", "OUT_OF_MEMORY", HOUR / 2), "mail1": ("USER", "GUEST_POWEROFF", 70 * HOUR),
        "cache2": ("ADMIN", "MIGRATED_AWAY", 9 * HOUR), "shop-old": ("USER", "GUEST_POWEROFF", 300 * HOUR),
        "test-vm": ("UNKNOWN", "PROCESS_EXITED", 48 * HOUR), "web1": ("ADMIN", "HOST_KILL", 5 * HOUR)}
# What more is known of some ends.
DETAILS = {"db2": {"intent": {"actor": "alice", "reason": "ticket 4711"}}, "test-vm": {"exit_code": 1},
           "web1": {"sender": {"signal": 9, "pid": 14028, "uid": 0, "command": "bash", "login_uid": 1000, "login_user": "alice"}}}


def vms():
    random.seed(5)
    for name in ("build7", "cache1", "db1", "db2", "gitlab", "lb1", "lb2", "web1", "web2", "web3", "win-rdp"):
        age = ENDS[name][2] - 120 if name in ENDS else random.uniform(20, 900) * HOUR
        state = {"lb2": "UNREACHABLE", "win-rdp": "PAUSED"}.get(name, "RUNNING")
        vm = fake_daemon.vm(name, state, age, problems=["monitor held by another client"] if name == "lb2" else (),
                            intent=pb.Intent(actor="alice", reason="node is emptied") if name == "db1" else None)
        vm.pause_reason = "io-error" if state == "PAUSED" else ""
        yield vm
    for name, (shutdown_class, cause, age) in ENDS.items():
        for run in range(1 + (name == "web3") * 4):
            end = pb.ShutdownDetail(cause=f"SHUTDOWN_CAUSE_{cause}", shutdown_class=f"SHUTDOWN_CLASS_{shutdown_class}",
                                    **DETAILS.get(name, {}))
            vm = fake_daemon.vm(name, "STOPPED", age + run * 40 * HOUR, end=end)
            vm.ref.run_id += f" {run}"
            yield vm


def is_served(address):
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def main():
    programs, picture = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="vmp-") as directory:
        daemon = fake_daemon.FakeDaemon(f"{directory}/vmeventd.sock", vms())
        address = f"127.0.0.1:{world.free_port()}"
        with subprocess.Popen([programs / "vmevents", "--server", daemon.address, "web", "--listen", address]) as web:
            window = browser.Browser(1180, 710)
            try:
                world.wait_until("the page is served", lambda: is_served(address))
                window.driver.get(f"http://{address}/")
                world.wait_until("it is drawn", lambda: "web3" in window.text("#rows") and window.text("#status") == "live")
                window.driver.save_screenshot(str(picture))
            finally:
                window.close()
                web.terminate()
                daemon.close()
    print(f"web_picture: wrote {picture}")


if __name__ == "__main__":
    main()
