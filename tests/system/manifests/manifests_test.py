#!/usr/bin/python3
"""Checks that the files of deploy/ for Kubernetes, compose and docker fit vmeventd: apply_test.py checks what is valid for
Kubernetes.

  manifests_test.py VMEVENTD VMEVENTS KUBECTL [UNITTEST-ARGUMENT...]
"""

import functools
import itertools
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import jsonschema
import yaml

import strict_yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / 'tests/support/python'))

from patience import patience  # noqa: E402  # pylint: disable=wrong-import-position

KUBERNETES = ROOT / 'deploy/kubernetes'
COMPONENTS = sorted(path.name for path in (KUBERNETES / 'components').iterdir())
# A vmeventd that is not root can use neither: components/non-root explains why. openshift comes last, as its file requires.
PRIVILEGED = ('host-network', 'kubevirt', 'kubevirt-hook')
ORDER = sorted(COMPONENTS, key=lambda name: name == 'openshift')
EVERYTHING = tuple(name for name in ORDER if name != 'non-root')
WITHOUT_ROOT = tuple(name for name in ORDER if name not in PRIVILEGED)
VARIANTS = [(), *((name,) for name in COMPONENTS), *itertools.combinations(EVERYTHING, 2), EVERYTHING, WITHOUT_ROOT]
PROGRAMS = {}
# The capabilities that may be requested.
CAPABILITIES = {'DAC_OVERRIDE', 'SYS_PTRACE', 'BPF', 'PERFMON', 'NET_ADMIN'}


def run(*command, text=None):
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=patience(300))


@functools.cache
def flags_of(program):
    return set(re.findall(r'--[a-z][-a-z]*', run(PROGRAMS[program], '--help').stdout))


@functools.cache
def kustomized(components, settings):
    """What kubectl makes of the base with these components and further settings, as JSON."""
    with tempfile.TemporaryDirectory(dir=ROOT / 'build') as directory:
        relative = os.path.relpath(KUBERNETES, directory)
        pathlib.Path(directory, 'kustomization.yaml').write_text(yaml.dump({
            'apiVersion': 'kustomize.config.k8s.io/v1beta1', 'kind': 'Kustomization', 'resources': [f'{relative}/base'],
            'components': [f'{relative}/components/{name}' for name in components], **json.loads(settings)}), encoding='utf-8')
        done = run(PROGRAMS['kubectl'], 'kustomize', directory)
        assert done.returncode == 0, f'{components}: {done.stderr}'
        return done.stdout


def rendered(*components, **settings):
    return kustomized(components, json.dumps(settings))


def parsed(*components):
    return yaml.load_all(rendered(*components), Loader=yaml.CSafeLoader)


def built(*components):
    """{kind: manifest} of the daemon; there is one of each kind."""
    return {manifest['kind']: manifest for manifest in parsed(*components)
            if not manifest['metadata']['name'].startswith('vmeventd-kubevirt')}


def hooks(*components):
    """The same for the hook that connects it with KubeVirt."""
    return {manifest['kind']: manifest for manifest in parsed('kubevirt-hook', *components)
            if manifest['metadata']['name'].startswith('vmeventd-kubevirt')}


def pod_of(manifests):
    return manifests['DaemonSet']['spec']['template']['spec']


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def answer_of(daemon, url):
    """The status, once the daemon listens and serves; another one if it never does."""
    began = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(url, timeout=patience()) as answer:
                return answer.status
        except OSError as error:  # 503 as well: it does not serve yet
            if daemon.poll() is not None or time.monotonic() > began + patience():
                return error
        time.sleep(0.05)


def check_config(text):
    """Runs the daemon's own check on a configuration, with TLS files made for it."""
    with tempfile.TemporaryDirectory() as directory:
        for name, key in (('tls.crt', 'tls.key'), ('ca.crt', 'ca.key')):
            made = run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                       'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=test',
                       '-keyout', f'{directory}/{key}', '-out', f'{directory}/{name}')
            assert made.returncode == 0, made.stderr
        path = pathlib.Path(directory) / 'vmeventd.conf'
        path.write_text(text.replace('/etc/vmeventd-tls', directory), encoding='utf-8')
        return run(PROGRAMS['vmeventd'], '--check-config', '--config', str(path))


