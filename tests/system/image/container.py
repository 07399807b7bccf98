"""Runs containers of an image with runc alone, configured as an engine would."""

import json
import os
import pathlib
import subprocess

from guest import STEP, patience

# The paths that Docker and Kubernetes hide from containers.
MASKED = ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
          '/proc/sched_debug', '/proc/scsi', '/sys/firmware']
READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
SECCOMP = pathlib.Path(__file__).resolve().parents[3] / 'deploy/container/seccomp.json'


def seccomp(capabilities):
    """The profile of the documented run lines, in runc's format."""
    profile = json.loads(SECCOMP.read_text())

    def applies(rule):
        includes, excludes = rule.get('includes') or {}, rule.get('excludes') or {}
        return (set(includes.get('caps') or ()) <= capabilities and
                not set(excludes.get('caps') or ()) & capabilities and
                'amd64' in (includes.get('arches') or ['amd64']) and
                'amd64' not in (excludes.get('arches') or []))

    rules = []
    for rule in profile['syscalls']:
        if applies(rule):
            kept = {'names': rule['names'], 'action': rule['action'],
                    'args': rule.get('args') or []}
            if 'errnoRet' in rule:
                kept['errnoRet'] = rule['errnoRet']
            rules.append(kept)
    return {'defaultAction': profile['defaultAction'],
            'defaultErrnoRet': profile.get('defaultErrnoRet', 1),
            'architectures': ['SCMP_ARCH_X86_64'], 'syscalls': rules}


class Container:
    """One container. `image` is the image's configuration as docker inspect shows it.

    `binds` maps paths in the container to paths here; one with ":ro" at its end is read-only.
    """

    def __init__(self, name, directory, rootfs, image, arguments, binds, *, host_pids,
                 user=None, capabilities=(), state_dir):
        self.name = name
        self.bundle = pathlib.Path(directory) / name
        self.runc = ['runc', '--root', str(state_dir)]
        self.process = None
        uid, gid = (int(part) for part in (user or image['User']).split(':'))
        capabilities = sorted('CAP_' + capability for capability in capabilities)
        # Only root keeps its capabilities once the program has started.
        effective = capabilities if uid == 0 else []
        mounts = [
            {'destination': '/proc', 'type': 'proc', 'source': 'proc'},
            {'destination': '/dev', 'type': 'tmpfs', 'source': 'tmpfs',
             'options': ['nosuid', 'strictatime', 'mode=755', 'size=65536k']},
            {'destination': '/dev/shm', 'type': 'tmpfs', 'source': 'shm',
             'options': ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']},
            {'destination': '/sys', 'type': 'sysfs', 'source': 'sysfs',
             'options': ['nosuid', 'noexec', 'nodev', 'ro']},
        ]
        for inside, outside in binds.items():
            path, _, read_only = str(inside).partition(':')
            mounts.append({'destination': path, 'type': 'bind', 'source': str(outside),
                           'options': ['rbind', read_only or 'rw', 'rslave']})
        namespaces = ['mount', 'ipc', 'uts', 'network'] + ([] if host_pids else ['pid'])
        config = {
            'ociVersion': '1.0.2',
            'root': {'path': str(rootfs), 'readonly': True},
            'hostname': name,
            'mounts': mounts,
            'process': {
                'user': {'uid': uid, 'gid': gid},
                'args': (image.get('Entrypoint') or []) + list(arguments),
                'env': image['Env'], 'cwd': image.get('WorkingDir') or '/',
                'noNewPrivileges': True,
                'capabilities': {'bounding': capabilities, 'effective': effective,
                                 'permitted': effective},
            },
            'linux': {'namespaces': [{'type': kind} for kind in namespaces],
                      'seccomp': seccomp(set(capabilities)),
                      'maskedPaths': MASKED, 'readonlyPaths': READ_ONLY},
        }
        self.bundle.mkdir()
        (self.bundle / 'config.json').write_text(json.dumps(config))

    def start(self):
        with open(self.bundle / 'log', 'ab') as log:
            self.process = subprocess.Popen(
                self.runc + ['run', '--bundle', str(self.bundle), self.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def exec_command(self, *command):
        return self.runc + ['exec', self.name, *command]

    def exec(self, *command):
        return subprocess.run(self.exec_command(*command), capture_output=True, text=True,
                              timeout=patience(STEP), check=False)

    def signal(self, name):
        subprocess.run(self.runc + ['kill', self.name, name], check=True, capture_output=True)

    def wait(self, timeout):
        return self.process.wait(timeout)

    def log(self):
        return (self.bundle / 'log').read_text(errors='replace')

    def remove(self):
        subprocess.run(self.runc + ['delete', '--force', self.name], check=False,
                       capture_output=True, timeout=patience(30))
        if self.process and self.process.poll() is None:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.kill(self.process.pid, 9)
                self.process.wait()
