#!/usr/bin/python3
"""Checks the built image, and runs it next to real QEMU guests; tools/test_image.sh calls this.

Says PASS or FAIL for each check; its exit code is 1 if any failed.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback

import yaml

from container import Container
from guest import STEP, Guest, patience
from libvirt import Libvirt

ROOT = pathlib.Path(__file__).resolve().parents[3]
MAX_BYTES_OVER_BASE = 80 << 20
STRANGER = 64055  # a user whose QEMUs the daemon's own user may not reach
# SO_PEERPIDFD, from Linux 6.5 on.
SEES_FOREIGN_PROCESSES = [int(part) for part in os.uname().release.split('.')[:2]] >= [6, 5]
# Names of compilers, assemblers and build tools.
COMPILERS = ('as', 'c++', 'c89', 'c99', 'cc', 'ccache', 'clang', 'cmake', 'cpp', 'g++', 'gcc', 'go',
             'ld', 'make', 'ninja', 'protoc', 'rustc', 'x86_64-linux-gnu-gcc')
# How each guest ends, and the expected verdict with and without its process.
ENDS = {
    'user': ('SHUTDOWN_CLASS_USER', 'SHUTDOWN_CAUSE_GUEST_POWEROFF',
             'SHUTDOWN_CAUSE_GUEST_POWEROFF'),
    'admin': ('SHUTDOWN_CLASS_ADMIN', 'SHUTDOWN_CAUSE_HOST_POWERDOWN',
              'SHUTDOWN_CAUSE_HOST_POWERDOWN'),
    'crash': ('SHUTDOWN_CLASS_CRASH', 'SHUTDOWN_CAUSE_QEMU_CRASHED',
              'SHUTDOWN_CAUSE_PROCESS_EXITED'),
}


class Report:
    def __init__(self):
        self.failures = 0

    def check(self, passed, what, seen=''):
        print(('PASS  ' if passed else 'FAIL  ') + what, flush=True)
        if not passed:
            self.failures += 1
            if seen != '':
                print('      ' + str(seen).strip().replace('\n', '\n      '), flush=True)


class Storage:
    """The storage of buildah."""

    def __init__(self, options):
        self.command = ['buildah', '--root', options.storage, '--runroot', options.runroot,
                        '--storage-driver', options.driver, '--log-level', 'error']

    def run(self, *arguments):
        return subprocess.run([*self.command, *arguments], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()

    @contextlib.contextmanager
    def mounted(self, image):
        """The root directory of a container of the image, which buildah never runs."""
        container = self.run('from', '--pull-never', image)
        try:
            yield pathlib.Path(self.run('mount', container))
        finally:
            self.run('umount', container)
            self.run('rm', container)

    def inspect(self, image):
        return json.loads(self.run('inspect', '--type', 'image', image))


def files_of(root):
    """(path within, status) of each file; follows no links."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            yield '/' + os.path.relpath(path, root), os.lstat(path)


def size_of(root):
    seen = set()
    total = 0
    for _, status in files_of(root):
        if status.st_ino not in seen:
            seen.add(status.st_ino)
            total += status.st_size
    return total


def check_contents(report, root, base):
    over = size_of(root) - size_of(base)
    report.check(over <= MAX_BYTES_OVER_BASE,
                 f'size: {over / 2**20:.1f} MiB over the base (at most 80)')
    files = dict(files_of(root))
    found = [path for path in files if os.path.basename(path) in COMPILERS]
    found += [path for path in files if path.endswith(('.h', '.o', '.a', '/cc1', '/cc1plus'))
              and path.startswith('/usr/') and not os.path.lexists(str(base) + path)]
    report.check(not found, 'no compiler, header or object file', found[:10])
    lent = [path for path, status in files.items()
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_ISUID | stat.S_ISGID)]
    report.check(not lent, 'no setuid or setgid file', lent)
    writable = [path for path, status in files.items()
                if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IWOTH]
    report.check(not writable, 'no file that everybody may write', writable)
    kept = [path for path in files if path.startswith('/var/lib/apt/lists/') and
            path.count('/') == 5 and not path.endswith('/lock')]
    kept += [path for path in files if path.endswith('.deb') or path.startswith('/src')]
    report.check(not kept, 'no package list, package or source', kept[:10])
    differs = subprocess.run(['diff', '-r', root / 'etc/apt', base / 'etc/apt'], text=True,
                             capture_output=True, check=False).stdout
    report.check(differs == '', "apt's configuration is the base's own", differs)


