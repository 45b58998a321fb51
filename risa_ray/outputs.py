"""Files that commands write."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from risa_ray.errors import InputError


def check_output(out: Path | None, suffixes: Sequence[str] = (), source: Path | None = None) -> None:
    """Refuse an output file that cannot be written, before the work and not after it.

    Args:
        suffixes: that it may have; any where there is none.
        source: a file that is read meanwhile.

    Raises:
        InputError: it has another suffix, is `source` or a folder, is in none, or may not be written.
    """
    if out is None:
        return
    if suffixes and out.suffix.lower() not in suffixes:
        raise InputError(f"{out}: give an output that ends in {' or '.join(suffixes)}")
    if source is not None and out.resolve() == source.resolve():
        raise InputError(f"{out}: is the input itself; give another output")
    if not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give the name of a file")
    if not os.access(out if out.exists() else out.resolve().parent, os.W_OK):
        raise InputError(f"{out}: no permission to write there; give another output")


def make_folder(path: Path) -> None:
    """Make an output folder, before the work and not after it.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror}); choose another") from None


def write_json(result: dict[str, Any], out: Path | None) -> None:
    """Print a result, or write it to a file."""
    text = json.dumps(result, indent=2)
    if out is None:
        print(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")
