"""What the committer of a run has counted, whichever of its processes it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from risa_ray.streaming.committer import CommitterStatus


class Totals:
    """Adds up the counts of the committer's processes, each of which begins at 0.

    Frames that one had counted but not stored when it died come again, and count again: the tables have the truth.

    Attributes:
        seen_alerts: alerts of the process that is there now that were told; for `CommitterActor.status`.
    """

    def __init__(self) -> None:
        self._before: CommitterStatus | None = None
        self._last: CommitterStatus | None = None
        self.seen_alerts = 0

    def take(self, status: CommitterStatus) -> bool:
        """Take a committer's own status; whether its process is another than before."""
        last = self._last
        self.seen_alerts = status.alert_count
        if last is not None and last.process.pid != status.process.pid:
            self._before = self.total()
            # It was asked for those after the last one's number: all of its own come with the next answer.
            status, self.seen_alerts = replace(status, alerts=()), 0
        self._last = status
        return last is None or last.process.pid != status.process.pid

    def total(self) -> CommitterStatus:
        """The last status that was taken, with the counts of all processes."""
        last, before = self._last, self._before
        if last is None:
            raise ValueError("no status was taken yet")
        if before is None:
            return last
        cameras = before.outcomes.keys() | last.outcomes.keys()
        return replace(
            last,
            outcomes={
                c: dict(Counter(before.outcomes.get(c, {})) + Counter(last.outcomes.get(c, {}))) for c in cameras
            },
            faces=before.faces + last.faces,
            commits=before.commits + last.commits,
            commit_s=before.commit_s + last.commit_s,
        )
