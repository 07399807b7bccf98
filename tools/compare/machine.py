"""A libvirtd of its own, and its domains: real QEMUs with additional monitors."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_LIBVIRTD = ROOT / "tests/support/libvirt/start_libvirtd.sh"
QEMU = "/usr/bin/qemu-system-x86_64"
PATIENCE = 120  # seconds, for any one step on a slow machine

DOMAIN = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{guest}/vmlinux</kernel>
    <initrd>{guest}/initrd</initrd>
    <cmdline>console=ttyS0 quiet nokaslr mitigations=off no_timer_check{kernel_arguments}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>{on_reboot}</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{qemu}</emulator>
    <serial type='unix'><source mode='bind' path='{serial}'/></serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <panic model='isa'/>
  </devices>
  <qemu:commandline>{arguments}</qemu:commandline>
</domain>
"""


class Failure(Exception):
    """A step did not work; the text says which."""


def wait_until(what, condition, seconds=PATIENCE):
    """Returns the condition's first true value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {seconds} s in vain: {what}")
        time.sleep(0.1)


def output_of(*command):
    """A command's standard output; one that fails is a Failure."""
    result = subprocess.run([str(word) for word in command], text=True, capture_output=True,
                            check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}".strip())
    return result.stdout


def start(command, log, environment=None, descriptors=()):
    """A process in the background, whose output is appended to the file `log`. Closes the
    descriptors, which it inherits."""
    with open(log, "ab") as out:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, pass_fds=descriptors,
                                   env={**os.environ, **(environment or {})})
    for descriptor in descriptors:
        os.close(descriptor)
    return process


def end(process, signal_number=signal.SIGKILL):
    """Ends a process that `start` started."""
    process.send_signal(signal_number)
    process.wait(PATIENCE)


@dataclasses.dataclass(frozen=True)
class DomainOptions:
    ignores_power_button: bool = False
    on_reboot: str = "restart"
    qemu_arguments: tuple = ()  # in addition to libvirt's


class Domain:
    """A domain with the test guest in it, and a monitor for each of the directories `monitors`."""

    def __init__(self, libvirtd, name, options, guest, monitors):
        self.name = name
        self._libvirtd = libvirtd
        self.directory = libvirtd.directory
        self._serial = libvirtd.directory / f"{name}.serial"
        self.sockets = [directory / f"{name}.kvmd" for directory in monitors]
        listening = [libvirtd.directory / f"{name}.{number}" for number in range(len(monitors))]
        arguments = list(options.qemu_arguments)
        for path in listening:
            arguments += ["-qmp", f"unix:{path},server=on,wait=off"]
        xml = libvirtd.directory / f"{name}.xml"
        xml.write_text(DOMAIN.format(
            name=name, guest=guest, qemu=QEMU, serial=self._serial, on_reboot=options.on_reboot,
            kernel_arguments=" ignore_powerdown" if options.ignores_power_button else "",
            arguments="".join(f"<qemu:arg value='{word}'/>" for word in arguments)),
            encoding="utf-8")
        libvirtd.virsh("create", xml)
        self.pid = libvirtd.pid_of(name)
        # ganeti-kvmd drops a VM whose socket it finds between QEMU's bind and its listen.
        for path, link in zip(listening, self.sockets):
            os.link(path, link)
        self.wait_ready()

    def virsh(self, *arguments):
        """virsh VERB DOMAIN ARGUMENT..."""
        return self._libvirtd.virsh(arguments[0], self.name, *arguments[1:])

    def kill(self, signal_number):
        os.kill(self.pid, signal_number)

    @contextlib.contextmanager
    def limited_memory(self, size):
        """Lets QEMU take `size` bytes more, in a memory cgroup of its own."""
        v1 = pathlib.Path("/sys/fs/cgroup/memory")
        name = f"vmeventd-compare-{self.pid}"
        group = (v1 if v1.is_dir() else v1.parent) / name
        group.mkdir()
        try:
            limit = group / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")
            limit.write_text(str(size), encoding="ascii")
            (group / "cgroup.procs").write_text(str(self.pid), encoding="ascii")
            yield
        finally:
            group.rmdir()

    def is_gone(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def wait_gone(self):
        wait_until(f"the end of {self.name}'s QEMU", self.is_gone)

    def unlink_sockets(self):
        for path in self.sockets:  # as a QEMU that was not killed does itself
            path.unlink(missing_ok=True)

    def type(self, command):
        """Runs a command line in the guest's shell."""
        self._ask(command, "\n")

    def boot_id(self):
        """The boot id of the guest's kernel; empty until its shell answers."""
        answer = self._ask("echo BOOT=$(cat /proc/sys/kernel/random/boot_id)=", r"BOOT=([-0-9a-f]+)=")
        return answer[1] if answer else ""

    def wait_ready(self, unlike=None):
        """Waits for the guest's shell, of another boot than `unlike`."""
        wait_until(f"{self.name}'s shell",
                   lambda: self.boot_id() not in ("", unlike) or self._fail_if_gone())

    def _fail_if_gone(self):
        if self.is_gone():
            raise Failure(f"{self.name}'s QEMU has ended")

    def _ask(self, command, pattern):
        with socket.socket(socket.AF_UNIX) as serial:
            serial.settimeout(0.5)
            read = ""
            try:
                serial.connect(str(self._serial))
                serial.sendall(f"{command}\n".encode())
                while not re.search(pattern, read):
                    data = serial.recv(4096)
                    if not data:
                        break
                    read += data.decode(errors="replace")
            except OSError:
                pass  # nothing listens yet, or nothing answers in time
            return re.search(pattern, read)


class Libvirtd:
    """A libvirtd that knows nothing of the machine's own. Its domains end with it."""

    def __init__(self, directory, cache):
        self.directory = directory
        self.uri = f"qemu+unix:///system?socket={directory}/run/libvirt-sock"
        self._log = directory.with_suffix(".log")
        self._process = start([START_LIBVIRTD, directory, cache], self._log)
        try:
            wait_until("libvirtd's answer", self._answers)
        except Failure:
            end(self._process)
            raise

    def _answers(self):
        if self._process.poll() is not None:
            raise Failure(f"libvirtd has ended: {self._log.read_text(encoding='utf-8')}")
        try:
            return self.virsh("uri")
        except Failure:
            return False

    def virsh(self, *arguments):
        return output_of("virsh", "-q", "-c", self.uri, *arguments)

    def pid_of(self, name):
        return int((self.directory / f"run/qemu/{name}.pid").read_text(encoding="ascii"))

    def close(self):
        end(self._process)
        for path in (self.directory / "run/qemu").glob("*.pid"):
            if path.stem == "driver":
                continue
            try:
                os.kill(self.pid_of(path.stem), signal.SIGKILL)
            except (OSError, ValueError):
                pass  # it has ended
