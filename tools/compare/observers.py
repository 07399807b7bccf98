"""The observers that are compared. Each follows every VM, and answers for a VM that has ended.

An answer is {"said": what it said, "who": USER, ADMIN, CRASH, NOT_USER or None}. `who` is None where it
named nobody: report.py judges that, and the names of libvirt's events.
"""

import json
import pathlib
import re
import subprocess

from machine import Failure, end, output_of, start, wait_until
from service_manager import ServiceManager

# Its directory has Ganeti's version.
KVMD = next(pathlib.Path("/usr/lib/ganeti").glob("*/usr/sbin/ganeti-kvmd"), None)
# How long a report may take after the VM's process is gone.
REPORT_SECONDS = 15

# kvmd watches one fixed path: it runs in a mount namespace that has a directory of ours there.
RUN_KVMD = """
mount -t tmpfs none /run &&
mkdir -p /run/ganeti/kvm-hypervisor/ctrl &&
mount --bind "$1" /run/ganeti/kvm-hypervisor/ctrl &&
exec "$2" -f -d --no-user-checks"""


class Observer:
    """A process that may be killed and started again. Its output is in one file."""

    def __init__(self, log, command, environment=None):
        self._log = log
        self._command = command
        self._environment = environment
        self._process = None
        self._began = 0  # where in the log the process that runs began

    def start(self):
        self._began = self._log.stat().st_size if self._log.exists() else 0
        self._process = self._begin()
        wait_until(f"{self._log.stem} to start", self._is_ready_or_fails)

    def _begin(self):
        return start(self._command, self._log, self._environment)

    def kill(self):
        end(self._process)
        self._process = None

    def close(self):
        if self._process:
            self.kill()

    def log(self):
        """The log of the present process."""
        with open(self._log, encoding="utf-8", errors="replace") as log:
            log.seek(self._began)
            return log.read()

    def all_logs(self):
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _is_ready_or_fails(self):
        if self._process.poll() is not None:
            raise Failure(f"{self._log.stem} has ended: {self.log()}")
        return self.is_ready()

    def wait_follows(self, name):
        """Waits until it follows this VM."""
        wait_until(f"{self._log.stem} to follow {name}", lambda: self.follows(name))

    def answer(self, name):
        """Waits for the report, after the VM's process is gone. It may not come."""
        try:
            wait_until("", lambda: self.has_reported(name), REPORT_SECONDS)
        except Failure:
            pass
        return self.answer_now(name)


class Vmeventd(Observer):
    """vmeventd as a service, for which systemd stores descriptors."""

    def __init__(self, directory, label, programs, flags):
        self._manager = ServiceManager(directory / f"{label}.notify")
        self._vmevents = [programs / "vmevents", "--server", f"unix:{directory}/{label}.sock"]
        super().__init__(directory / f"{label}.log", [
            programs / "vmeventd", *flags, "--listen", f"unix:{directory}/{label}.sock",
            "--state-dir", directory / f"{label}.state"])

    def _begin(self):
        command, descriptors = self._manager.command(self._command)
        return start(command, self._log, self._manager.environment(), descriptors)

    def _lines(self, *arguments):
        return [json.loads(line)
                for line in output_of(*self._vmevents, "-o", "json", *arguments).splitlines()]

    def is_ready(self):
        try:
            return self._lines("info")
        except Failure:
            return False

    def follows(self, name):
        return any(vm["ref"]["name"] == name and vm["state"] == "VM_STATE_RUNNING"
                   for vm in self._lines("vms"))

    def _stops(self, name):
        # Every filter passes GAPs, such as that of a daemon that was killed.
        return [event for event in self._lines("events", "--vm", name, "--type", "stopped")
                if event["type"] == "EVENT_TYPE_STOPPED"]

    def has_reported(self, name):
        return bool(self._stops(name))

    def answer_now(self, name):
        stops = self._stops(name)
        if len(stops) != 1:
            return {"said": f"{len(stops)} reports" if stops else "nothing", "who": None}
        shutdown = stops[0]["shutdown"]
        who = shutdown["shutdown_class"].removeprefix("SHUTDOWN_CLASS_")
        cause = shutdown["cause"].removeprefix("SHUTDOWN_CAUSE_").lower().replace("_", " ")
        return {"said": f"{who}, {cause}", "who": None if who == "UNKNOWN" else who,
                "evidence": f"{stops[0]['message']}. Seen: " + ", ".join(each["what"] for each in shutdown["evidence"])}


