"""The part of `helm template` that our chart uses; anything else is refused."""

import hashlib
import pathlib
import re

import yaml

import strict_yaml

ACTION = re.compile(r'(?P<before>\s*)\{\{(?P<left>-?)\s*(?P<text>.*?)\s*(?P<right>-?)\}\}(?P<after>\s*)', re.S)


def render(chart, values=None, release='vmeventd', namespace='vmeventd'):
    """The manifests, with `values` over those of values.yaml."""
    chart = pathlib.Path(chart)
    data = {'Values': _merge(strict_yaml.load(chart / 'values.yaml'), values or {}),
            'Release': {'Name': release, 'Namespace': namespace}}
    manifests = []
    for path in sorted((chart / 'templates').glob('*.yaml')):
        text = _render(path.read_text(encoding='utf-8'), data, path.name)
        manifests += [manifest for manifest in yaml.safe_load_all(text) if manifest]
    return manifests


def fields(chart):
    """The values that the templates name."""
    return {name for path in (pathlib.Path(chart) / 'templates').glob('*.yaml')
            for name in re.findall(r'\.Values\.([\w.]+)', path.read_text(encoding='utf-8'))}


def _merge(ours, theirs):
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return theirs
    return {key: _merge(ours[key], theirs[key]) if key in ours and key in theirs
            else theirs.get(key, ours.get(key)) for key in {**ours, **theirs}}


def _render(text, data, name):
    output, shown, position = [], [True], 0
    for match in ACTION.finditer(text):
        before = '' if match['left'] else match['before']
        if all(shown):
            output.append(text[position:match.start()] + before)
        action = match['text']
        if action.startswith('if '):
            shown.append(bool(_value(action[3:], data, name)))
        elif action == 'end':
            shown.pop()
        elif all(shown):
            value = _value(action, data, name)
            output.append(str(value).lower() if isinstance(value, bool) else str(value))
        position = match.end('right') + len('}}')
        if match['right']:
            position = match.end()
    if len(shown) != 1:
        raise ValueError(f'{name}: an "if" without its "end"')
    return ''.join(output) + text[position:]


def _value(pipeline, data, name):
    first, *rest = [part.split() for part in pipeline.split('|')]
    value = _field(first[-1], data, name)
    for function in [first[:-1], *rest]:
        match function:
            case []:
                pass
            case ['toYaml']:
                value = yaml.safe_dump(value, default_flow_style=False).rstrip('\n')
            case ['nindent', width]:
                value = '\n' + '\n'.join(' ' * int(width) + line for line in value.split('\n'))
            case ['quote']:
                value = f'"{value}"'
            case ['sha256sum']:
                value = hashlib.sha256(value.encode()).hexdigest()
            case _:
                raise ValueError(f'{name}: not known here: {pipeline}')
    return value


def _field(path, data, name):
    if not path.startswith('.'):
        raise ValueError(f'{name}: not known here: {path}')
    for part in path[1:].split('.'):
        data = data[part]
    return data
