"""The `risa` command that makes tokens for the live page and the API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from risa_ray.serving.tokens import Role, add_token, make_token


def register(app: typer.Typer) -> None:
    """Add the command to the `risa` command."""
    app.command("serve-token")(serve_token)


def serve_token(
    name: Annotated[str, typer.Argument(help="Whose it is; it is shown beside what they acknowledge.")],
    role: Annotated[Role, typer.Option(help="viewer: look; operator: also acknowledge alerts and send pictures.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="File of tokens to add it to.")] = None,
) -> None:
    """Make a token for the live page and the API. It is printed once; the file keeps its digest alone."""
    if to is not None:
        print(add_token(name, role, to))
        return
    token, line = make_token(name, role)
    print(f"the token, for {name}; it is not shown again:", file=sys.stderr)
    print(token)
    print("its line, for the file of tokens:", file=sys.stderr)
    print(line)
