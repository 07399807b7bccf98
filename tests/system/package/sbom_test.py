#!/usr/bin/python3
"""The packages' bill of materials is SPDX 2.3 as far as this test reads the specification, and true.

  sbom_test.py PACKAGE_DIR
"""

import hashlib
import json
import pathlib
import re
import subprocess
import sys
import unittest

DIRECTORY = pathlib.Path(sys.argv[1])
DEBS = sorted(DIRECTORY.glob('*.deb'))


def field(deb, name):
    return subprocess.run(['dpkg-deb', '-f', deb, name], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


class Bill(unittest.TestCase):
    def setUp(self):
        (path,) = DIRECTORY.glob('*.spdx.json')
        self.bill = json.loads(path.read_text(encoding='utf-8'))
        self.packages = {package['SPDXID']: package for package in self.bill['packages']}

    def related(self, one, kind):
        return {self.packages[relation['relatedSpdxElement']]['name']
                for relation in self.bill['relationships']
                if (relation['spdxElementId'], relation['relationshipType']) == (one, kind)}

    def test_the_bill_has_the_mandatory_fields(self):
        self.assertEqual(self.bill['spdxVersion'], 'SPDX-2.3')
        self.assertEqual(self.bill['dataLicense'], 'CC0-1.0')
        self.assertEqual(self.bill['SPDXID'], 'SPDXRef-DOCUMENT')
        self.assertRegex(self.bill['documentNamespace'], r'^[a-z]+:[^#]+$')
        self.assertRegex(self.bill['creationInfo']['created'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')
        self.assertRegex(self.bill['creationInfo']['creators'][0], r'^Tool: \S+$')
        self.assertEqual(len(self.packages), len(self.bill['packages']))
        for spdx_id, package in self.packages.items():
            self.assertRegex(spdx_id, r'^SPDXRef-[A-Za-z0-9.-]+$')
            for name in ('name', 'versionInfo', 'downloadLocation', 'supplier'):
                self.assertTrue(package[name], spdx_id)

    def test_relations_name_existing_packages(self):
        for relation in self.bill['relationships']:
            for end in ('spdxElementId', 'relatedSpdxElement'):
                self.assertIn(relation[end], {*self.packages, 'SPDXRef-DOCUMENT'})

    def test_the_bill_describes_exactly_the_built_packages(self):
        self.assertEqual(self.related('SPDXRef-DOCUMENT', 'DESCRIBES'),
                         {field(deb, 'Package') for deb in DEBS})
        sums = {package['packageFileName']: package['checksums'][0]['checksumValue']
                for package in self.packages.values() if 'packageFileName' in package}
        self.assertEqual(sums, {deb.name: hashlib.sha256(deb.read_bytes()).hexdigest() for deb in DEBS})

    def test_each_linked_library_is_in_the_bill(self):
        for deb in DEBS:
            (own,) = [spdx_id for spdx_id, package in self.packages.items()
                      if package.get('packageFileName') == deb.name]
            needed = {re.match(r'[^ (]+', part.strip())[0]
                      for part in field(deb, 'Depends').split(',') if part.strip().startswith('lib')}
            if 'libspdlog1.10-fmt9' in needed:  # which libspdlog1.10 provides
                needed = needed - {'libspdlog1.10-fmt9'} | {'libspdlog1.10'}
            self.assertLessEqual(needed, self.related(own, 'DEPENDS_ON'), deb.name)
        unknown = {package['name'] for package in self.packages.values()
                   if package['versionInfo'] == 'NOASSERTION'}
        self.assertLessEqual(unknown, {'init-system-helpers', 'python3-grpcio', 'python3-protobuf', 'systemd'})
        names = {package['name'] for package in self.packages.values()}
        # Headers alone: nothing else would name them.
        self.assertLessEqual({'libcli11-dev', 'nlohmann-json3-dev', 'libgrpc++1.51'}, names)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
