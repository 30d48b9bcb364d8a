"""Tables of results as text."""

import math

from clsa_search.evaluation import (
    format_table,
)


def test_tables_repeat_the_header_and_show_nan_as_a_dash():
    results = {"detection": {"recall": 50, "AP": math.nan}, "one": {"mAP": 12.345, "top1": 100}}
    assert format_table(results | {"two": {"mAP": 0, "top1": 1}}).splitlines() == [
        "             recall      AP",
        "detection     50.00       -",
        "",
        "                mAP    top1",
        "one           12.35  100.00",
        "two            0.00    1.00",
    ]
    assert format_table({}) == ""
