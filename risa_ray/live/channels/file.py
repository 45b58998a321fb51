"""Alerts as lines of JSON at the end of a file, the same lines that `--events` writes."""

from __future__ import annotations

import errno
import json
import os
from io import FileIO

from risa_ray.config_channels import FileChannel
from risa_ray.live.channels.base import NotNowError, plain, reason
from risa_ray.live.rules import Alert


class File:
    """Appends an alert to a file. It is opened anew each time, so a log rotator may move it away."""

    def __init__(self, config: FileChannel) -> None:
        self._path = config.path

    def announce(self) -> None:
        """Nothing."""

    def send(self, alert: Alert) -> None:
        line = json.dumps({"type": "alert", **plain(alert)}, ensure_ascii=False, separators=(",", ":")) + "\n"
        try:
            with open(self._path, "ab", buffering=0) as file:
                _append(file, line.encode())
                os.fsync(file.fileno())
        except OSError as error:
            raise NotNowError(f"cannot be written ({reason(error)})") from None


def _append(file: FileIO, line: bytes) -> None:
    """In one write, so that the lines of several writers stay whole.

    Raises:
        OSError: there is no room for it; then nothing of it stays.
    """
    written = file.write(line)
    if written != len(line):
        if file.tell() == os.fstat(file.fileno()).st_size:  # nobody wrote behind it
            file.truncate(file.tell() - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
