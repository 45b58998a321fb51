"""What a report's page is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from risa_ray.analytics.charts import Chart


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its words; `height` in px, `wide` over the whole width of the page, a `map` on paper too."""

    id: str
    title: str
    caption: str
    chart: Chart
    wide: bool = False
    height: int = 300
    map: bool = False

    def markup(self) -> str:
        kind = " wide" if self.wide else " map" if self.map else ""
        return (
            f'<figure class="panel{kind}" aria-labelledby="{self.id}-title">'
            f'<h3 id="{self.id}-title">{escape(self.title)}</h3>'
            f'<div class="plot" id="{self.id}" style="height:{self.height}px" role="img"'
            f' aria-label="{escape(self.title)}. {escape(self.caption)}"></div>'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts below a head; the first `names` columns are words, the others figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1

    def markup(self) -> str:
        head = "".join(f'<th scope="col"{self._kind(i)}>{escape(name)}</th>' for i, name in enumerate(self.head))
        rows = "\n".join(
            "<tr>" + "".join(self._cell(i, text) for i, text in enumerate(row)) + "</tr>" for row in self.rows
        )
        return (
            f'<div class="panel wide table" tabindex="0"><table><caption>{escape(self.title)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
        )

    def _cell(self, i: int, text: str) -> str:
        if i == 0:
            return f'<th scope="row">{escape(text)}</th>'
        return f"<td{self._kind(i)}>{escape(text)}</td>"

    def _kind(self, i: int) -> str:
        return "" if i < self.names else ' class="figure"'


Part = Figure | Table


@dataclass(frozen=True, slots=True)
class Section:
    """One question that the report answers.

    Attributes:
        lead: what it shows, and what it cannot.
        parts: charts and tables, in order.
        note: what is left out; may be empty.
    """

    id: str
    title: str
    lead: str
    parts: Sequence[Part] = ()
    note: str = ""

    def markup(self) -> str:
        parts = "\n".join(part.markup() for part in self.parts)
        grid = f'<div class="grid">\n{parts}\n</div>' if parts else ""
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        head = f'<h2 id="{self.id}-head">{escape(self.title)}</h2>\n<p class="lead">{escape(self.lead)}</p>'
        return f'<section id="{self.id}" aria-labelledby="{self.id}-head">{head}\n{grid}{note}</section>'

    def charts(self) -> dict[str, Chart]:
        return {part.id: part.chart for part in self.parts if isinstance(part, Figure)}