def check_configuration(report, description, version):
    image = description['Docker']['config']
    user = image.get('User', '')
    report.check(user.replace(':', '').isdigit() and not user.startswith('0'),
                 f'runs as a user by number that is not root: {user}')
    report.check(image.get('Entrypoint') == ['vmeventd'], 'the entry point is vmeventd',
                 image.get('Entrypoint'))
    report.check((image.get('Healthcheck') or {}).get('Test') == ['CMD', 'vmevents', 'health'],
                 'the health check asks by vmevents', image.get('Healthcheck'))
    report.check('/var/lib/vmeventd' in (image.get('Volumes') or {}), 'the state is a volume',
                 image.get('Volumes'))
    report.check(image.get('StopSignal') == 'SIGTERM', 'is stopped by SIGTERM',
                 image.get('StopSignal'))
    labels = image.get('Labels') or {}
    wanted = ('title', 'description', 'licenses', 'version', 'base.name')
    report.check(all(labels.get('org.opencontainers.image.' + name) for name in wanted),
                 'has its OCI labels', labels)
    report.check(labels.get('org.opencontainers.image.version') == version,
                 f'the label has the version of vmeventd: {version}', labels)
    report.check('@sha256:' in labels.get('org.opencontainers.image.base.name', ''),
                 'the label names the base with its digest', labels)
    text = json.dumps([image, description['OCIv1'].get('history')])
    report.check('://' not in text and 'proxy' not in text.lower(),
                 'neither mirror nor proxy in configuration and history', text)


def check_bill(report, rootfs, name, version, digest, directory):
    """Writes the image's bill of materials."""
    path = pathlib.Path(directory) / f'{name}.spdx.json'
    with open(path, 'w', encoding='utf-8') as output:
        subprocess.run([ROOT / 'tools/sbom.py', 'image', rootfs, name, version, digest], check=True,
                       stdout=output)
    bill = json.loads(path.read_text(encoding='utf-8'))
    named = {(package['name'], package['versionInfo']) for package in bill['packages']}
    lines = subprocess.run(['dpkg-query', f'--admindir={rootfs}/var/lib/dpkg', '-W', '-f',
                            '${Package} ${Version}\n'], check=True, text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()
    missing = {tuple(line.split()) for line in lines} - named
    report.check(lines and not missing, f'{path.name} names the {len(lines)} packages of the image',
                 missing)


class Node:
    """The directory of this run: watched directories, the daemons' sockets and states, QEMUs."""

    def __init__(self, stack, options, rootfs, image):
        self.stack = stack
        self.options = options
        self.rootfs = rootfs
        self.image = image
        self.user = int(image['User'].split(':')[0])
        self.path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(
            prefix='vmeventd-image.', dir='/tmp')))
        self.path.chmod(0o755)
        self.kernel = self.directory('kernel')
        for name in ('vmlinux', 'initrd'):  # readable for every user
            shutil.copy(pathlib.Path(options.guest) / name, self.kernel)

    def directory(self, name, user=0):
        path = self.path / name
        path.mkdir(mode=0o755)
        os.chown(path, user, user)
        return path

    def container(self, name, binds, arguments, user=None, **settings):
        """Starts a container with a directory here for its socket and one for its state."""
        owner = int(user.split(':')[0]) if user else self.user
        run, state = (self.directory(f'{name}.{kind}', owner) for kind in ('run', 'state'))
        binds = {'/run/vmeventd': run, '/var/lib/vmeventd': state, **binds}
        container = Container(name, self.path, self.rootfs, self.image, arguments, binds,
                              user=user, state_dir=self.path / 'runc', **settings)
        self.stack.callback(container.remove)
        container.start()
        return container

    def socket(self, container):
        return f'unix:{self.path}/{container.name}.run/vmeventd.sock'

    def guest(self, name, directories, user, boot=True):
        control = self.path / f'{name}.control.d'
        if not control.exists():
            self.directory(control.name, user)
        guest = Guest(name, [directory / f'{name}.qmp' for directory in directories],
                      control / 'control', user, self.kernel if boot else None)
        self.stack.callback(guest.close)
        return guest

    def outside(self, container, *arguments):
        """Runs this machine's own client."""
        return [f'{self.options.bin}/vmevents', '--server', self.socket(container), *arguments]


