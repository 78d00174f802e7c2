"""Print episodes on the terminal while they are played, line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from marl.cli.console import OUT, LogPrinter, heading
from marl.episode import Episode
from protocols.clock import episode_loop
from protocols.log import Log


class Live:
    """Prints episodes in the order in which they began; a later one waits until the earlier ones have ended.

    Args:
        ended: called with each finished episode, in that order, after all of it is printed; may raise.
    """

    def __init__(self, ended: Callable[[Episode], None]) -> None:
        self._ended = ended
        self._logs: deque[Log] = deque()
        self._over: dict[str, Episode] = {}
        self._printer: LogPrinter | None = None

    def begin(self, log: Log) -> None:
        """Print an episode's log from now on, whenever its loop is idle: then policies begin to think."""
        if not self._logs and not self._over:
            episode_loop().on_idle(self._look)
        self._logs.append(log)

    def end(self, episode: Episode) -> None:
        """Mark an episode as finished, print the logs that are due and call `ended` for them; its errors propagate."""
        self._over[episode.log.episode] = episode
        while self._logs and self._logs[0].episode in self._over:
            self._look()
            self._printer = None
            OUT.print()
            over = self._over[self._logs.popleft().episode]
            later, self._logs = self._logs, deque()  # of which nothing is printed if this raises
            self._ended(over)
            self._logs = later

    def _look(self) -> bool:
        """Print the new lines of the first unfinished episode. False: an idle hook that makes nothing runnable."""
        if self._logs:
            if self._printer is None:
                OUT.print(heading(self._logs[0]), soft_wrap=True)
                self._printer = LogPrinter(self._logs[0])
            for text in self._printer.new():
                OUT.print(text, soft_wrap=True)
        return False
