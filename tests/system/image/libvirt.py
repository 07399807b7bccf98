"""A libvirtd of its own, as in tests/support/libvirt."""

import os
import pathlib
import signal
import subprocess
import time

from guest import STEP, patience

START = pathlib.Path(__file__).resolve().parents[2] / 'support/libvirt/start_libvirtd.sh'
DOMAIN = """<domain type='qemu'>
  <name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>
"""


class Libvirt:
    """Runs from the constructor to close(); `run` is what its /run/libvirt is."""

    def __init__(self, directory, cache):
        self.directory = pathlib.Path(directory)
        self.run = self.directory / 'run'
        self.process = subprocess.Popen([START, self.directory, cache])
        self.uri = f'qemu+unix:///system?socket={self.run}/libvirt-sock'
        began = time.monotonic()
        while self.command('list').returncode != 0:
            if self.process.poll() is not None or time.monotonic() > began + patience(STEP):
                raise RuntimeError('libvirtd does not answer')
            time.sleep(0.1)

    def command(self, *arguments):
        return subprocess.run(['virsh', '-c', self.uri, *arguments], text=True, check=False,
                              capture_output=True, timeout=patience(STEP))

    def virsh(self, *arguments):
        result = self.command(*arguments)
        if result.returncode != 0:
            raise RuntimeError(f'virsh {arguments}: {result.stderr}')

    def create(self, name):
        path = self.directory / f'{name}.xml'
        path.write_text(DOMAIN.format(name=name))
        self.virsh('create', str(path))

    def close(self):
        self.process.terminate()
        self.process.wait(patience(STEP))
        for pid_file in (self.run / 'qemu').glob('*.pid'):
            if pid_file.stem != 'driver':
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
