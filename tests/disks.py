"""What the `disk` of a test is made to suffer."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path


def fill(disk: Path, leave: int = 0) -> None:
    """Write until the disk is full, and free some bytes again, in which a file begins but does not end."""
    with (disk / "filler").open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        file.truncate(file.tell() - leave)


def remount(disk: Path, how: str) -> None:
    """Make it "ro" or "rw"."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)
