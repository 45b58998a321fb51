"""What a store sees while the cameras run: rolling figures, alert rules, events and the terminal view."""

from risa_ray.live.events import EventWriter
from risa_ray.live.figures import Figures
from risa_ray.live.rolling import Rolling
from risa_ray.live.rules import Alert, Rules
from risa_ray.live.terminal import Progress, Terminal, log_line, render

__all__ = ["Alert", "EventWriter", "Figures", "Progress", "Rolling", "Rules", "Terminal", "log_line", "render"]
