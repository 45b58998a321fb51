"""What the pages share: one HTML file with everything in it, which loads nothing from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from risa_ray.errors import InputError

MINUS = "\N{MINUS SIGN}"
_HERE = Path(__file__).parent


def write_page(
    out: Path, template: Path, texts: Mapping[str, str], markup: Mapping[str, str], charts: Mapping[str, dict[str, Any]]
) -> None:
    """Write a page.

    Args:
        out: the HTML file; its folder must exist.
        template: begins with `$head`, what all pages share up to their style, and goes on with more style; `$name` for
            each text and piece of markup; `$tail`: the script that draws each chart into the element with its id.
        texts: escaped here; `title` is the page's.
        markup: HTML whose texts are escaped already.
        charts: element id -> plotly figure; `var:--name` in it is that variable of the style sheet.

    Raises:
        InputError: the file cannot be written.
    """
    head = Template((_HERE / "page_head.html").read_text(encoding="utf-8")).substitute(
        title=escape(texts["title"]), style=(_HERE / "page.css").read_text(encoding="utf-8")
    )
    html = Template(template.read_text(encoding="utf-8")).substitute(
        {name: escape(value) for name, value in texts.items()},
        head=head,
        tail=f"<script>{get_plotlyjs()}</script>\n"
        f'<script type="application/json" id="charts">{_json(charts)}</script>\n'
        f"<script>\n{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        **markup,
    )
    try:
        out.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: the page cannot be written ({error.strerror}); give another place for it") from None


def tile(name: str, value: str, more: str) -> str:
    """A figure of the list at the head of a page, as markup."""
    return (
        f'<div><dt>{escape(name)}</dt><dd class="value">{escape(value)}</dd><dd class="more">{escape(more)}</dd></div>'
    )


def signed(value: float) -> str:
    """A net sentiment or valence for people to read."""
    return f"{value:+.2f}".replace("-", MINUS)


def _json(charts: Mapping[str, dict[str, Any]]) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(charts, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