REGISTRY = 'registry.example.com/'
# What the base has, and each component adds: the containers' images, users and capabilities, their mounts ("ro" behind a
# read-only one) and arguments, and what is bound to whose account.
BASE = {
    'images': {('vmeventd', 'vmeventd')},
    'users': {('vmeventd', '0:0')},
    'capabilities': {('vmeventd', name) for name in ('DAC_OVERRIDE', 'SYS_PTRACE', 'BPF', 'PERFMON')},
    'mounts': {('vmeventd', '/etc/vmeventd ro'), ('vmeventd', '/etc/vmeventd-tls ro'), ('vmeventd', '/run/qemu ro'),
               ('vmeventd', '/run/vmeventd'), ('vmeventd', '/var/lib/vmeventd')},
    'accounts': {('vmeventd', 'vmeventd', False)},
    'rights': set(),
    'others': set(),
}
ADDED = {
    'fleet': {'images': {('push', 'vmeventd')}, 'users': {('push', '65532:0')},
              'mounts': {('push', '/run/vmeventd ro'), ('push', '/var/lib/vmevents-push'), ('push', '/etc/vmevents-push ro')}},
    'host-network': {'capabilities': {('vmeventd', 'NET_ADMIN')}, 'others': {'hostNetwork'}},
    'kubevirt': {'mounts': {('vmeventd', '/var/lib/kubelet/pods ro')}},
    'kubevirt-hook': {'images': {('kubevirt', 'vmeventd-kubevirt')}, 'users': {('kubevirt', '0:0')},
                      'mounts': {('kubevirt', '/run/vmeventd ro'), ('kubevirt', '/var/lib/vmeventd-kubevirt')},
                      'accounts': {('vmeventd-kubevirt', 'vmeventd-kubevirt', True)},
                      'rights': {('ClusterRole', 'vmeventd-kubevirt', 'vmeventd:vmeventd-kubevirt')}},
    'libvirt': {'mounts': {('vmeventd', '/run/libvirt ro')}},
    'openshift': {'others': {'SecurityContextConstraints'}},
    'prometheus-operator': {'others': {'PodMonitor'}},
}
# What every rendering has in addition.
ALWAYS = {'Namespace', 'ResourceQuota', 'ServiceAccount', 'ConfigMap', 'Service', 'DaemonSet', 'NetworkPolicy', 'ClusterRole',
          'ClusterRoleBinding'}


def expected(components):
    facts = {name: set(values) for name, values in BASE.items()}
    for component in components:
        for name, values in ADDED.get(component, {}).items():
            facts[name] |= values
    if 'non-root' in components:
        facts['users'] = facts['users'] - {('vmeventd', '0:0')} | {('vmeventd', '64055:64055')}
        facts['capabilities'] = set()
    return facts


def facts_of(manifests):
    """The same facts as those of expected(), read from manifests."""
    facts = {name: set() for name in BASE}
    for manifest in manifests:
        kind, name = manifest['kind'], manifest['metadata']['name']
        if kind not in ALWAYS:
            facts['others'].add(kind)
        if kind == 'ClusterRoleBinding':
            for subject in manifest['subjects']:
                facts['rights'].add((manifest['roleRef']['kind'], manifest['roleRef']['name'],
                                     f"{subject['namespace']}:{subject['name']}"))
        if kind != 'DaemonSet':
            continue
        pod = pod_of({kind: manifest})
        facts['accounts'].add((name, pod['serviceAccountName'], pod['automountServiceAccountToken']))
        if pod.get('hostNetwork'):
            facts['others'].add('hostNetwork')
        for container in pod['containers']:
            name, security = container['name'], container['securityContext']
            facts['images'].add((name, container['image'].removeprefix(REGISTRY).rpartition(':')[0]))
            facts['users'].add((name, f"{security['runAsUser']}:{security['runAsGroup']}"))
            facts['capabilities'] |= {(name, one) for one in security['capabilities'].get('add', [])}
            facts['mounts'] |= {(name, mount['mountPath'] + (' ro' if mount.get('readOnly') else ''))
                                for mount in container['volumeMounts']}
    return facts


