"""Checks manifests against kubernetes_schema.json, unknown fields and all."""

import json
import pathlib

import jsonschema

SOURCE = json.loads(pathlib.Path(__file__).with_suffix('.json').read_text(encoding='utf-8'))
# The requirements of the API server beyond the shape.
QUANTITY = {'pattern': r'^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$'}
NAMED = {'required': ['metadata'], 'properties': {'metadata': {'required': ['name'], 'properties': {
    'name': {'pattern': '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'}}}}}


def _schema(kind):
    """A type of the file (make_kubernetes_schema.py) as a JSON schema."""
    if isinstance(kind, list):
        return {'type': 'array', 'items': _schema(kind[0])}
    if isinstance(kind, str):
        names = [_named(name) for name in kind.split('|')]
        return {'anyOf': names} if names[1:] else names[0]
    if '*' in kind:
        return {'type': 'object', 'additionalProperties': _schema(kind['*'])}
    return {'type': 'object', 'additionalProperties': False,
            'properties': {field.rstrip('!'): _schema(of) for field, of in kind.items()},
            'required': [field[:-1] for field in kind if field.endswith('!')]}


def _named(name):
    if name in SOURCE['types']:
        return {'$ref': f'#/$defs/{name}'}
    return {'const': name.strip("'")} if name.startswith("'") else {'type': name}


DEFINITIONS = {name: _schema(kind) for name, kind in SOURCE['types'].items()}
DEFINITIONS['Quantity'].update(QUANTITY)
VALIDATORS = {kind: jsonschema.Draft201909Validator({'$ref': f'#/$defs/{name}', '$defs': DEFINITIONS, **NAMED})
              for kind, name in SOURCE['kinds'].items()}


def errors(manifest):
    """One line per fault; empty: the manifest is valid."""
    kind = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
    if kind not in VALIDATORS:
        return [f'{kind}: a kind that kubernetes_schema.json lacks']
    return [f'{kind}: {error.json_path}: {error.message}' for error in VALIDATORS[kind].iter_errors(manifest)]
