#!/usr/bin/python3
"""A real kube-apiserver takes the manifests of deploy/kubernetes, with each component and with all, and admits their pods.

  apply_test.py KUBECTL KUBE_APISERVER [UNITTEST-ARGUMENT...]
"""

import sys
import unittest
import urllib.error

import manifests_test as manifests

sys.path.insert(0, str(manifests.ROOT / 'tests/support/python'))

# pylint: disable=wrong-import-position
from kube_apiserver import TOKEN, KubeApiServer  # noqa: E402

NAMESPACE = '/api/v1/namespaces/vmeventd'
VARIANTS = [(), *((name,) for name in manifests.COMPONENTS), manifests.EVERYTHING, manifests.WITHOUT_ROOT]


class Apply(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.api = KubeApiServer(manifests.PROGRAMS['kube-apiserver'])
        cls.addClassCleanup(cls.api.close)
        # Others' kinds, of which nothing but the name is known here.
        cls.api.define('monitoring.coreos.com', 'v1', 'PodMonitor')
        cls.api.define('security.openshift.io', 'v1', 'SecurityContextConstraints', scope='Cluster')

    def apply(self, *components):
        done = manifests.run(
            manifests.PROGRAMS['kubectl'], '--server', self.api.url, '--certificate-authority', self.api.ca, '--token', TOKEN,
            'apply', '--filename', '-', text=manifests.rendered(*components))
        self.assertEqual((done.returncode, done.stderr), (0, ''), components)
        # The quota's controller, which does not run, copies what is spec'd into the status.
        quota = self.api.call('GET', f'{NAMESPACE}/resourcequotas/vmeventd')
        self.api.patch(f'{NAMESPACE}/resourcequotas/vmeventd/status',
                       {'status': {'hard': quota['spec']['hard'], 'used': {'pods': '0'}}})

    def create_pods(self, *components):
        """What the controller of DaemonSets asks for on each node."""
        for manifest in manifests.parsed(*components):
            if manifest['kind'] == 'DaemonSet':
                template = manifest['spec']['template']
                pod = {**template, 'metadata': {**template['metadata'], 'generateName': 'vmeventd-'}}
                yield self.api.call('POST', f'{NAMESPACE}/pods?dryRun=All', pod)

    def test_each_combination_of_components_can_be_applied_over_another(self):
        for components in VARIANTS:
            with self.subTest(components):
                self.apply(*components)
                for pod in self.create_pods(*components):
                    critical = pod['spec'].get('priorityClassName') == 'system-node-critical'
                    self.assertEqual(pod['spec']['priority'], 2000001000 if critical else 0)

    def test_gke_refuses_pods_of_this_priority_without_the_quota(self):
        self.apply()
        self.api.call('DELETE', f'{NAMESPACE}/resourcequotas/vmeventd')
        with self.assertRaisesRegex(urllib.error.HTTPError, 'insufficient quota to match these scopes'):
            list(self.create_pods())

    def test_the_api_server_refuses_an_unknown_field(self):
        done = manifests.run(
            manifests.PROGRAMS['kubectl'], '--server', self.api.url, '--certificate-authority', self.api.ca, '--token', TOKEN,
            'apply', '--filename', '-', text=manifests.rendered().replace('hostPID:', 'hostPid:'))
        self.assertIn('unknown field "hostPid"', done.stderr)


if __name__ == '__main__':
    manifests.PROGRAMS['kubectl'], manifests.PROGRAMS['kube-apiserver'] = sys.argv[1:3]
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
