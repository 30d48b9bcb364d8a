"""One measured figure, the limit it is compared with, and the table of many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tabulate import tabulate

from benchmarks.speed.machine import Machine
from benchmarks.speed.operations import OperationCounts, count_operations
from benchmarks.speed.timing import peak_memory, time_call

_SCALES = ("s", 1), ("ms", 1e3), ("us", 1e6)
_COLUMNS = {
    *("name", "unit", "dtype", "seconds", "per_second", "memory_mb", "flops", "bytes", "syncs"),
    *("arithmetic_seconds", "traffic_seconds", "limit_seconds", "share"),
}
_HEADERS = (
    *("what", "time", "a second", "MB", "arithmetic alone", "traffic alone", "of the limit"),
    *("syncs", "further"),
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured, per unit of it.

    name: of the subject, as in "whole model, batch 4".
    unit: what `seconds` and `work` are of: "image", "query", "row".
    seconds: the median.
    memory_mb: highest use of memory while at work beyond that before; of the GPU where it is used.
    operations: arithmetic and traffic; None where neither is the limit.
    dtype: in which the arithmetic is done.
    limit_seconds: a bound in place of `work`'s, such as a bare product that was timed.
    notes: further figures by their names.
    """

    name: str
    unit: str
    seconds: float
    memory_mb: float | None = None
    operations: OperationCounts | None = None
    dtype: str = "float32"
    limit_seconds: float | None = None
    notes: dict[str, float | int | str] = field(default_factory=dict)


def measure(
    call: Callable[[], Any],
    *,
    name: str,
    unit: str,
    units: int,
    device: torch.device,
    repeat: int,
    dtype: str = "float32",
    notes: dict[str, Any] | None = None,
) -> Measurement:
    """Time something, warm, and count what it does.

    Args:
        call: does `units` units of work.
        name, unit, dtype, notes: see `Measurement`.
        device: that is waited for.
        repeat: how often it is timed; the median counts.
    """
    call()
    memory_mb, _ = peak_memory(call, device)
    seconds = time_call(call, device, repeat)
    whole = count_operations(call)
    work = OperationCounts(whole.flops // units, whole.bytes // units, whole.syncs / units)
    return Measurement(
        name=name,
        unit=unit,
        seconds=seconds / units,
        memory_mb=memory_mb,
        operations=work,
        dtype=dtype,
        notes=notes or {},
    )


def to_row(figure: Measurement, machine: Machine) -> dict[str, Any]:
    """A figure beside its limits, flat, for JSON; what does not apply is None.

    The limit is `limit_seconds` where it is given, else the larger one of arithmetic over the
    machine's rate and traffic over its bandwidth; "share" is how much of the limit's speed is
    reached.
    """
    work, limit = figure.operations, figure.limit_seconds
    arithmetic = work and work.flops / machine.flops[figure.dtype]
    traffic = work and work.bytes / machine.bandwidth
    if limit is None and work:
        limit = max(arithmetic, traffic)
    return {
        "name": figure.name,
        "unit": figure.unit,
        "dtype": figure.dtype,
        "seconds": figure.seconds,
        "per_second": 1 / figure.seconds,
        "memory_mb": figure.memory_mb,
        "flops": work and work.flops,
        "bytes": work and work.bytes,
        "syncs": work and work.syncs,
        "arithmetic_seconds": arithmetic,
        "traffic_seconds": traffic,
        "limit_seconds": limit,
        "share": limit and limit / figure.seconds,
        **figure.notes,
    }


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of :func:`to_row`'s rows; notes are its last column."""
    lines = []
    for row in rows:
        notes = {key: value for key, value in row.items() if key not in _COLUMNS}
        lines.append(
            [
                row["name"],
                f"{_format_seconds(row['seconds'])} / {row['unit']}",
                _format_number(row["per_second"]),
                _format_number(row["memory_mb"]),
                _format_seconds(row["arithmetic_seconds"]),
                _format_seconds(row["traffic_seconds"]),
                "" if row["share"] is None else f"{100 * row['share']:.0f} %",
                _format_number(row["syncs"]),
                ", ".join(f"{key} {_format_number(value)}" for key, value in notes.items()),
            ]
        )
    return tabulate(lines, headers=_HEADERS, tablefmt="pipe", disable_numparse=True)


def _format_number(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def _format_seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    unit, scale = next((x for x in _SCALES if seconds >= 1 / x[1]), _SCALES[-1])
    return f"{_format_number(scale * seconds)} {unit}"
