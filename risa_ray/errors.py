"""The errors that users see: one line with what, where and the way out."""

from __future__ import annotations


class InputError(Exception):
    """Bad input of the user's: a config, a path, a name, a query. The command exits with code 2."""


class SourceError(InputError):
    """A source that cannot be opened, or a file with nothing to read."""


class RunError(Exception):
    """Work that failed on its way, with what to do about it. The command exits with code 1."""


class BrokenSourceError(Exception):
    """A source that broke off while it was read: what came before it is kept."""


class AccessRefusedError(BrokenSourceError):
    """A camera refused the credentials. To ask again soon is unwise: many cameras lock an account after a few tries."""
