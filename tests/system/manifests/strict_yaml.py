"""YAML as Kubernetes and compose read it, except that a duplicate key is an error."""

import yaml


class _Loader(yaml.SafeLoader):
    pass


def _mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f'{node.start_mark}: given twice: {sorted(twice)}')
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path):
    """The one document of the file."""
    with open(path, encoding='utf-8') as file:
        return yaml.load(file, Loader=_Loader)