class Kubernetes(unittest.TestCase):
    def each(self):
        for variant in VARIANTS:
            with self.subTest(variant):
                yield built(*variant)

    def test_every_file_is_used(self):
        used = {path for path in KUBERNETES.rglob('kustomization.yaml')}
        for path in list(used):
            settings = strict_yaml.load(path)
            used |= {path.parent / name for name in settings.get('resources', [])}
            used |= {path.parent / patch['path'] for patch in settings.get('patches', [])}
        self.assertEqual(set(KUBERNETES.rglob('*.yaml')) - used, set())

    def test_every_image_is_named_in_the_sites_settings(self):
        named = {f'registry.example.com/{name}' for name in ('vmeventd', 'vmeventd-kubevirt')}
        for variant in VARIANTS:
            with self.subTest(variant):
                for manifest in parsed(*variant):
                    if manifest['kind'] != 'DaemonSet':
                        continue
                    for container in pod_of({'DaemonSet': manifest})['containers']:
                        image, _, tag = container['image'].rpartition(':')
                        self.assertIn(image, named, container['name'])
                        self.assertRegex(tag, r'^\d+\.\d+\.\d+$')

    def test_each_component_adds_only_its_documented_parts(self):
        self.assertEqual(set(ADDED), set(COMPONENTS) - {'non-root'})
        for variant in VARIANTS:
            with self.subTest(variant):
                self.assertEqual(facts_of(parsed(*variant)), expected(variant))

    def test_another_namespace_applies_to_the_accounts_too(self):
        """With the lines of the page, of which each patch is for a component that may not be there."""
        page = (KUBERNETES / 'README.md').read_text(encoding='utf-8')
        lines = yaml.safe_load(re.search(r'```yaml\n(namespace: .*?)```', page, re.DOTALL)[1])
        for variant in ((), EVERYTHING):
            text = rendered(*variant, **lines)
            self.assertIn(f"namespace: {lines['namespace']}\n", text)
            self.assertNotIn('namespace: vmeventd\n', text)
            self.assertNotIn(':vmeventd:', text)
        self.assertIn('serviceaccount:vmeventd:', rendered(*EVERYTHING))
        self.assertIn(f"`vmeventd.{lines['namespace']}.svc`", page)

    def test_the_quota_admits_the_pods_of_its_priority(self):
        for manifests in self.each():
            (scope,) = manifests['ResourceQuota']['spec']['scopeSelector']['matchExpressions']
            self.assertEqual((scope['scopeName'], scope['operator'], scope['values']),
                             ('PriorityClass', 'In', [pod_of(manifests)['priorityClassName']]))

    def test_a_missing_directory_of_the_node_never_prevents_a_start(self):
        for manifests in [*map(lambda variant: built(*variant), VARIANTS), hooks()]:
            for volume in pod_of(manifests)['volumes']:
                if 'hostPath' in volume:
                    self.assertEqual(volume['hostPath']['type'], 'DirectoryOrCreate')

    def test_a_pod_in_the_hosts_network_uses_the_clusters_dns(self):
        for manifests in self.each():
            pod = pod_of(manifests)
            self.assertEqual(pod.get('dnsPolicy'), 'ClusterFirstWithHostNet' if pod.get('hostNetwork') else None)

    def test_openshifts_constraints_admit_every_pod(self):
        constraints = built(*EVERYTHING)['SecurityContextConstraints']
        for manifests in (built(*EVERYTHING), built(*WITHOUT_ROOT), hooks('openshift')):
            pod = pod_of(manifests)
            self.assertEqual(pod['securityContext']['seLinuxOptions'], {'type': 'spc_t'})
            self.assertIn(f"system:serviceaccount:vmeventd:{pod['serviceAccountName']}", constraints['users'])
            self.assertLessEqual({key for volume in pod['volumes'] for key in volume if key != 'name'},
                                 set(constraints['volumes']))
            for container in pod['containers']:
                self.assertLessEqual(set(container['securityContext']['capabilities'].get('add', [])),
                                     set(constraints['allowedCapabilities']))

    def test_selectors_accounts_and_volumes_name_what_exists(self):
        for manifests in self.each():
            pod = pod_of(manifests)
            labels = manifests['DaemonSet']['spec']['template']['metadata']['labels']
            selectors = (manifests['DaemonSet']['spec']['selector']['matchLabels'],
                         manifests['Service']['spec']['selector'],
                         manifests['NetworkPolicy']['spec']['podSelector']['matchLabels'])
            for selector in selectors:
                self.assertLessEqual(selector.items(), labels.items())
            self.assertEqual(pod['serviceAccountName'],
                             manifests['ServiceAccount']['metadata']['name'])
            volumes = {volume['name']: volume for volume in pod['volumes']}
            mounts = {mount['name'] for container in pod['containers'] for mount in container['volumeMounts']}
            self.assertEqual(set(volumes), mounts)
            self.assertEqual(volumes['config']['configMap']['name'],
                             manifests['ConfigMap']['metadata']['name'])
            namespaces = {manifest['metadata'].get('namespace') for manifest in manifests.values()
                          if manifest['kind'] not in ('Namespace', 'SecurityContextConstraints')}
            self.assertEqual(namespaces, {manifests['Namespace']['metadata']['name']})

    def test_the_ports_of_services_pods_and_configuration_match(self):
        for manifests in self.each():
            ports = {port['name']: port['containerPort']
                     for port in pod_of(manifests)['containers'][0]['ports']}
            for port in manifests['Service']['spec']['ports']:
                self.assertEqual(port['targetPort'], port['name'])
                self.assertEqual(port['port'], ports[port['name']])
            admitted = [port['port'] for rule in manifests['NetworkPolicy']['spec']['ingress']
                        for port in rule['ports']]
            self.assertEqual(sorted(admitted), sorted(ports))
            config = manifests['ConfigMap']['data']['vmeventd.conf']
            self.assertIn(f':{ports["grpc"]}"', re.search(r'^listen = .*', config, re.M)[0])
            self.assertIn(f':{ports["metrics"]}"',
                          re.search(r'^metrics-listen = .*', config, re.M)[0])

    def test_the_network_policy_admits_only_named_peers_and_the_fleets_servers(self):
        for variant in VARIANTS:
            policy = built(*variant)['NetworkPolicy']['spec']
            self.assertEqual(policy['policyTypes'], ['Ingress', 'Egress'])
            ports = {port['port'] for rule in policy.get('egress', []) for port in rule['ports']}
            self.assertEqual(ports, ({4222, 53} if 'fleet' in variant else set()) |
                             ({5353} if 'openshift' in variant else set()))
            for rule in policy['ingress']:
                for peer in rule['from']:
                    self.assertTrue(peer['podSelector']['matchLabels'])

    def test_the_daemon_gets_the_name_of_the_node(self):
        for manifests in self.each():
            container = manifests['DaemonSet']['spec']['template']['spec']['containers'][0]
            self.assertIn('--node=$(NODE_NAME)', container['args'])
            name, = (env for env in container['env'] if env['name'] == 'NODE_NAME')
            self.assertEqual(name['valueFrom']['fieldRef']['fieldPath'], 'spec.nodeName')

    def test_the_configuration_is_valid(self):
        config = built()['ConfigMap']['data']['vmeventd.conf']
        result = check_config(config)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotEqual(check_config(config + 'no-such-flag = 1\n').returncode, 0)

    def test_each_path_in_the_configuration_is_mounted(self):
        for manifests in self.each():
            config = manifests['ConfigMap']['data']['vmeventd.conf']
            mounts = {mount['mountPath']: mount
                      for mount in pod_of(manifests)['containers'][0]['volumeMounts']}
            for path in re.findall(r'"(?:unix:)?(/[^":,]*)', config):
                holders = [mount for mount in mounts if (path + '/').startswith(mount + '/')]
                self.assertTrue(holders, path)
            if '.kvmd' in config:  # shutdown files are written next to these
                self.assertFalse(mounts['/run/qemu'].get('readOnly'))

    def test_the_pods_use_existing_flags(self):
        for manifests in self.each():
            arguments = pod_of(manifests)['containers'][0]['args']
            flags = {argument.split('=')[0] for argument in arguments if argument.startswith('--')}
            self.assertLessEqual(flags, flags_of('vmeventd'))
        push, *arguments = pod_of(built('fleet'))['containers'][1]['args']
        flags = {argument.split('=')[0] for argument in arguments if argument.startswith('--')}
        self.assertLessEqual(flags, set(re.findall(r'--[a-z][-a-z]*', run(PROGRAMS['vmevents'], push, '--help').stdout)))

    def test_the_daemon_answers_the_probes(self):
        (container,) = pod_of(built())['containers']
        asked = {name: container[name]['httpGet'] for name in ('startupProbe', 'readinessProbe', 'livenessProbe')}
        self.assertEqual({probe['port'] for probe in asked.values()}, {'metrics'})
        port = free_port()
        with tempfile.TemporaryDirectory() as directory, subprocess.Popen(
                [PROGRAMS['vmeventd'], '--watch', f'{directory}:*.qmp', '--state-dir', f'{directory}/state', '--listen',
                 f'unix:{directory}/socket', '--metrics-listen', f'127.0.0.1:{port}'], stderr=subprocess.DEVNULL) as daemon:
            try:
                for probe in asked.values():
                    self.assertEqual(answer_of(daemon, f"http://127.0.0.1:{port}{probe['path']}"), 200)
            finally:
                daemon.terminate()

    def test_the_sockets_of_each_libvirt_are_mounted(self):
        for manifests in self.each():
            container = pod_of(manifests)['containers'][0]
            mounts = {mount['mountPath']: mount for mount in container['volumeMounts']}
            for argument in container['args']:
                if not argument.startswith('--libvirt='):
                    continue
                result = run(PROGRAMS['vmeventd'], argument, '--check-config')
                self.assertEqual(result.returncode, 0, result.stderr)
                socket = (argument.split('?socket=') + ['/run/libvirt/libvirt-sock'])[1]
                holders = [mount for path, mount in mounts.items() if socket.startswith(path + '/')]
                self.assertTrue(holders, argument)
                self.assertTrue(all(mount['readOnly'] for mount in holders))

    def test_the_pod_has_only_the_rights_that_it_needs(self):
        for manifests in self.each():
            pod = pod_of(manifests)
            self.assertIs(pod['automountServiceAccountToken'], False)
            self.assertIs(manifests['ServiceAccount']['automountServiceAccountToken'], False)
            self.assertEqual(pod['securityContext']['seccompProfile'], {'type': 'RuntimeDefault'})
            self.assertIs(pod['hostPID'], True)
            self.assertNotIn('hostIPC', pod)
            security = pod['containers'][0]['securityContext']
            self.assertIs(security['allowPrivilegeEscalation'], False)
            self.assertIs(security['readOnlyRootFilesystem'], True)
            self.assertNotIn('privileged', security)
            self.assertEqual(security['capabilities']['drop'], ['ALL'])
            added = set(security['capabilities'].get('add', []))
            self.assertLessEqual(added, CAPABILITIES)
            if security['runAsUser'] != 0:
                self.assertEqual(added, set())
                self.assertIs(pod['securityContext']['runAsNonRoot'], True)
            for container in pod['containers']:
                self.assertIn('memory', container['resources']['limits'])
                self.assertIn('cpu', container['resources']['requests'])
            for other in pod['containers'][1:]:
                self.assertEqual(other['securityContext']['capabilities'], {'drop': ['ALL']})
                self.assertIs(other['securityContext']['runAsNonRoot'], True)

    def test_the_memory_limit_is_the_same_everywhere(self):
        unit = (ROOT / 'deploy/systemd/vmeventd.service').read_text(encoding='utf-8')
        self.assertIn('\nMemoryMax=1G\n', unit)
        compose = (ROOT / 'deploy/compose.yaml').read_text(encoding='utf-8')
        self.assertIn(' mem_limit: 1g\n', compose)
        pod = (KUBERNETES / 'base/daemonset.yaml').read_text(encoding='utf-8')
        self.assertRegex(pod, r'limits:\n\s+memory: 1Gi\n')
        limits = (ROOT / 'docs/install.md').read_text(encoding='utf-8')
        self.assertIn("`MemoryMax=1G` in the unit, and 1 GiB as the containers' limit", limits)

    def test_the_page_names_its_capabilities(self):
        added = pod_of(built())['containers'][0]['securityContext']['capabilities']['add']
        page = (KUBERNETES / 'README.md').read_text(encoding='utf-8')
        row = re.search(r'^\| `base` \| (.*) \|$', page, re.M)[1]
        self.assertEqual(re.findall(r'\b[A-Z]{2}[A-Z_]+\b', row), added)
        reasons = page[page.index('## Why it needs this'):]
        for capability in added:
            self.assertRegex(reasons, rf'(?m)^\| [A-Z_, ]*{capability}\b')


