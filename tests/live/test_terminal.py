from __future__ import annotations

import io
from dataclasses import replace

from helpers_live import chain, chunk, outcome, people, wall
from rich.console import Console, RenderableType

from risa_ray.live import Figures, Progress, Rolling, Rules, Terminal, log_line, render
from risa_ray.live.terminal import sparkline

HAPPY, SAD = (0.8, "happiness"), (-0.6, "sadness")


def figures(k: int = 1) -> list[Figures]:
    rolling = Rolling(chain(k=k))
    rolling.add(people({"a": HAPPY, "b": SAD}, zones={"a": ("shelf",)}), wall(2.0))
    rolling.add(chunk([outcome(10, 2.0, "overrun")]))
    return rolling.figures(wall(2))


def text(shown: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_tells_cameras_zones_alerts_and_progress() -> None:
    config = chain(alerts=[{"id": "r", "figure": "people", "above": 0, "text": "Open a till [now]"}])
    rolling = Rolling(config)
    rolling.add(people({"a": HAPPY}), wall(2))
    alerts = Rules(config).evaluate(rolling, wall(2))
    progress = Progress(
        elapsed_s=75, analysed=1234, dropped=5, faces=99, rows=98, done=0.5, states={"front": "stalled"}
    )
    out = text(render(figures(), alerts, progress, ["page at [somewhere]"], {("front", None): [None, -1.0, 1.0]}))
    for part in ("front", "stalled", "1 overrun", "shelf", "desk", "1 happiness", "+1.00", "+0.00", "·▁█", "1:15",
                 "50%", "1,234 frames analysed", "Open a till [now]", "page at [somewhere]", "apparent"):  # fmt: skip
        assert part.lower() in out.lower(), part


def test_suppressed_cells_say_so_and_nothing_more() -> None:
    out = text(render(figures(k=5), [], Progress()))
    assert "< 5" in out
    assert "happiness" not in out
    assert "+0.00" not in out


def test_nothing_yet() -> None:
    assert "connecting" in text(render(Rolling(chain()).figures(0), [], Progress()))
    assert text(render([], [], Progress()))


def test_a_narrow_terminal_is_no_trouble() -> None:
    assert "shelf" in text(render(figures(), [], Progress()), width=60)


def test_one_line_for_logs() -> None:
    line = log_line(figures())
    assert "\n" not in line
    for part in ("1 of 1 cameras", "2 people now", "1 dropped", "front net sentiment +0.00"):
        assert part in line
    assert "net sentiment < 5" in log_line(figures(k=5))
    assert "0 of 1 cameras" in log_line(Rolling(chain()).figures(0))


def test_sparkline() -> None:
    assert sparkline([-1, 0, 1, None, 5]) == "▁▅█·█"


def test_without_a_terminal_a_line_comes_every_ten_seconds_and_alerts_at_once() -> None:
    config = chain(alerts=[{"id": "r", "figure": "people", "above": 0}])
    rolling = Rolling(config)
    rolling.add(people({"a": HAPPY}), wall(2))
    alerts = Rules(config).evaluate(rolling, wall(2))
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    with Terminal(console) as terminal:
        for second in range(25):
            terminal.update(figures(), alerts if second == 4 else [], Progress(elapsed_s=second), ["a note"])
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum("1 of 1 cameras" in line for line in lines) == 3
    assert sum(line.endswith("Z a note") for line in lines) == 1
    assert sum("Z ALERT warning: front: 1 people now" in line for line in lines) == 1


def test_a_terminal_is_drawn_in_place_with_a_trend() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with Terminal(console) as terminal:
        for net in (-1.0, 1.0):
            terminal.update([replace(f, net_sentiment=net) for f in figures()], [], Progress())
    assert isinstance(console.file, io.StringIO)
    assert "▁█" in console.file.getvalue()
