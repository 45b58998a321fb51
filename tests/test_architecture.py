"""The arrows point down: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "risa_ray"
FORBIDDEN = {
    "vision": ("ray", "risa_ray.sources", "risa_ray.store", "risa_ray.streaming", "risa_ray.live", "pyarrow", "duckdb"),
    "sources": ("ray", "torch", "risa_ray.vision", "risa_ray.store", "risa_ray.streaming", "risa_ray.live"),
    "store": ("ray", "torch", "facenet_pytorch", "risa_ray.streaming", "risa_ray.live", "risa_ray.sources"),
    "analytics": ("ray", "torch", "facenet_pytorch", "risa_ray.streaming", "risa_ray.live", "risa_ray.sources"),
    "live": ("ray", "torch", "risa_ray.streaming", "risa_ray.serving", "risa_ray.sources"),
    "streaming": ("risa_ray.serving", "risa_ray.batch"),
    "batch": ("risa_ray.serving",),
    "training": ("ray", "risa_ray.streaming", "risa_ray.store", "risa_ray.analytics"),
}
# All else of training runs on machines without Ray.
ALLOWED = {("training/distributed.py", "ray")}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_down(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imports(path)
        for f in FORBIDDEN[package]
        if name == f or name.startswith(f + ".")
        if (str(path.relative_to(ROOT)), f) not in ALLOWED
    ]
    assert not wrong
