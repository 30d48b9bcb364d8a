"""Numbers of a running desk in the text format of Prometheus."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from clsa_search import __version__

_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds of a search
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HELP = {
    "requests_total": ("counter", "Requests by method, route and status."),
    "search_seconds": ("histogram", "Seconds of a search."),
    "gallery_detections": ("gauge", "Detections in the gallery."),
    "gallery_sightings": ("gauge", "Sightings in the gallery."),
    "gallery_sources": ("gauge", "Files in the gallery."),
    "jobs": ("gauge", "Jobs of this run by state."),
    "info": ("gauge", "Version of the program."),
}


class Metrics:
    """Counts requests and searches; several threads may do so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._searches = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answered request.

        Args:
            method: its method; unknown ones are counted together.
            route: template of its address, so that ids do not make more lines.
            status: status of the answer.
        """
        with self._lock:
            self._requests[method if method in _METHODS else "other", route, status] += 1

    def count_search(self, seconds: float) -> None:
        """Count a search."""
        with self._lock:
            self._searches[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def write(self, gauges: Mapping[str, float], jobs: Mapping[str, int]) -> str:
        """Return all numbers as text.

        Args:
            gauges: numbers of the gallery by name.
            jobs: numbers of jobs by state.
        """
        with self._lock:
            requests, searches = dict(self._requests), list(self._searches)
            seconds = self._seconds
        rows: dict[str, list[tuple[str, float]]] = {name: [] for name in _HELP}
        for (method, route, status), count in sorted(requests.items()):
            labels = _join(method=method, route=route, status=str(status))
            rows["requests_total"].append((labels, count))
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), searches, strict=True):
            before = rows["search_seconds"][-1][1] if rows["search_seconds"] else 0
            rows["search_seconds"].append((f"_bucket{_join(le=bound)}", before + count))
        rows["search_seconds"] += [("_sum", seconds), ("_count", sum(searches))]
        for name, value in gauges.items():
            rows[name].append(("", value))
        for state in ("waiting", "running", "done", "failed", "cancelled"):
            rows["jobs"].append((_join(state=state), jobs.get(state, 0)))
        rows["info"].append((_join(version=__version__), 1))
        lines = []
        for name, (kind, text) in _HELP.items():
            lines += [f"# HELP clsa_search_{name} {text}", f"# TYPE clsa_search_{name} {kind}"]
            lines += [f"clsa_search_{name}{labels} {value:.10g}" for labels, value in rows[name]]
        return "\n".join(lines) + "\n"


def _join(**labels: str) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
