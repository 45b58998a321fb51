"""The report as one page."""

from __future__ import annotations

from html import escape
from pathlib import Path

from risa_ray.analytics.page import tile, write_page
from risa_ray.analytics.report import sections_health, sections_mood, sections_products, sections_visits, summary
from risa_ray.analytics.report.data import ReportData
from risa_ray.analytics.report.section import Section
from risa_ray.analytics.report.words import long_day

SIMULATED = (
    "Simulated: the people in these figures are invented, made by risa simulate for trying things out. They say"
    " nothing about anybody, nor about any store."
)
RAW = (
    "Raw: no figure is withheld for small groups, so this page can tell about single people. It is for demos and"
    " invented people; do not pass it on."
)


def build_report(data: ReportData, out: Path) -> None:
    """Write the page.

    Args:
        data: of `read_report`.
        out: the HTML file; its folder must exist.

    Raises:
        InputError: the file cannot be written.
    """
    sections = report_sections(data)
    charts = {name: chart for section in sections for name, chart in section.charts().items()}
    banners = [text for text, holds in ((SIMULATED, data.simulated), (RAW, data.k == 1)) if holds]
    first, last = data.period.first, data.period.last
    floor = (
        f"A figure is shown only where it rests on at least {data.k} people: smaller groups are left out, never"
        " shown as 0, and no total includes them. "
    )
    texts = {
        "title": f"{data.store_name}: {first} to {last}",
        "store": data.store_name,
        "period": long_day(first) if first == last else f"{long_day(first)} to {long_day(last)}",
        "clock": f"{data.timezone} time, store {data.period.store_id}",
        "floor": floor if data.k > 1 else "",
    }
    markup = {
        "banners": "\n".join(f'<p class="banner" role="note">{escape(text)}</p>' for text in banners),
        "sentences": "\n".join(f"<li>{escape(sentence)}</li>" for sentence in summary.sentences(data)),
        "tiles": "\n".join(tile(*figures) for figures in summary.tiles(data)),
        "contents": "\n".join(f'<a href="#{s.id}">{escape(s.title)}</a>' for s in sections),
        "sections": "\n".join(section.markup() for section in sections),
    }
    write_page(out, Path(__file__).with_name("page.html"), texts, markup, charts)


def report_sections(data: ReportData) -> list[Section]:
    """The sections in the order of the page."""
    return [
        sections_mood.mood(data),
        sections_mood.places(data),
        sections_visits.footfall(data),
        sections_visits.queues(data),
        sections_products.products(data),
        sections_visits.service(data),
        sections_products.content(data),
        sections_products.next_products(data),
        sections_mood.journey(data),
        sections_health.health(data),
    ]
