"""The figures in a terminal: a table that lives, or a line every ten seconds where there is no terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from risa_ray.live.figures import Figures
from risa_ray.live.rules import Alert

LOG_EVERY_S = 10.0
HISTORY = 24
RECENT_ALERTS = 5
_BARS = "▁▂▃▄▅▆▇█"
_STATE_STYLE = {"live": "green", "reading": "green", "complete": "cyan", "stopped": "cyan", "broken": "red"}
_SEVERITY_STYLE = {"info": "cyan", "warning": "yellow", "critical": "bold red"}

Place = tuple[str, str | None]
History = Mapping[Place, Sequence[float | None]]
"""Net sentiment of the latest updates by (camera_id, zone_id); None where there was none to show."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: share of the files' frames, 0..1; None for live cameras.
        states: camera_id -> state, as in `frames`.
    """

    elapsed_s: float = 0.0
    analysed: int = 0
    dropped: int = 0
    faces: int = 0
    rows: int = 0
    done: float | None = None
    states: Mapping[str, str] = field(default_factory=dict)


class Terminal:
    """Shows a run on a console; a context manager.

    On a terminal it draws `render` in place. Elsewhere it prints `log_line` every ten seconds, alerts and notes at
    once.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._history: dict[Place, deque[float | None]] = {}
        self._alerts: deque[Alert] = deque(maxlen=RECENT_ALERTS)
        self._notes: tuple[str, ...] = ()
        self._logged_at: float | None = None
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> Terminal:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(
        self, figures: Sequence[Figures], alerts: Sequence[Alert], progress: Progress, notes: Sequence[str] = ()
    ) -> None:
        """Show the newest state; `alerts` are those that fired since the last update."""
        self._alerts.extend(alerts)
        for entry in figures:
            place = (entry.camera_id, entry.zone_id)
            self._history.setdefault(place, deque(maxlen=HISTORY)).append(entry.net_sentiment)
        if self._live is not None:
            shown = render(figures, list(self._alerts), progress, notes, {p: list(h) for p, h in self._history.items()})
            self._live.update(shown, refresh=True)
        else:
            self._log(figures, alerts, progress, notes)

    def _log(
        self, figures: Sequence[Figures], alerts: Sequence[Alert], progress: Progress, notes: Sequence[str]
    ) -> None:
        for note in notes:
            if note not in self._notes:
                self._line(note)
        self._notes = tuple(notes)
        for alert in alerts:
            self._line(f"ALERT {alert.severity}: {alert.text}")
        if self._logged_at is None or progress.elapsed_s - self._logged_at >= LOG_EVERY_S:
            self._logged_at = progress.elapsed_s
            self._line(log_line(figures))

    def _line(self, text: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        self.console.print(f"{now} {text}", markup=False, highlight=False, soft_wrap=True)


def log_line(figures: Sequence[Figures]) -> str:
    """The whole run in one line of plain text."""
    cameras = [entry for entry in figures if entry.zone_id is None]
    watching = [entry for entry in cameras if entry.frames_analysed]
    fps = sum(entry.fps_analysed for entry in watching)
    dropped = sum(sum(entry.dropped.values()) for entry in cameras)
    parts = [
        f"{len(watching)} of {len(cameras)} cameras",
        f"{_people(sum(entry.people_now for entry in cameras))} now",
        f"{fps:.1f} fps",
        f"delay p95 {_seconds(max((e.delay_p95_s for e in watching if e.delay_p95_s is not None), default=None))}",
        f"{dropped} dropped",
        *(f"{entry.camera_id} net sentiment {_net(entry)}" for entry in cameras),
    ]
    return ", ".join(parts)


def render(
    figures: Sequence[Figures],
    alerts: Sequence[Alert],
    progress: Progress,
    notes: Sequence[str] = (),
    history: History | None = None,
) -> RenderableType:
    """What the terminal shows; a pure function of its arguments.

    Args:
        figures: of every camera and zone, cameras before their zones.
        alerts: the recent ones, oldest first.
        progress: how far the run is.
        notes: lines to show at the bottom.
        history: earlier net sentiment, drawn as small bars.
    """
    parts: list[RenderableType] = [_cameras(figures, progress.states), _places(figures, history or {})]
    parts += [_alert_line(alert) for alert in list(alerts)[-RECENT_ALERTS:]]
    parts.append(_progress_line(progress))
    parts += [Text(note, style="dim") for note in notes]
    return Group(*parts)


def sparkline(values: Sequence[float | None]) -> str:
    """Values in -1..1 as bars, a dot where there is none."""
    last = len(_BARS) - 1
    return "".join("·" if v is None else _BARS[round((min(max(v, -1.0), 1.0) + 1) / 2 * last)] for v in values)


def _cameras(figures: Sequence[Figures], states: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Cameras", title_justify="left", title_style="bold")
    table.add_column("camera", no_wrap=True)
    table.add_column("state")
    for name in ("people", "fps", "delay p50", "p95", "dropped"):
        table.add_column(name, justify="right")
    for entry in (f for f in figures if f.zone_id is None):
        state = states.get(entry.camera_id, "live" if entry.frames_analysed else "connecting")
        causes = ", ".join(f"{n} {cause.replace('_', ' ')}" for cause, n in entry.dropped.items())
        table.add_row(
            Text(entry.camera_id),
            Text(state.replace("_", " "), style=_STATE_STYLE.get(state, "yellow")),
            str(entry.people_now),
            f"{entry.fps_analysed:.1f}",
            _seconds(entry.delay_p50_s),
            _seconds(entry.delay_p95_s),
            causes or "0",
        )
    return table


def _places(figures: Sequence[Figures], history: History) -> Table:
    window = f"{figures[0].window_s:g} s" if figures else "window"
    title = f"Apparent expressions, last {window}"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column("zone", no_wrap=True)
    table.add_column("now", justify="right")
    table.add_column("expressions now")
    table.add_column("people", justify="right")
    table.add_column("net sentiment", justify="right", no_wrap=True)
    table.add_column("trend", no_wrap=True)
    table.add_column("unknown", justify="right")
    for entry in figures:
        name = entry.camera_id if entry.zone_id is None else f"  {entry.zone_id}"
        trend = sparkline(history.get((entry.camera_id, entry.zone_id), ()))
        few = f"< {entry.k}"
        table.add_row(
            Text(name, style="bold" if entry.zone_id is None else ""),
            str(entry.people_now),
            _expressions(entry),
            few if entry.tracks is None else str(entry.tracks),
            Text(_net(entry), style=_net_style(entry.net_sentiment)),
            trend,
            few if entry.status == "suppressed" else _share(entry.unknown_share),
        )
    return table


def _expressions(entry: Figures) -> str:
    if entry.expressions:
        return ", ".join(f"{n} {name}" for name, n in sorted(entry.expressions.items(), key=lambda e: -e[1]))
    return f"< {entry.k}" if entry.people_now else "-"


def _net(entry: Figures) -> str:
    if entry.status in ("suppressed", "mood_suppressed"):
        return f"< {entry.k}"
    return "-" if entry.net_sentiment is None else f"{entry.net_sentiment:+.2f}"


def _net_style(value: float | None) -> str:
    if value is None:
        return "dim"
    # Blue and yellow stay apart for colour-blind eyes, and the sign is printed anyway.
    return "bright_blue" if value > 0 else "yellow" if value < 0 else ""


def _alert_line(alert: Alert) -> Text:
    line = Text(f"{alert.fired_at:%H:%M:%S} UTC ", style="dim")
    return line.append(f"{alert.severity}: {alert.text}", style=_SEVERITY_STYLE[alert.severity])


def _progress_line(progress: Progress) -> Text:
    minutes, seconds = divmod(int(progress.elapsed_s), 60)
    parts = [f"{minutes}:{seconds:02d}"]
    if progress.done is not None:
        filled = round(20 * min(max(progress.done, 0.0), 1.0))
        parts.append(f"{'━' * filled}{'╌' * (20 - filled)} {progress.done:.0%}")
    parts += [
        f"{progress.analysed:,} frames analysed",
        f"{progress.dropped:,} dropped",
        f"{progress.faces:,} faces",
        f"{progress.rows:,} rows committed",
    ]
    return Text("  ".join(parts))


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