class Kvmd(Observer):
    """ganeti-kvmd of Debian, on `watched` in the place of Ganeti's directory."""

    def __init__(self, directory, watched):
        self._watched = watched
        root = directory / "ganeti"
        for made in ("var/lib/ganeti", "var/log/ganeti", "var/run/ganeti", "var/lock"):
            (root / made).mkdir(parents=True)
        for name, text in (("hypervisor_list", "kvm"), ("enabled_user_shutdown", "True"),
                           ("node_vm_capable", "localhost=True")):
            (root / f"var/lib/ganeti/ssconf_{name}").write_text(f"{text}\n", encoding="ascii")
        super().__init__(
            directory / "kvmd.log",
            ["unshare", "-m", "--propagation", "private", "sh", "-c", RUN_KVMD, "sh", watched, KVMD],
            {"GANETI_ROOTDIR": str(root), "GANETI_HOSTNAME": "localhost"})

    def is_ready(self):
        return "Closed {isDirectory = True" in self.log()  # it has read the directory

    def follows(self, name):
        begun = re.search(rf'(ThreadId \d+) INFO Start monitor "[^"]*/{name}\.kvmd"', self.log())
        return begun and re.search(rf'{begun[1]} DEBUG Receive QMP message: {{"return"',
                                   self.log()[begun.end():])

    def has_reported(self, name):
        return re.search(rf'Stop monitor "[^"]*/{name}\.kvmd"', self.log())

    def answer_now(self, name):
        if (self._watched / f"{name}.shutdown").exists():
            return {"said": "the user: file", "who": "USER"}
        return {"said": "not the user: no file", "who": "NOT_USER"}


class LifecycleEvents(Observer):
    """virsh event: libvirt's own API."""

    def __init__(self, directory, libvirtd):
        self._libvirtd = libvirtd
        self._probe = directory / "probe.xml"
        self._probe.write_text("<domain type='qemu'><name>probe</name><memory>1024</memory><os>"
                               "<type>hvm</type></os></domain>", encoding="utf-8")
        super().__init__(directory / "virsh-event.log", [
            "virsh", "-q", "-c", libvirtd.uri, "event", "--event", "lifecycle", "--loop",
            "--timestamp"])

    def is_ready(self):
        # It does not report when it listens, so this waits until it reports the definition of a domain.
        self._libvirtd.virsh("define", self._probe)
        self._libvirtd.virsh("undefine", "probe")
        return "'probe'" in self.log()

    def follows(self, name):
        return True  # every domain

    def _stops(self, name):
        return re.findall(rf"domain '{name}': Stopped (.*)", self.all_logs())

    def has_reported(self, name):
        return bool(self._stops(name))

    def answer_now(self, name):
        stops = self._stops(name)
        return {"said": f"stopped, {stops[0].lower()}" if stops else "nothing", "who": None}


def versions(programs):
    """The versions of all programs that take part, as they print them."""
    def first_line(*command):
        return output_of(*command).splitlines()[0].strip()

    def number(text):
        return re.search(r"\d+\.\d[-\w.+~]*", text)[0]

    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], text=True,
                            capture_output=True, check=False, cwd=programs)
    return {
        "vmeventd": f"{number(first_line(programs / 'vmeventd', '--version'))} "
                    f"({commit.stdout.strip() or 'no commit'})",
        "QEMU": number(first_line("qemu-system-x86_64", "--version")),
        "libvirt": number(first_line("libvirtd", "--version")),
        "ganeti-kvmd": number(first_line(KVMD, "--version")),
        "kernel": first_line("uname", "-r"),
    }
