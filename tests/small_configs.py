"""Small configs, and how they are refused."""

from __future__ import annotations

from typing import Any

import pytest

from risa_ray.config import parse_config
from risa_ray.errors import InputError

Mapping = dict[str, Any]


def camera(**keys: Any) -> Mapping:
    return {"id": "till", "source": "till.mp4"} | keys


def chain(*cameras: Mapping, **keys: Any) -> Mapping:
    return {"stores": [{"id": "centre", "cameras": list(cameras or [camera()])}]} | keys


def zone(**keys: Any) -> Mapping:
    return {"id": "shelf", "kind": "product", "polygon": [[0, 0], [0.5, 0], [0.5, 0.5]]} | keys


def refusal(raw: Mapping) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(raw, "shop.yaml")
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("shop.yaml: ")
    return line.removeprefix("shop.yaml: ")
