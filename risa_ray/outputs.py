"""Files that commands write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from risa_ray.errors import InputError


def check_output(out: Path | None) -> None:
    """Refuse an output file that cannot be written, before the work and not after it.

    Raises:
        InputError: its folder does not exist.
    """
    if out is not None and not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it first")


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
