"""What a user reads when a config file is wrong: one line with the key by the ids around it, the value, the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml.error import MarkedYAMLError

from risa_ray.redaction import redact


def explain(error: ValidationError, raw: object, known_keys: Callable[[str], list[str]]) -> str:
    """The first fault of a config in one line, and how many more there are.

    Args:
        raw: what was validated.
        known_keys: the keys of a section ("stores", "cameras", ...; "" is the whole file).
    """
    faults = _causes(error)
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    line = ": ".join(part for part in (_place(faults[0], raw), _message(faults[0], known_keys)) if part)
    return f"{line}{more}"


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """The faults without those that only follow from others, unknown keys first.

    A list all of whose items are wrong also counts as too short, and a misspelt key also as a missing one.
    """
    faults = error.errors(include_url=False)
    places = [f["loc"] for f in faults]
    causes = [
        f for f in faults
        if f["type"] != "too_short" or not any(p != f["loc"] and p[: len(f["loc"])] == f["loc"] for p in places)
    ]  # fmt: skip
    return sorted(causes, key=lambda f: f["type"] != "extra_forbidden")


def _place(fault: ErrorDetails, raw: object) -> str:
    """The key of a fault as `stores[centre].cameras[till].detector`, by ids where the items have one."""
    place, node = "", raw
    for part in fault["loc"]:
        if isinstance(node, Mapping):
            node = node.get(part)
        else:
            node = node[part] if isinstance(node, Sequence) and isinstance(part, int) and part < len(node) else None
        if isinstance(part, int):
            name = node.get("id") if isinstance(node, Mapping) else None
            place += f"[{name if isinstance(name, str) else part}]"
        else:
            place += f".{part}" if place else part
    return " ".join(redact(place).split())


_WORDING = {
    "missing": "is missing; add it",
    "string_pattern_mismatch": "use letters, digits, '.', '_' and '-', with a letter or digit first",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of keys to values",
}
"""Pydantic's messages where they speak of types that YAML does not have, by kind of fault."""


def _message(fault: ErrorDetails, known_keys: Callable[[str], list[str]]) -> str:
    """What is wrong, the value if it is a simple one, and the way out."""
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return _unknown_key(fault["loc"], known_keys)
    if (key := str(fault["loc"][-1] if fault["loc"] else "")).endswith("_env"):
        # Somebody may have put the secret itself here.
        holds = "whose value is user:password" if key == "credentials_env" else "that holds it"
        return f"must name an environment variable, as DOOR_CAMERA, {holds}"
    if kind == "too_short":
        return f"give at least {fault['ctx']['min_length']}"
    message = _WORDING.get(kind) or fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if isinstance(value, date):
        value = str(value)
    if isinstance(value, str | int | float | None) and kind != "missing":
        shown = redact(repr(value))
        message += f" (got {shown if len(shown) <= 80 else shown[:77] + '...'})"
    return message


def _unknown_key(place: tuple[int | str, ...], known_keys: Callable[[str], list[str]]) -> str:
    known = known_keys(next((p for p in reversed(place[:-1]) if isinstance(p, str)), ""))
    near = get_close_matches(str(place[-1]), known, 1)
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known here: {', '.join(known)}"


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses what PyYAML takes in silence, a key given twice, and that names the line of a wrong date."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
