"""Checks manifests against kubernetes_schema.json, unknown fields and all."""

import json
import pathlib
import re

SCHEMA = json.loads(pathlib.Path(__file__).with_suffix('.json').read_text(encoding='utf-8'))
# What the API server requires of the types beyond their shape.
QUANTITY = re.compile(r'[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?')
DNS_LABEL = re.compile(r'[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?')


def errors(manifest):
    """One line per fault; empty: the manifest is valid."""
    kind = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
    if kind not in SCHEMA['kinds']:
        return [f'{kind}: a kind that kubernetes_schema.json lacks']
    found = list(_check(SCHEMA['kinds'][kind], manifest, manifest['kind']))
    name = (manifest.get('metadata') or {}).get('name', '')
    if not isinstance(name, str) or not DNS_LABEL.fullmatch(name):
        found.append(f'{kind}: metadata.name: no DNS label: {name!r}')
    return found


def _check(expected, value, where):
    if isinstance(expected, list):
        if not isinstance(value, list):
            yield f'{where}: no list: {value!r}'
            return
        for index, item in enumerate(value):
            yield from _check(expected[0], item, f'{where}[{index}]')
    elif isinstance(expected, dict):
        yield from _check_object(expected, value, where)
    elif expected in SCHEMA['types'] and not isinstance(SCHEMA['types'][expected], str):
        yield from _check(SCHEMA['types'][expected], value, where)
    else:
        names = SCHEMA['types'].get(expected, expected)
        if not any(_is(name, value) for name in names.split('|')):
            yield f'{where}: not {names}: {value!r}'
        if expected == 'Quantity' and not QUANTITY.fullmatch(str(value)):
            yield f'{where}: no quantity: {value!r}'


def _check_object(expected, value, where):
    if not isinstance(value, dict):
        yield f'{where}: no object: {value!r}'
        return
    if '*' in expected:
        for key, item in value.items():
            if not isinstance(key, str):
                yield f'{where}: no string: {key!r}'
            yield from _check(expected['*'], item, f'{where}.{key}')
        return
    fields = {field.rstrip('!'): kind for field, kind in expected.items()}
    for key, item in value.items():
        if key in fields:
            yield from _check(fields[key], item, f'{where}.{key}')
        else:
            yield f'{where}.{key}: a field that {where.split(".")[0]} lacks there'
    for field in expected:
        if field.endswith('!') and field[:-1] not in value:
            yield f'{where}.{field[:-1]}: missing'


def _is(name, value):
    if name == 'string':
        return isinstance(value, str)
    if name == 'number':
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if name == 'boolean':
        return isinstance(value, bool)
    return f"'{value}'" == name
