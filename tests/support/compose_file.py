"""The compose file as Compose reads it: variables filled in from an environment, the forms that this file uses."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.conftest import PROJECT

VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


class MissingVariableError(Exception):
    """A variable that has to be set is not; Compose refuses to start."""


def compose_file(environment: Mapping[str, str]) -> dict[str, Any]:
    return _filled(yaml.safe_load((PROJECT / "docker-compose.yml").read_text()), environment)


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(entry, environment) for key, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, environment) for entry in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if given := environment.get(name):
            return given
        if kind == ":?":
            raise MissingVariableError(f"{name}: {rest}")
        return rest or ""

    return VARIABLE.sub(fill, value)