class Compose(unittest.TestCase):
    def setUp(self):
        self.file = strict_yaml.load(ROOT / 'deploy/compose.yaml')
        self.service = self.file['services']['vmeventd']
        self.schema = strict_yaml.load(HERE / 'compose_schema.json')

    def test_the_compose_file_is_valid(self):
        validator = jsonschema.Draft7Validator(self.schema)
        self.assertEqual([error.message for error in validator.iter_errors(self.file)], [])

    def test_faults_are_found(self):
        validator = jsonschema.Draft7Validator(self.schema)
        self.service['cap-add'] = []
        self.assertFalse(validator.is_valid(self.file))

    def test_the_service_uses_existing_flags(self):
        flags = {word for word in self.service['command'] if word.startswith('--')}
        self.assertLessEqual(flags, flags_of('vmeventd'))
        result = run(PROGRAMS['vmeventd'], *self.service['command'], '--check-config')
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_service_has_only_the_rights_that_it_needs(self):
        self.assertEqual(self.service['cap_drop'], ['ALL'])
        self.assertLessEqual(set(self.service['cap_add']), CAPABILITIES)
        self.assertIs(self.service['read_only'], True)
        self.assertIn('no-new-privileges:true', self.service['security_opt'])
        self.assertNotIn('privileged', self.service)

    def test_the_service_has_its_volumes(self):
        targets = {volume['target'] for volume in self.service['volumes']}
        self.assertEqual(targets, {'/run/qemu', '/run/vmeventd', '/var/lib/vmeventd'})
        # A named volume would belong to the image's user, and this runs as root.
        self.assertEqual({volume['type'] for volume in self.service['volumes']}, {'bind'})

    def test_the_seccomp_profile_permits_tracing_senders(self):
        (name,) = (option.partition(':')[2] for option in self.service['security_opt'] if option.startswith('seccomp:'))
        profile = json.loads((ROOT / 'deploy' / name).read_text(encoding='utf-8'))
        (rule,) = (rule for rule in profile['syscalls'] if 'bpf' in rule['names'])
        self.assertEqual((rule['action'], rule['includes'], rule['excludes']), ('SCMP_ACT_ALLOW', {}, {}))
        self.assertEqual(profile['defaultAction'], 'SCMP_ACT_ERRNO')