def wait_for(what, condition):
    began = time.monotonic()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > began + patience(STEP):
            raise TimeoutError(f'waited in vain until {what}')
        time.sleep(0.05)


def wait_healthy(container):
    def healthy():
        if container.process.poll() is not None:
            raise RuntimeError(f'{container.name} has ended: {container.log()}')
        return container.exec('vmevents', 'health').returncode == 0

    wait_for(f'{container.name} is healthy', healthy)


def vms(node, container):
    output = subprocess.run(node.outside(container, '-o', 'json', 'vms', '--all'), text=True,
                            capture_output=True, check=True, timeout=patience(STEP)).stdout
    return {vm['ref']['name']: vm for vm in map(json.loads, output.splitlines())}


class Watch:
    """Runs `vmevents watch` for the expected number of events."""

    COMMAND = ('-o', 'json', 'watch', '--from', 'oldest', '--type', 'started', '--type', 'stopped')

    def __init__(self, command, count):
        self.process = subprocess.Popen([*command, '--count', str(count)], text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def events(self):
        """{(type, name): event}"""
        try:
            output, _ = self.process.communicate(timeout=patience(STEP))
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
        events = map(json.loads, output.splitlines())
        return {(event['type'], event['vm']['name']): event for event in events}


def check_events(report, where, events, with_pids):
    for name, (wanted_class, cause, cause_without) in ENDS.items():
        started = events.get(('EVENT_TYPE_STARTED', name), {})
        stopped = events.get(('EVENT_TYPE_STOPPED', name), {})
        pid = int(started.get('vm', {}).get('pid', 0))
        report.check(bool(started) and (pid > 0) == with_pids,
                     f'{where}: STARTED of {name}, its pid {"known" if with_pids else "0"}',
                     started)
        shutdown = stopped.get('shutdown', {})
        if not with_pids and cause != cause_without:
            wanted_class = 'SHUTDOWN_CLASS_UNKNOWN'
        wanted = (wanted_class, cause if with_pids else cause_without)
        report.check((shutdown.get('shutdown_class'), shutdown.get('cause')) == wanted,
                     f'{where}: STOPPED of {name}: {", ".join(wanted)}', stopped)
        seen = [evidence['what'] for evidence in shutdown.get('evidence', [])]
        gone = any('process gone' in what for what in seen)
        closed = any('monitor closed' in what for what in seen)
        known = with_pids or SEES_FOREIGN_PROCESSES
        report.check(closed and gone == known,
                     f'{where}: {name}: the evidence has the end of the '
                     f'{"process" if known else "monitor alone"}', seen)


def check_stop(report, container):
    container.signal('TERM')
    started = time.monotonic()
    try:
        # The daemon itself limits its stop to 5 s: beyond that it exits with an error.
        code = container.wait(patience(STEP))
        took = time.monotonic() - started
        report.check(code == 0, f'{container.name}: SIGTERM stops it with 0, after {took:.1f} s',
                     f'{code}\n{container.log()}')
    except subprocess.TimeoutExpired:
        report.check(False, f'{container.name}: SIGTERM stops it', container.log())


def check_guests(report, node):
    """Three guests, each followed by two containers: with and without access to the host's processes."""
    shared, own = node.directory('shared', node.user), node.directory('own', node.user)
    watch_vms = ['--watch', '/vms:*.qmp']
    with_pids = node.container('with-host-pids', {'/vms': shared}, watch_vms, host_pids=True)
    without = node.container('without-host-pids', {'/vms': own}, watch_vms, host_pids=False)
    containers = {with_pids: True, without: False}
    for container in containers:
        wait_healthy(container)
    guests = {name: node.guest(name, [shared, own], node.user) for name in ENDS}
    watches = []
    for container in containers:
        for where, command in (('inside', container.exec_command('vmevents', *Watch.COMMAND)),
                               ('outside', node.outside(container, *Watch.COMMAND))):
            watches.append((f'{container.name}, seen {where}', container,
                            Watch(command, 2 * len(ENDS))))
    for guest in guests.values():
        guest.wait_ready()
    for container in containers:
        wait_for(f'{container.name} follows all guests', lambda container=container: len(
            [vm for vm in vms(node, container).values()
             if vm['state'] == 'VM_STATE_RUNNING']) == len(ENDS))
    guests['user'].type('poweroff -f')
    guests['admin'].manage('system_powerdown')
    guests['crash'].abort()
    for guest in guests.values():
        guest.reap()
    for where, container, watch in watches:
        check_events(report, where, watch.events(), containers[container])
    for container, directory in ((with_pids, shared), (without, own)):
        files = sorted(path.name for path in directory.glob('*.shutdown'))
        report.check(files == ['user.shutdown'],
                     f"{container.name}: the user's shutdown file and no other", files)
        check_inside(report, node, container)
        check_stop(report, container)


def check_inside(report, node, container):
    test = node.image['Healthcheck']['Test'][1:]
    answer = container.exec(*test)
    report.check(answer.returncode == 0, f'{container.name}: the health check passes',
                 answer.stdout + answer.stderr)
    answer = container.exec('sh', '-c', 'touch /x || exit 7')
    report.check(answer.returncode == 7 and 'Read-only' in answer.stderr,
                 f'{container.name}: has a shell, and a root that is read-only',
                 answer.stdout + answer.stderr)
    # The last process was the shell's: without a daemon it is not healthy.
    answer = container.exec('vmevents', '--server', 'unix:/run/nobody', 'health')
    report.check(answer.returncode != 0, f'{container.name}: the health check of nobody fails')


def unfollowed_sockets(node, container):
    output = subprocess.run(node.outside(container, '-o', 'json', 'info'), text=True,
                            capture_output=True, check=True, timeout=patience(STEP)).stdout
    return json.loads(output).get('unfollowed_sockets', [])


def followed(node, container):
    return [vm for vm in vms(node, container).values()
            if vm['state'] == 'VM_STATE_RUNNING' and int(vm['ref'].get('pid', 0))]


def check_strangers(report, node):
    """The image's own user with QEMUs of another user."""
    directory = node.directory('qemu', STRANGER)
    node.guest('stranger', [directory], STRANGER, boot=False)
    wait_for('the QEMU has its monitor', (directory / 'stranger.qmp').is_socket)
    container = node.container('non-root', {'/vms': directory}, ['--watch', '/vms:*.qmp'],
                               host_pids=True)
    wait_healthy(container)
    sockets = wait_for('the socket is listed', lambda: unfollowed_sockets(node, container))
    report.check(any(socket['problem']['code'] == 'PROBLEM_CODE_PERMISSION_DENIED' for socket in sockets),
                 'non-root: says which QEMUs it may not follow', sockets)
    check_stop(report, container)


def make_certificate(directory, name, subject_name):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                    'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=test',
                    '-addext', f'subjectAltName=DNS:{subject_name}',
                    '-keyout', directory / f'{name}.key', '-out', directory / f'{name}.crt'],
                   check=True, capture_output=True)


