"""Plugin of pytest that writes each failure to the file $FAILURE_LOG at once.

Pytest itself shows failures at the end, which a run with a time limit may not reach.
"""

import os

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append the name and the traceback of a failed test."""
    if report.failed:
        with open(os.environ["FAILURE_LOG"], "a", encoding="utf-8") as file:
            file.write(f"== {report.nodeid} ({report.when})\n{report.longreprtext}\n\n")
