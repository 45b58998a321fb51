"""Where a dataset lies: a local folder or a URL of an object store (s3://, gs://, abfs://)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deltalake import DeltaTable

from risa_ray.config import is_url, redact
from risa_ray.errors import InputError


def dataset_path(data: str) -> str:
    """The path or URL of a dataset in one spelling: `~` expanded, local paths absolute, no slash at the end.

    Raises:
        InputError: the path holds a `%`, which Delta Lake would decode.
    """
    if data.startswith("file://"):
        data = unquote(urlsplit(data).path)
    if is_url(data):
        return data.rstrip("/")
    path = os.path.abspath(os.path.expanduser(data))
    if "%" in path:
        raise InputError(f"{path}: a data path must not contain '%'; choose another folder")
    return path


def table_path(data: str, table: str) -> str:
    return f"{dataset_path(data)}/{table}"


def has_table(data: str, table: str) -> bool:
    path = table_path(data, table)
    # Asking Delta about a missing local folder costs more than looking, and an empty folder is no table.
    return (is_url(path) or os.path.isdir(f"{path}/_delta_log")) and bool(DeltaTable.is_deltatable(path))


def ensure_writable(data: str) -> str:
    """Check that a dataset can be written, and create its folder; returns `dataset_path(data)`.

    An object store is not touched: the first commit shows whether it can be written.

    Raises:
        InputError: the path is a file, cannot be created or written, or its disk is full.
    """
    path = dataset_path(data)
    if is_url(path):
        return path
    if os.path.exists(path) and not os.path.isdir(path):
        raise InputError(f"{path}: is a file, and the data path must be a folder; choose another with --data")
    probe = Path(path) / f".writable-{uuid.uuid4().hex}"
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))
        probe.unlink()
    except OSError as error:
        if os.path.isdir(path):
            probe.unlink(missing_ok=True)
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"{path}: cannot be written ({reason}); choose another folder with --data") from None
    return path


def require_dataset(data: str, tables: tuple[str, ...]) -> str:
    """`dataset_path(data)` of a folder that holds at least one of the tables.

    Raises:
        InputError: it does not exist, or holds no table of ours.
    """
    path = dataset_path(data)
    if not is_url(path) and not os.path.exists(path):
        raise InputError(f"{path}: no such folder; give the data path of a run with --data")
    if not any(has_table(path, table) for table in tables):
        raise InputError(f"{redact(path)}: holds no RISA dataset; give the data path of a run with --data")
    return path