def put_secret(secret, version):
    """Places the TLS files like the kubelet: links to a directory that is replaced atomically."""
    data = secret / version
    data.mkdir()
    make_certificate(data, 'tls', 'vmeventd.vmeventd.svc')
    make_certificate(data, 'client', 'orchestrator.vmeventd.svc')
    shutil.copy(data / 'client.crt', data / 'ca.crt')  # signed by itself
    link = secret / '..new'
    link.symlink_to(version)
    link.rename(secret / '..data')
    for name in ('tls.crt', 'tls.key', 'ca.crt', 'client.crt', 'client.key'):
        if not (secret / name).is_symlink():
            (secret / name).symlink_to(f'..data/{name}')


def check_network(report, container, secret):
    """Over the network: mutual TLS, a new certificate, metrics."""
    files = '/etc/vmeventd-tls'

    def declare(*identity):
        return container.exec('vmevents', '--server', 'localhost:9555', '--tls-ca',
                              f'{files}/tls.crt', '--tls-server-name', 'vmeventd.vmeventd.svc',
                              *identity, 'intent', 'declare', 'reaped', '--actor', 'test',
                              '--reason', 'test', '--ttl', '1s')

    client = ('--tls-cert', f'{files}/client.crt', '--tls-key', f'{files}/client.key')
    answer = declare()
    report.check(answer.returncode != 0, 'daemonset: TLS without a certificate is refused', answer)
    answer = declare(*client)
    report.check(answer.returncode == 0, 'daemonset: an operator is known by its certificate',
                 answer)
    put_secret(secret, '..second')  # the old certificates are no longer trusted
    wait_for('the new certificates are in use', lambda: declare(*client).returncode == 0)
    report.check(True, 'daemonset: a new Secret is taken without a restart')
    answer = container.exec('bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/9556 && '
                            "printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3")
    report.check('vmeventd_build_info' in answer.stdout, 'daemonset: metrics at their port',
                 answer.stdout + answer.stderr)


