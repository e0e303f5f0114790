"""How often a server that died is started again, and after which pauses."""

from collections import deque

LIMIT = 5
"""Deaths within the window after which a server is not started again."""

WINDOW_SECONDS = 600.0
"""What a server has outlived for this long is forgotten."""

_FIRST_PAUSE = 0.5  # seconds; each further one is twice as long


class Restarts:
    """The deaths of one server, by a clock that only goes forward."""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque()

    def pause(self, now: float) -> float | None:
        """Note a death; return the seconds to wait before the next start, None where there were too many."""
        while self._deaths and now - self._deaths[0] > WINDOW_SECONDS:
            self._deaths.popleft()
        self._deaths.append(now)
        deaths = len(self._deaths)
        return None if deaths > LIMIT else _FIRST_PAUSE * 2 ** (deaths - 1)
