"""Training configurations as YAML files.

YAML and not JSON, because people comment their experiments; PyYAML (extra ``train``) and not a reader of our own for a
part of YAML, because a file that other tools read differently is worse than a dependency. Presets need neither.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import DualEncError, MissingDependencyError, require
from ...files import read_text
from .config import TrainConfig

EXTRA = '"dualenc[train]" (or pyyaml)'


def read_config(path: str | Path) -> TrainConfig:
    """A configuration from a file; ``preset: NAME`` in it says which preset the other keys change.

    A ``.json`` file (the config.json of a run) is read without PyYAML.

    Raises DualEncError for a missing file, YAML that cannot be read, a key given twice, unknown keys and bad values.
    """
    path = Path(path)
    if not path.is_file():
        raise DualEncError(f"configuration {path} does not exist; `train --preset paper --print-config` writes one")
    try:
        text = read_text(path)
        values = json.loads(text) if path.suffix == ".json" else parse(text)
    except MissingDependencyError:
        raise
    except ValueError as error:
        raise DualEncError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise DualEncError(f"{path} holds {type(values).__name__}, expected keys and values")
    from .encoder_presets import preset

    try:
        base = preset(values.pop("preset")).to_dict() if "preset" in values else {}
        return TrainConfig.from_dict(_merged(base, values))
    except DualEncError as error:
        raise DualEncError(f"{path}: {error}") from error


def dump(config: TrainConfig) -> str:
    """The configuration as YAML."""
    return require("yaml", EXTRA).safe_dump(config.to_dict(), sort_keys=False, default_flow_style=None, width=120)


def parse(text: str) -> Any:
    """YAML to plain values. Raises DualEncError for broken YAML and for a key given twice, which YAML forbids."""
    yaml: Any = require("yaml", EXTRA)

    class Loader(yaml.SafeLoader):
        pass

    def mapping(loader: Any, node: Any) -> dict:
        keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for i, key in enumerate(keys) if key in keys[:i]]
        if twice:
            raise DualEncError(f"key {twice[0]!r} is given twice{node.start_mark}; remove one")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        # SafeLoader makes plain values only; the subclass adds nothing but the check above.
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise DualEncError(f"this is not readable YAML: {' '.join(str(error).split())}") from error


def _merged(base: dict, changes: dict) -> dict:
    """``changes`` over ``base``, section by section."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
