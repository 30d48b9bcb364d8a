"""Measurements, their limits, and the table of many."""

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
    *("measurement", "time", "per second", "MB", "arithmetic", "traffic", "of the limit"),
    *("syncs", "notes"),
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measurement per unit of work.

    Args:
        name: subject, such as "whole model, batch 4".
        unit: unit of `seconds` and `operations`: "image", "query", "detection".
        seconds: median time.
        memory_mb: peak memory above the memory before the call; of the GPU if it is used.
        operations: arithmetic and traffic; None if neither is the limit.
        dtype: type of the arithmetic.
        limit_seconds: measured limit that replaces the limit from `operations`.
        notes: further values by name.
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
    """Time a warm call and count its operations.

    Args:
        call: function that does `units` units of work.
        name: see `Measurement`.
        unit: see `Measurement`.
        units: number of units per call.
        device: device to synchronize with.
        repeat: number of timed calls; the median counts.
        dtype: see `Measurement`.
        notes: see `Measurement`.
    """
    call()
    memory_mb, _ = peak_memory(call, device)
    seconds = time_call(call, device, repeat)
    total = count_operations(call)
    operations = OperationCounts(total.flops // units, total.bytes // units, total.syncs / units)
    return Measurement(
        name=name,
        unit=unit,
        seconds=seconds / units,
        memory_mb=memory_mb,
        operations=operations,
        dtype=dtype,
        notes=notes or {},
    )


def to_row(measurement: Measurement, machine: Machine) -> dict[str, Any]:
    """Return a measurement with its limits as a flat dictionary for JSON.

    The limit is `limit_seconds` if given, otherwise the larger of arithmetic / rate and
    traffic / bandwidth of the machine. "share" is limit / time. Missing values are None.
    """
    counts, limit = measurement.operations, measurement.limit_seconds
    arithmetic = traffic = None
    if counts:
        arithmetic = counts.flops / machine.flops[measurement.dtype]
        traffic = counts.bytes / machine.bandwidth
        limit = max(arithmetic, traffic) if limit is None else limit
    return {
        "name": measurement.name,
        "unit": measurement.unit,
        "dtype": measurement.dtype,
        "seconds": measurement.seconds,
        "per_second": 1 / measurement.seconds,
        "memory_mb": measurement.memory_mb,
        "flops": counts and counts.flops,
        "bytes": counts and counts.bytes,
        "syncs": counts and counts.syncs,
        "arithmetic_seconds": arithmetic,
        "traffic_seconds": traffic,
        "limit_seconds": limit,
        "share": limit and limit / measurement.seconds,
        **measurement.notes,
    }


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table of the rows of `to_row`; the last column has the notes."""
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