def daemonset(component=None):
    """The DaemonSet's container, with what the component adds to it."""
    manifest = yaml.safe_load((ROOT / 'deploy/kubernetes/base/daemonset.yaml').read_text())
    specification = manifest['spec']['template']['spec']['containers'][0]
    if component:
        path = ROOT / 'deploy/kubernetes/components' / component / 'patch.yaml'
        for step in yaml.safe_load(path.read_text()):
            where = step['path'].removeprefix('/spec/template/spec/containers/0/')
            if where in ('args/-', 'volumeMounts/-'):
                specification[where.removesuffix('/-')].append(step['value'])
    return specification


def run_daemonset(node, specification, sources):
    """Starts it; `sources` has the directory here of each volume, None for the container's own."""
    security = specification['securityContext']
    put_secret(sources['tls'], '..first')
    binds = {mount['mountPath'] + (':ro' if mount.get('readOnly') else ''): sources[mount['name']]
             for mount in specification['volumeMounts'] if sources[mount['name']]}
    return node.container('daemonset', binds, specification['args'], host_pids=True,
                          user=f"{security['runAsUser']}:{security['runAsGroup']}",
                          capabilities=security['capabilities']['add'])


def check_daemonset(report, node):
    """The DaemonSet's container, with its own rights, mounts and configuration."""
    specification = daemonset()
    sources = {'config': ROOT / 'deploy/kubernetes/base', 'tls': node.directory('secret'),
               'qemu': node.directory('qemu', STRANGER), 'run': None, 'state': None}
    guests = {name: node.guest(name, [sources['qemu']], STRANGER, boot=False)
              for name in ('reaped', 'zombie', 'killed')}
    container = run_daemonset(node, specification, sources)
    wait_healthy(container)
    wait_for('the QEMUs are followed', lambda: len(followed(node, container)) == len(guests))
    report.check(True, 'daemonset: follows QEMUs of another user, with '
                 f'{", ".join(specification["securityContext"]["capabilities"]["add"])}')
    check_network(report, container, sources['tls'])
    watch = Watch(node.outside(container, *Watch.COMMAND), 2 * len(guests))
    guests['killed'].process.kill()
    guests['killed'].reap()
    for name in ('reaped', 'zombie'):
        guests[name].abort()
    guests['reaped'].reap()
    events = watch.events()  # while the other is still a zombie
    shutdown = events.get(('EVENT_TYPE_STOPPED', 'killed'), {}).get('shutdown', {})
    report.check((shutdown.get('shutdown_class'), shutdown.get('cause')) ==
                 ('SHUTDOWN_CLASS_ADMIN', 'SHUTDOWN_CAUSE_HOST_KILL') and
                 any('SIGKILL sent by python3' in evidence['what'] for evidence in shutdown.get('evidence', [])),
                 'daemonset: kill -9 is ADMIN, its sender is seen', shutdown)
    for name in ('reaped', 'zombie'):
        shutdown = events.get(('EVENT_TYPE_STOPPED', name), {}).get('shutdown', {})
        report.check(shutdown.get('exit_signal', {}).get('number') == 6,
                     f'daemonset: how a QEMU ended that is {name}: signal 6', shutdown)
    check_stop(report, container)


