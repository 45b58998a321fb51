"""docs/walkthrough.md runs from its first block to its last, and gives the answers that it shows.

`python tests/analytics/test_walkthrough.py` writes the answers anew.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from typer.testing import CliRunner

from risa_ray.analytics.query import print_result
from risa_ray.cli import app

PAGE = Path(__file__).parents[2] / "docs/walkthrough.md"
BLOCK = re.compile(r"^```(sh|python|sql)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def answers(page: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each block of the page and what it prints, run in order in the current folder.

    The queries run on the connection that the page's Python opens.
    """
    names: dict[str, Any] = {}
    for block in BLOCK.finditer(page):
        language, code = block[1], block[2]
        if language == "sh":
            printed = "".join(map(shell, code.splitlines()))
        elif language == "python":
            printed = captured(exec, code, names)
        else:
            rows = names["connection"].sql(code).to_arrow_table()
            assert rows.num_rows, f"no rows: {code}"
            printed = captured(print_result, rows)
        yield block, printed


def shell(line: str) -> str:
    program, *arguments = shlex.split(line)
    assert program == "risa", line
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{line}: {result.output} {result.exception}"
    return result.stdout


def captured(function: Any, *arguments: Any) -> str:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(output):
        function(*arguments)
    output.flush()
    return output.buffer.getvalue().decode()


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[re.Match[str], str]]:
    with chdir(tmp_path_factory.mktemp("walkthrough")):
        return list(answers(PAGE.read_text(encoding="utf-8")))


def test_every_answer_is_what_the_query_gives(answered: list[tuple[re.Match[str], str]]) -> None:
    shown = [(block, printed) for block, printed in answered if block[3] is not None]
    assert len(shown) > 20
    for block, printed in shown:
        assert block[3] == printed, f"{block[2]}\nrun python tests/analytics/test_walkthrough.py"


def test_every_query_shows_its_answer() -> None:
    assert not [block[2] for block in BLOCK.finditer(PAGE.read_text()) if block[1] == "sql" and block[3] is None]


def test_every_view_of_figures_is_asked(answered: list[tuple[re.Match[str], str]]) -> None:
    asked = "".join(block[2] for block, _ in answered)
    views = re.findall(r"^## (\w+)$", PAGE.with_name("views.md").read_text(encoding="utf-8"), re.MULTILINE)
    figures = [v for v in views if v not in ("observations", "tracks", "stays") and not v.endswith("_versions")]
    assert len(figures) > 10
    assert [view for view in figures if not re.search(rf"(FROM|JOIN) {view}\b", asked)] == []


def rewrite() -> None:
    page = PAGE.read_text(encoding="utf-8")
    with TemporaryDirectory() as folder, chdir(folder):
        for block, printed in answers(page):
            if block[3] is not None:
                page = page.replace(block[0], f"```{block[1]}\n{block[2]}```\n\n```text\n{printed}```\n")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
