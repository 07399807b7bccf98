#!/usr/bin/python3
"""Writes a software bill of materials, SPDX 2.3 as JSON, from what dpkg knows.

  sbom.py packages DIRECTORY                 of the .deb files there, by the .buildinfo next to them
  sbom.py image ROOT NAME VERSION DIGEST     of the Debian system in ROOT, with vmeventd's programs

A package's bill has the libraries that it needs to run, with the versions it was linked with, and what it
was built with: libraries that are headers alone are in its programs. An image's has all it contains.
Licenses are not concluded: Debian's are in /usr/share/doc/PACKAGE/copyright of each package.
SOURCE_DATE_EPOCH sets the time, so that the same input gives the same bill.
"""

import datetime
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import uuid

SUPPLIER = 'Organization: vmeventd maintainers (maintainers@vmeventd.invalid)'
DEBIAN = 'Organization: Debian'


def fields(text):
    """The fields of one stanza of a control file."""
    found = {}
    name = None
    for line in text.splitlines():
        if line[:1].isspace():
            found[name] += '\n' + line.strip()
        elif ':' in line:
            name, value = line.split(':', 1)
            found[name] = value.strip()
    return found


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Bill:
    def __init__(self, name):
        self.name = name
        self.packages = {}
        self.relationships = []

    def add(self, name, version, *, supplier=DEBIAN, architecture=None, sha256=None, **more):
        """Returns the id of the package, which is added once."""
        spdx_id = 'SPDXRef-' + re.sub(r'[^A-Za-z0-9.-]', '-', f'{name}-{version}')
        package = {'SPDXID': spdx_id, 'name': name, 'versionInfo': version, 'supplier': supplier,
                   'downloadLocation': 'NOASSERTION', 'filesAnalyzed': False,
                   'licenseConcluded': 'NOASSERTION', 'licenseDeclared': 'NOASSERTION',
                   'copyrightText': 'NOASSERTION', **more}
        if sha256:
            package['checksums'] = [{'algorithm': 'SHA256', 'checksumValue': sha256}]
        if architecture and version != 'NOASSERTION':
            vendor = 'debian' if supplier == DEBIAN else 'vmeventd'
            locator = f'pkg:deb/{vendor}/{name}@{urllib.parse.quote(version)}?arch={architecture}'
            package['externalRefs'] = [{'referenceCategory': 'PACKAGE-MANAGER',
                                        'referenceType': 'purl', 'referenceLocator': locator}]
        self.packages.setdefault(spdx_id, package)
        return spdx_id

    def relate(self, one, kind, other):
        self.relationships.append({'spdxElementId': one, 'relationshipType': kind,
                                   'relatedSpdxElement': other})

    def document(self):
        content = {'packages': sorted(self.packages.values(), key=lambda p: p['SPDXID']),
                   'relationships': self.relationships}
        name = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(content, sort_keys=True))
        created = datetime.datetime.fromtimestamp(
            int(os.environ.get('SOURCE_DATE_EPOCH', time.time())), datetime.timezone.utc)
        return {'spdxVersion': 'SPDX-2.3', 'dataLicense': 'CC0-1.0', 'SPDXID': 'SPDXRef-DOCUMENT',
                'name': self.name, 'documentNamespace': f'urn:uuid:{name}',
                'creationInfo': {'created': created.strftime('%Y-%m-%dT%H:%M:%SZ'),
                                 'creators': ['Tool: vmeventd-tools-sbom.py']},
                **content}


def names_of(dependencies):
    """The first package of each alternative of a Depends or Build-Depends."""
    return [re.match(r'\s*([a-z0-9.+-]+)', part)[1] for part in dependencies.split(',') if part.strip()]


def providers():
    """{virtual package: the installed package that is it}."""
    lines = subprocess.run(['dpkg-query', '-W', '-f', '${Package}: ${Provides}\n'], check=True,
                           text=True, stdout=subprocess.PIPE).stdout.splitlines()
    return {name: package for package, _, provided in (line.partition(':') for line in lines)
            for name in names_of(provided)}


def of_packages(directory):
    (buildinfo,) = directory.glob('*.buildinfo')
    build = fields(buildinfo.read_text(encoding='utf-8'))
    installed = dict(re.findall(r'([a-z0-9.+-]+) \(= ([^)]+)\)', build['Installed-Build-Depends']))
    source = pathlib.Path(__file__).resolve().parents[1] / 'debian/control'
    wanted = names_of(fields(source.read_text(encoding='utf-8').split('\n\n')[0])['Build-Depends'])
    virtual = providers()
    bill = Bill(f"{build['Source']}-{build['Version']}")
    debs = {}
    for path in sorted(directory.glob('*.deb')):
        control = fields(subprocess.run(['dpkg-deb', '-f', path], check=True, text=True,
                                        stdout=subprocess.PIPE).stdout)
        deb = bill.add(control['Package'], control['Version'], supplier=SUPPLIER,
                       architecture=control['Architecture'], sha256=digest(path),
                       packageFileName=path.name, licenseDeclared='Apache-2.0')
        debs[control['Package']] = (deb, control)
    for deb, control in debs.values():
        bill.relate('SPDXRef-DOCUMENT', 'DESCRIBES', deb)
        for name in names_of(control.get('Depends', '')):
            if name in debs:
                bill.relate(deb, 'DEPENDS_ON', debs[name][0])
                continue
            name = name if name in installed else virtual.get(name, name)
            # A package that is only needed to run, such as systemd, has no version from the build.
            bill.relate(deb, 'DEPENDS_ON', bill.add(name, installed.get(name, 'NOASSERTION'),
                                                    architecture=build['Build-Architecture']))
        if control['Architecture'] == 'all' or control['Package'].endswith('-dbgsym'):
            continue
        for name in wanted:
            if name in installed:
                bill.relate(bill.add(name, installed[name], architecture=build['Build-Architecture']),
                            'BUILD_DEPENDENCY_OF', deb)
    return bill


def of_image(root, name, version, image_digest):
    bill = Bill(f'{name}-{version}')
    image = bill.add(name, version, supplier=SUPPLIER, primaryPackagePurpose='CONTAINER',
                     sha256=image_digest.removeprefix('sha256:'))
    bill.relate('SPDXRef-DOCUMENT', 'DESCRIBES', image)
    for stanza in (root / 'var/lib/dpkg/status').read_text(encoding='utf-8').split('\n\n'):
        package = fields(stanza)
        if package.get('Status', '').endswith(' installed'):
            bill.relate(image, 'CONTAINS', bill.add(
                package['Package'], package['Version'], architecture=package['Architecture']))
    for program in ('vmeventd', 'vmevents'):
        path = root / 'usr/bin' / program
        if path.exists():
            bill.relate(image, 'CONTAINS', bill.add(
                f'{program}-program', version, supplier=SUPPLIER, sha256=digest(path),
                licenseDeclared='Apache-2.0', primaryPackagePurpose='APPLICATION'))
    return bill


def main():
    kind, path, *more = [*sys.argv[1:], '', ''][:max(2, len(sys.argv) - 1)]
    if kind == 'packages' and not more:
        bill = of_packages(pathlib.Path(path))
    elif kind == 'image' and len(more) == 3:
        bill = of_image(pathlib.Path(path), *more)
    else:
        sys.exit(__doc__)
    json.dump(bill.document(), sys.stdout, indent=1)
    print()


if __name__ == '__main__':
    main()