def check_libvirt(report, node):
    """A domain of the node's libvirt, followed by the DaemonSet with the component libvirt."""
    libvirt = Libvirt(node.path / 'libvirt', node.options.libvirt_cache)
    node.stack.callback(libvirt.close)
    sources = {'config': ROOT / 'deploy/kubernetes/base', 'tls': node.directory('secret'),
               'qemu': node.directory('qemu', STRANGER), 'run': None, 'state': None,
               'libvirt': libvirt.run}
    container = run_daemonset(node, daemonset('libvirt'), sources)
    wait_healthy(container)
    libvirt.create('domain')
    wait_for('the domain is followed', lambda: 'domain' in vms(node, container))
    vm = vms(node, container)['domain']
    report.check(vm['ref'].get('source') == 'libvirt:qemu:///system' and
                 int(vm['ref'].get('pid', 0)) > 0,
                 'libvirt: follows its domain, whose process it sees', vm)
    watch = Watch(node.outside(container, *Watch.COMMAND), 2)
    libvirt.virsh('destroy', 'domain')
    shutdown = watch.events().get(('EVENT_TYPE_STOPPED', 'domain'), {}).get('shutdown', {})
    report.check((shutdown.get('shutdown_class'), shutdown.get('cause')) ==
                 ('SHUTDOWN_CLASS_ADMIN', 'SHUTDOWN_CAUSE_HOST_DESTROY'),
                 'libvirt: virsh destroy is ADMIN, HOST_DESTROY', shutdown)
    check_stop(report, container)


def check_client(report, node, rootfs, image):
    """The client's image, next to the daemon's container."""
    report.check(not (rootfs / 'usr/bin/vmeventd').exists(), 'client: the daemon is not in its image')
    report.check(image.get('Entrypoint') == ['vmevents'], 'client: the entry point is vmevents', image)
    daemon = node.container('served', {'/vms': node.directory('vms', node.user)},
                            ['--watch', '/vms:*.qmp'], host_pids=False)
    wait_healthy(daemon)
    client = Container('client', node.path, rootfs, image,
                       ['--server', 'unix:/run/vmeventd/vmeventd.sock', 'health'],
                       {'/run/vmeventd': node.path / 'served.run'}, host_pids=False,
                       state_dir=node.path / 'runc')
    node.stack.callback(client.remove)
    client.start()
    code = client.wait(patience(STEP))
    report.check(code == 0, 'client: reaches a daemon through its socket', f'{code}\n{client.log()}')
    check_stop(report, daemon)