class DockerRun(unittest.TestCase):
    """The commands of docs/install.md that run as root have what the compose file has."""

    def setUp(self):
        page = (ROOT / 'docs/install.md').read_text(encoding='utf-8').replace('\\\n', ' ')
        commands = [shlex.split(command) for command in re.findall(r'^docker run -d .*$', page, re.M)]
        self.commands = [command for command in commands if '0:0' in command]
        self.service = strict_yaml.load(ROOT / 'deploy/compose.yaml')['services']['vmeventd']
        self.assertEqual(len(self.commands), 2)  # plain QEMU, libvirt

    @staticmethod
    def options(command):
        """{option: its values, or [] for a switch} up to the image's name."""
        options, words = {}, command[3:]
        while words[0].startswith('-'):
            name, value = words.pop(0), []
            if name != '--read-only':
                value = [words.pop(0)]
            options.setdefault(name, []).extend(value)
        return options

    def test_each_docker_command_matches_the_compose_file(self):
        service = self.service
        nofile = service['ulimits']['nofile']
        self.assertEqual(nofile['soft'], nofile['hard'])
        expected = {
            '--pid': [service['pid']], '--cgroupns': [service['cgroup']],
            '--network': [service['network_mode']], '--user': [service['user']],
            '--cap-drop': service['cap_drop'], '--cap-add': service['cap_add'],
            # compose takes files from its own directory
            '--security-opt': [option.removesuffix(':true').replace('seccomp:', 'seccomp=deploy/')
                               for option in service['security_opt']],
            '--ulimit': [f'nofile={nofile["soft"]}'], '--memory': [service['mem_limit']],
            '--stop-timeout': [service['stop_grace_period'].removesuffix('s')], '--read-only': [],
            '--restart': [service['restart']], '--name': ['vmeventd'],
        }
        for command in self.commands:
            options = self.options(command)
            options.pop('-v')
            self.assertEqual(options, expected, shlex.join(command))

    def test_the_docker_command_mounts_what_compose_mounts(self):
        volumes = {volume.split(':')[1] for volume in self.options(self.commands[0])['-v']}
        self.assertLessEqual(volumes, {volume['target'] for volume in self.service['volumes']})


