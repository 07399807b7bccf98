"""Real QEMUs, booted as in tests/support/guest.h, each run as a given user."""

import json
import pathlib
import selectors
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'support/python'))

from patience import patience  # noqa: E402  # pylint: disable=wrong-import-position

STEP = 180  # seconds, for any one step


class Guest:
    """A QEMU with a monitor at each of `monitors`, and the manager's at `control`."""

    def __init__(self, name, monitors, control, user, kernel_dir=None):
        self.name = name
        self.control = str(control)
        command = ['qemu-system-x86_64', '-name', name, '-accel', 'tcg', '-nodefaults',
                   '-no-user-config', '-display', 'none', '-serial', 'stdio']
        for path in [*monitors, control]:
            command += ['-qmp', f'unix:{path},server=on,wait=off']
        if kernel_dir is None:  # a machine without a processor, which is cheap
            command += ['-machine', 'none']
        else:
            command += ['-machine', 'pc', '-m', '192', '-kernel', f'{kernel_dir}/vmlinux',
                        '-initrd', f'{kernel_dir}/initrd',
                        '-append', 'console=ttyS0 quiet nokaslr mitigations=off no_timer_check']
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, user=user, group=user,
                                        extra_groups=[], umask=0o077)

    def wait_ready(self):
        """Waits until the guest's shell reports it on the serial line."""
        seen = b''
        deadline = time.monotonic() + patience(STEP)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while b'GUEST-READY' not in seen:
                if not selector.select(deadline - time.monotonic()):
                    raise TimeoutError(f'{self.name} does not boot: {seen!r}')
                data = self.process.stdout.read1()
                if not data:
                    raise RuntimeError(f'{self.name}: QEMU has ended: {seen!r}')
                seen += data

    def type(self, command):
        self.process.stdin.write(command.encode() + b'\n')
        self.process.stdin.flush()

    def manage(self, command):
        """Sends a QMP command like a manager."""
        with self.monitor() as connection, connection.makefile('rw') as lines:
            lines.readline()
            for name in ('qmp_capabilities', command):
                lines.write(json.dumps({'execute': name}) + '\n')
                lines.flush()
                while 'return' not in json.loads(lines.readline()):
                    pass

    def monitor(self):
        """Connects to its monitor, once that listens."""
        began = time.monotonic()
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(patience(STEP))
            try:
                connection.connect(self.control)
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
            if time.monotonic() > began + patience(STEP):
                raise TimeoutError(f'{self.name} has no monitor')
            time.sleep(0.01)

    def abort(self):
        """kill -ABRT. The process stays a zombie until reap()."""
        self.process.send_signal(signal.SIGABRT)

    def reap(self):
        self.process.wait(patience(STEP))

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