def check_kubevirt(report, node, rootfs, image):
    """The container of the component kubevirt-hook next to the daemon's, with an API server that is away."""
    path = ROOT / 'deploy/kubernetes/components/kubevirt-hook/daemonset.yaml'
    (specification,) = yaml.safe_load(path.read_text())['spec']['template']['spec']['containers']
    report.check([pathlib.Path(word).name for word in specification['command']] == image.get('Entrypoint'),
                 "kubevirt: the DaemonSet's command is the entry point", image)
    daemon = node.container('followed', {'/vms': node.directory('vms')}, ['--watch', '/vms:*.qmp'], user='0:0',
                            host_pids=False)
    wait_healthy(daemon)
    state = node.directory('kubevirt.state')
    sources = {'run': node.path / 'followed.run', 'state': state}
    hook = Container('kubevirt', node.path, rootfs, image, [
        *(word.replace('$(NODE_NAME)', 'node1') for word in specification['args']), '--api', 'http://127.0.0.1:1'],
        {mount['mountPath'] + (':ro' if mount.get('readOnly') else ''): sources[mount['name']]
         for mount in specification['volumeMounts']}, host_pids=False, user='0:0', state_dir=node.path / 'runc')
    node.stack.callback(hook.remove)
    hook.start()
    wait_for('it follows the daemon and asks the API server', lambda: hook.process.poll() is not None or (
        (state / 'cursor').exists() and hook.log().count('trying again') >= 3))
    report.check(hook.process.poll() is None, 'kubevirt: follows the daemon through its socket', hook.log())
    hook.signal('KILL')
    check_stop(report, daemon)


def check_no_libvirt(report, node):
    """The image without libvirt's client library."""
    container = node.container('no-libvirt', {}, ['--libvirt', 'qemu:///system'], host_pids=True)
    code = container.wait(patience(STEP))
    report.check(code == 1 and 'libvirt0' in container.log(),
                 'without libvirt: says which package it lacks', f'{code}\n{container.log()}')


def main():
    parser = argparse.ArgumentParser()
    for name in ('driver', 'storage', 'runroot', 'image', 'libvirt-image', 'client-image', 'kubevirt-image', 'base',
                 'bin', 'guest', 'libvirt-cache', 'sboms'):
        parser.add_argument('--' + name, required=True)
    options = parser.parse_args()
    # Clean up after a signal, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    report = Report()
    storage = Storage(options)
    version = subprocess.run([f'{options.bin}/vmeventd', '--version'], check=True, text=True,
                             stdout=subprocess.PIPE).stdout.split()[-1]
    description = storage.inspect(options.image)
    check_configuration(report, description, version)

    def check_all(rootfs, scenarios):
        for scenario in scenarios:
            with contextlib.ExitStack() as stack:
                node = Node(stack, options, rootfs, description['Docker']['config'])
                try:
                    scenario(report, node)
                except Exception:  # the other checks continue
                    report.check(False, scenario.__doc__.strip(), traceback.format_exc())
                    for log in node.path.glob('*/log'):
                        print(f'      {log}:\n' + log.read_text(errors='replace'))

    with storage.mounted(options.image) as rootfs:
        with storage.mounted(options.base) as base:
            check_contents(report, rootfs, base)
        check_bill(report, rootfs, 'vmeventd-image', version, description['FromImageDigest'],
                   options.sboms)
        check_all(rootfs, (check_guests, check_strangers, check_daemonset, check_no_libvirt))
        for other, name, check in ((options.client_image, 'vmevents-image', check_client),
                                   (options.kubevirt_image, 'vmeventd-kubevirt-image', check_kubevirt)):
            about = storage.inspect(other)
            with storage.mounted(other) as beside:
                check_bill(report, beside, name, version, about['FromImageDigest'], options.sboms)
                scenario = functools.partial(check, rootfs=beside, image=about['Docker']['config'])
                scenario.__doc__ = check.__doc__
                check_all(rootfs, (scenario,))
    with storage.mounted(options.libvirt_image) as rootfs:
        check_all(rootfs, (check_libvirt,))
    print(f'\nimage: {report.failures} checks failed' if report.failures else '\nimage: all passed')
    return 1 if report.failures else 0


if __name__ == '__main__':
    sys.exit(main())
