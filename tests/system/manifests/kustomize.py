"""The part of `kustomize build` that our kustomizations use; anything else is refused."""

import copy
import hashlib
import pathlib

import strict_yaml

FIELDS = {'apiVersion', 'kind', 'namespace', 'resources', 'configMapGenerator', 'images', 'patches'}
CLUSTER_WIDE = {'ClusterRole', 'ClusterRoleBinding', 'Namespace'}


def build(directory):
    """The manifests, in the order of the resources."""
    directory = pathlib.Path(directory)
    settings = strict_yaml.load(directory / 'kustomization.yaml')
    unknown = set(settings) - FIELDS
    if unknown:
        raise ValueError(f'{directory}: not known here: {sorted(unknown)}')
    manifests = []
    for resource in settings['resources']:
        path = directory / resource
        manifests += build(path) if path.is_dir() else [strict_yaml.load(path)]
    for generator in settings.get('configMapGenerator', []):
        manifests.append(_config_map(directory, generator, manifests))
    for manifest in manifests:
        if 'namespace' in settings and manifest['kind'] not in CLUSTER_WIDE:
            manifest['metadata']['namespace'] = settings['namespace']
        for container in _containers(manifest):
            for image in settings.get('images', []):
                if container['image'] == image['name']:
                    container['image'] = f"{image['newName']}:{image['newTag']}"
    for patch in settings.get('patches', []):
        _patch(directory, patch, manifests)
    return manifests


def _pod(manifest):
    return manifest.get('spec', {}).get('template', {}).get('spec', {})


def _containers(manifest):
    return _pod(manifest).get('containers', [])


def _config_map(directory, generator, manifests):
    """Named after its content; updates the references to it."""
    data = {name: (directory / name).read_text(encoding='utf-8') for name in generator['files']}
    digest = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()[:10]
    name = f"{generator['name']}-{digest}"
    for manifest in manifests:
        for volume in _pod(manifest).get('volumes', []):
            if volume.get('configMap', {}).get('name') == generator['name']:
                volume['configMap']['name'] = name
    return {'apiVersion': 'v1', 'kind': 'ConfigMap', 'metadata': {'name': name}, 'data': data}


def _patch(directory, patch, manifests):
    """A JSON patch (RFC 6902) from a file."""
    targets = [manifest for manifest in manifests
               if manifest['kind'] == patch['target']['kind'] and
               manifest['metadata']['name'] == patch['target']['name']]
    if not targets:
        raise ValueError(f"{directory}: nothing to patch: {patch['target']}")
    for operation in strict_yaml.load(directory / patch['path']):
        for target in targets:
            _apply(target, operation)


def _apply(node, operation):
    *parents, last = operation['path'].lstrip('/').split('/')
    for name in parents:
        node = node[int(name) if isinstance(node, list) else name]
    kind = operation['op']
    if kind == 'add' and last == '-':
        node.append(copy.deepcopy(operation['value']))
    elif kind == 'add' or (kind == 'replace' and last in node):
        node[last] = copy.deepcopy(operation['value'])
    elif kind == 'remove' and last in node:
        del node[last]
    else:
        raise ValueError(f'cannot be applied: {operation}')
