#!/usr/bin/python3
"""Checks that the Helm chart makes what the kustomize base makes, and that its values do what they say.

  helm_test.py VMEVENTD [UNITTEST-ARGUMENT...]

helm_chart.py stands for Helm, which is no package of Debian's; with Helm, both are compared. Exits with 77
where every test was skipped.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import unittest

import yaml

import helm_chart
import kubernetes_schema
import kustomize
import strict_yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHART = ROOT / 'deploy/helm/vmeventd'
# What values.yaml shows for libvirt.
LIBVIRT = {'args': ['--libvirt=qemu:///system'],
           'volumes': [{'name': 'libvirt', 'hostPath': {'path': '/run/libvirt', 'type': 'DirectoryOrCreate'}}],
           'volumeMounts': [{'name': 'libvirt', 'mountPath': '/run/libvirt', 'readOnly': True,
                             'mountPropagation': 'HostToContainer'}]}
CASES = {
    'defaults': {},
    'libvirt': LIBVIRT,
    'host network': {'hostNetwork': True},
    'prometheus operator': {'podMonitor': {'enabled': True, 'labels': {'release': 'prometheus'}}},
    'annotated': {'podAnnotations': {'example.com/note': 'yes'}},
    'another directory': {'watchDirectory': '/run/vms', 'watchReadOnly': False},
    'without policy': {'networkPolicy': {'enabled': False}},
}
VMEVENTD = []


def by_kind(manifests):
    return {manifest['kind']: manifest for manifest in manifests}


def pod_of(manifests):
    return manifests['DaemonSet']['spec']['template']['spec']


class Chart(unittest.TestCase):
    def test_manifests_are_valid(self):
        for name, values in CASES.items():
            for manifest in helm_chart.render(CHART, values):
                with self.subTest(case=name, kind=manifest['kind']):
                    self.assertEqual(kubernetes_schema.errors(manifest), [])

    def test_the_defaults_are_the_kustomize_base(self):
        ours = by_kind(helm_chart.render(CHART))
        theirs = by_kind(kustomize.build(ROOT / 'deploy/kubernetes/base'))
        del theirs['Namespace']  # helm install --create-namespace
        digest = ours['DaemonSet']['spec']['template']['metadata'].pop('annotations')
        self.assertRegex(digest['vmeventd/config'], '^[0-9a-f]{64}$')
        configs = [manifests.pop('ConfigMap')['data']['vmeventd.conf'] for manifests in (ours, theirs)]
        settings = [[line for line in config.splitlines() if line and line[0] != '#'] for config in configs]
        self.assertEqual(*settings)
        for volume in pod_of(theirs)['volumes']:
            if 'configMap' in volume:
                volume['configMap']['name'] = 'vmeventd'
        self.assertEqual(ours, theirs)

    def test_the_overlays_can_be_had(self):
        ours = pod_of(by_kind(helm_chart.render(CHART, LIBVIRT)))
        theirs = pod_of(by_kind(kustomize.build(ROOT / 'deploy/kubernetes/overlays/libvirt')))
        container = ours['containers'][0]
        self.assertEqual(container['args'], theirs['containers'][0]['args'])
        self.assertEqual(container['volumeMounts'], theirs['containers'][0]['volumeMounts'])
        ours = by_kind(helm_chart.render(CHART, CASES['prometheus operator']))['PodMonitor']
        self.assertEqual(ours['metadata']['labels'].pop('release'), 'prometheus')
        theirs = by_kind(kustomize.build(ROOT / 'deploy/kubernetes/overlays/prometheus-operator'))
        self.assertEqual(ours, theirs['PodMonitor'])

    def test_a_release_may_have_another_name(self):
        manifests = by_kind(helm_chart.render(CHART, release='other', namespace='elsewhere'))
        self.assertEqual({m['metadata']['name'] for m in manifests.values()}, {'other'})
        self.assertEqual({m['metadata']['namespace'] for m in manifests.values()}, {'elsewhere'})
        self.assertEqual(pod_of(manifests)['serviceAccountName'], 'other')

    def test_another_configuration_restarts_the_pods(self):
        templates = [by_kind(helm_chart.render(CHART, {'config': config}))['DaemonSet']['spec']['template']
                     for config in ('log-format = "json"\n', 'log-format = "text"\n')]
        self.assertNotEqual(*templates)

    def test_values_and_templates_name_each_other(self):
        used = helm_chart.fields(CHART)

        def unused(values, path=''):
            for key, value in values.items():
                name = f'{path}{key}'
                if name in used:
                    continue
                if isinstance(value, dict) and value:
                    yield from unused(value, f'{name}.')
                else:
                    yield name
        self.assertEqual(list(unused(strict_yaml.load(CHART / 'values.yaml'))), [])

    def test_the_version_is_ours(self):
        chart = strict_yaml.load(CHART / 'Chart.yaml')
        version = subprocess.run([VMEVENTD[0], '--version'], check=True, text=True,
                                 stdout=subprocess.PIPE).stdout.split()[-1]
        tag = strict_yaml.load(CHART / 'values.yaml')['image']['tag']
        self.assertEqual([chart['version'], chart['appVersion'], tag], [version] * 3)

    def test_what_is_not_known_is_refused(self):
        with self.assertRaises(ValueError):
            helm_chart._value('.Values.one | indent 2', {'Values': {'one': 1}}, 'a template')
        with self.assertRaises(KeyError):
            helm_chart._value('.Values.none', {'Values': {}}, 'a template')


class Helm(unittest.TestCase):
    """A separate ctest test, so that a missing Helm is visible."""

    def setUp(self):
        if not shutil.which('helm'):
            self.skipTest('there is no helm')

    def test_it_finds_no_fault(self):
        result = subprocess.run(['helm', 'lint', '--strict', CHART], text=True, capture_output=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_it_renders_the_same(self):
        for name, values in CASES.items():
            with self.subTest(name):
                result = subprocess.run(
                    ['helm', 'template', 'vmeventd', CHART, '--namespace', 'vmeventd', '--values', '-'],
                    input=json.dumps(values), text=True, capture_output=True, check=False)
                self.assertEqual(result.returncode, 0, result.stderr)
                theirs = by_kind(m for m in yaml.safe_load_all(result.stdout) if m)
                self.assertEqual(by_kind(helm_chart.render(CHART, values)), theirs)


if __name__ == '__main__':
    VMEVENTD.append(sys.argv[1])
    result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2, exit=False).result
    sys.exit(1 if not result.wasSuccessful() else 77 if len(result.skipped) == result.testsRun else 0)
