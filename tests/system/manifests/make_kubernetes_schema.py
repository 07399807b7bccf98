#!/usr/bin/python3
"""Writes kubernetes_schema.json: what the Kubernetes API knows of the kinds that we use.

  make_kubernetes_schema.py KUBERNETES_MODELS APIMACHINERY PROMETHEUS_OPERATOR >kubernetes_schema.json

These are the unpacked npm packages kubernetes-models, @kubernetes-models/apimachinery and
@kubernetes-models/prometheus-operator, whose declarations are generated from the OpenAPI documents of
Kubernetes and of the Prometheus Operator (Apache-2.0). All come by
`npm pack NAME@VERSION`; the versions are written into the file.

A type is an object {field: type}; a field with a ! at its end is required. The other types are
"string", "number", "boolean", "any", names of types, "T|U", "'literal'", ["T"] for a list and
{"*": "T"} for a map.
"""

import json
import pathlib
import re
import sys

KINDS = {
    'apps/v1 DaemonSet': 'apps/v1/DaemonSet',
    'networking.k8s.io/v1 NetworkPolicy': 'networking.k8s.io/v1/NetworkPolicy',
    'rbac.authorization.k8s.io/v1 ClusterRole': 'rbac.authorization.k8s.io/v1/ClusterRole',
    'rbac.authorization.k8s.io/v1 ClusterRoleBinding': 'rbac.authorization.k8s.io/v1/ClusterRoleBinding',
    'v1 ConfigMap': 'v1/ConfigMap',
    'v1 Namespace': 'v1/Namespace',
    'v1 ResourceQuota': 'v1/ResourceQuota',
    'v1 Service': 'v1/Service',
    'v1 ServiceAccount': 'v1/ServiceAccount',
}
OPERATOR_KINDS = {
    'monitoring.coreos.com/v1 PodMonitor': 'monitoring.coreos.com/v1/PodMonitor',
}
# Filled in by the cluster, never by a manifest.
READ_ONLY = {'status', 'managedFields', 'ownerReferences', 'creationTimestamp', 'deletionTimestamp',
             'deletionGracePeriodSeconds', 'generation', 'resourceVersion', 'selfLink', 'uid'}
# Fields that our manifests do not use, by type: refused, which keeps the file
# small.
UNUSED = {
    'PodMonitorSpec': {'attachMetadata', 'bodySizeLimit', 'fallbackScrapeProtocol', 'keepDroppedTargets',
                       'labelLimit', 'labelNameLengthLimit', 'labelValueLengthLimit', 'sampleLimit',
                       'scrapeClass', 'scrapeProtocols', 'selectorMechanism', 'targetLimit'},
    'PodMetricsEndpoint': {'metricRelabelings', 'params', 'targetPort', 'trackTimestampsStaleness'},
    'PodSpec': {'affinity', 'ephemeralContainers', 'topologySpreadConstraints'},
    'PodSecurityContext': {'windowsOptions'},
    'SecurityContext': {'windowsOptions'},
    'Volume': {'awsElasticBlockStore', 'azureDisk', 'azureFile', 'cephfs', 'cinder', 'csi',
               'ephemeral', 'fc', 'flexVolume', 'flocker', 'gcePersistentDisk', 'gitRepo',
               'glusterfs', 'image', 'iscsi', 'nfs', 'persistentVolumeClaim',
               'photonPersistentDisk', 'portworxVolume', 'quobyte', 'rbd', 'scaleIO', 'storageos',
               'vsphereVolume'},
}


class Reader:
    def __init__(self, models, machinery):
        self.models = models
        self.machinery = machinery
        self.types = {}

    def add(self, path):
        """Reads the declaration at `path` and those it names; returns its name."""
        name = path.name.removesuffix('.d.ts')
        if name in self.types:
            return name
        text = re.sub(r'/\*.*?\*/', '', path.read_text(), flags=re.S)
        imports = {m[1]: self.resolve(path, m[2])
                   for m in re.finditer(r'import \{ (\w+) \} from "([^"]+)";', text)}
        alias = re.search(r'export type I%s = ([^;{]+);' % name, text)
        if alias:
            self.types[name] = alias[1].replace(' ', '').replace('"', "'")
            return name
        body = re.search(r'export interface I%s(?: extends \w+)? \{\n(.*?)\n\}' % name, text, re.S)
        fields = self.types[name] = {}
        pattern = r'^    "([^"]+)"(\??): (\{.*?\n    \}|[^;]+);'
        for field, optional, kind in re.findall(pattern, body[1], re.M | re.S):
            if field in UNUSED.get(name, ()) or field in READ_ONLY:
                continue
            fields[field + ('' if optional else '!')] = self.kind(kind, imports)
        return name

    def resolve(self, path, module):
        prefix = '@kubernetes-models/apimachinery/'
        if module.startswith(prefix):
            return self.machinery / (module[len(prefix):].removesuffix('.js') + '.d.ts')
        return path.parent / (module.removesuffix('.js') + '.d.ts')

    def kind(self, text, imports):
        text = text.strip()
        if match := re.fullmatch(r'Array<(.*)>', text, re.S):
            return [self.kind(match[1], imports)]
        if match := re.fullmatch(r'\{\s*\[key: string\]: ([^;]+);\s*\}', text):
            return {'*': self.kind(match[1], imports)}
        if text in imports:
            return self.add(imports[text])
        if text in ('string', 'number', 'boolean'):
            return text
        if re.fullmatch(r'"[^"]*"( \| "[^"]*")*', text):
            return text.replace('"', "'").replace(' ', '')
        raise SystemExit(f'a declaration that is not understood: {text}')


def version(package):
    data = json.loads((package / 'package.json').read_text())
    return f"{data['name']}@{data['version']}"


def main():
    models, machinery, operator = (pathlib.Path(path) for path in sys.argv[1:4])
    reader = Reader(models, machinery)
    kinds = {kind: reader.add(package / (path + '.d.ts'))
             for package, known in ((models, KINDS), (operator, OPERATOR_KINDS))
             for kind, path in known.items()}
    lines = [f'"source": {json.dumps([version(models), version(machinery), version(operator)])}',
             f'"kinds": {json.dumps(kinds)}']
    types = ',\n'.join(f'{json.dumps(name)}: {json.dumps(reader.types[name], sort_keys=True)}'
                       for name in sorted(reader.types))
    print('{\n' + ',\n'.join(lines) + ',\n"types": {\n' + types + '\n}\n}')


if __name__ == '__main__':
    main()