class Image(unittest.TestCase):
    def setUp(self):
        text = (ROOT / 'Dockerfile').read_text(encoding='utf-8')
        self.text = text.replace('\\\n', ' ')

    def test_the_images_packages_are_listed_in_dev(self):
        dev = (ROOT / 'dev').read_text(encoding='utf-8')
        packages = re.search(r'^readonly build_packages=\((.*?)^\)', dev, re.M | re.S)
        ours = set(packages[1].split())
        install = re.search(r'--no-install-recommends install (.*?) &&', self.text)[1]
        self.assertLessEqual(set(install.split()), ours)

    def test_the_image_and_the_debian_package_have_the_same_build_packages(self):
        install = re.search(r'--no-install-recommends install (.*?) &&', self.text)[1]
        control = (ROOT / 'debian/control').read_text(encoding='utf-8')
        needed = re.search(r'^Build-Depends:\n((?: .*\n)+)', control, re.M)[1]
        names = {line.split(' ')[1].rstrip(',') for line in needed.splitlines()}
        # An image has no Python package.
        self.assertEqual({name for name in names if not name.startswith(('debhelper', 'dh-', 'python3'))},
                         # build-essential has g++, and ccache is for developers.
                         set(install.split()) - {'ccache', 'g++'})

    def test_the_images_health_check_matches_the_compose_file(self):
        test = re.search(r'^HEALTHCHECK .*CMD (\[.*\])', self.text, re.M)[1]
        compose = strict_yaml.load(ROOT / 'deploy/compose.yaml')['services']['vmeventd']
        self.assertEqual(['CMD', *re.findall(r'"([^"]*)"', test)], compose['healthcheck']['test'])



class KubevirtHook(unittest.TestCase):
    """What connects the daemon with KubeVirt has an account of its own."""

    def setUp(self):
        self.manifests = hooks()

    def test_the_account_has_only_the_rights_that_the_hook_needs(self):
        rights = {(rule['apiGroups'][0], resource, verb) for rule in self.manifests['ClusterRole']['rules']
                  for resource in rule['resources'] for verb in rule['verbs']}
        objects = ('virtualmachineinstances', 'virtualmachines')
        self.assertEqual(rights, {
            *itertools.product(['kubevirt.io'], objects, ['get', 'list', 'watch']),
            ('kubevirt.io', 'virtualmachineinstances', 'patch'), ('kubevirt.io', 'virtualmachines/status', 'patch'),
            ('', 'pods', 'list'), ('', 'pods', 'watch'), ('', 'events', 'create')})
        account = self.manifests['ServiceAccount']['metadata']
        binding = self.manifests['ClusterRoleBinding']
        self.assertEqual(binding['subjects'], [{'kind': 'ServiceAccount', **account}])
        self.assertEqual(binding['roleRef']['name'], self.manifests['ClusterRole']['metadata']['name'])
        self.assertEqual(pod_of(self.manifests)['serviceAccountName'], account['name'])
        self.assertEqual(pod_of(built('kubevirt-hook'))['automountServiceAccountToken'], False)

    def test_the_container_has_only_the_rights_that_it_needs(self):
        (container,) = pod_of(self.manifests)['containers']
        self.assertEqual(container['securityContext']['capabilities'], {'drop': ['ALL']})
        self.assertEqual({mount['mountPath'] for mount in container['volumeMounts']},
                         {'/run/vmeventd', '/var/lib/vmeventd-kubevirt'})

    def test_the_command_and_its_flags_exist_in_the_image(self):
        (container,) = pod_of(self.manifests)['containers']
        image = (ROOT / 'Dockerfile').read_text(encoding='utf-8')
        (command,) = container['command']
        name = pathlib.Path(command).name
        self.assertIn(f'COPY deploy/hooks/{name} {pathlib.Path(command).parent}/\n', image)
        hook = (ROOT / 'deploy/hooks' / name).read_text(encoding='utf-8')
        for argument in container['args']:
            self.assertIn(f'"{argument.partition("=")[0]}"', hook)


class Documents(unittest.TestCase):
    def test_the_documents_use_existing_flags(self):
        known = flags_of('vmeventd') | flags_of('vmevents')
        for path in (ROOT / 'docs/install.md', KUBERNETES / 'README.md'):
            text = path.read_text(encoding='utf-8').replace('\\\n', ' ')
            for line in text.splitlines():
                # Arguments after the image's name are vmeventd's.
                for arguments in re.findall(r'\bvmeventd:\d+\.\d+\.\d+ (-.*)', line):
                    flags = {word for word in shlex.split(arguments) if word.startswith('--')}
                    self.assertLessEqual(flags, known, line)


if __name__ == '__main__':
    PROGRAMS['vmeventd'], PROGRAMS['vmevents'], PROGRAMS['kubectl'] = sys.argv[1:4]
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
