"""Measurements: operation counts, limits and the table."""

import pytest
import torch

from benchmarks.speed.machine import Machine, measure_machine
from benchmarks.speed.measurement import Measurement, format_rows, measure, to_row
from benchmarks.speed.operations import OperationCounts, count_operations

CPU = torch.device("cpu")
MACHINE = Machine(flops={"float32": 1e9, "float16": 4e9}, bandwidth=1e8)


def test_a_product_is_counted_by_hand():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert count_operations(lambda: a @ b) == OperationCounts(
        flops=2 * 3 * 4 * 5, bytes=4 * (12 + 20 + 15), syncs=0
    )
    halves = count_operations(lambda: a.half() @ b.half())  # read as four bytes, written as two
    assert halves.flops == 120
    assert halves.bytes == 6 * (12 + 20) + 2 * (12 + 20 + 15)


def test_a_convolution_is_counted_by_hand():
    maps, weight = torch.ones(1, 2, 6, 5), torch.ones(7, 2, 3, 3)
    work = count_operations(lambda: torch.nn.functional.conv2d(maps, weight))
    assert work.flops == 2 * (2 * 3 * 3) * 7 * 4 * 3
    assert work.bytes == 4 * (2 * 6 * 5 + 7 * 2 * 9 + 7 * 4 * 3)


def test_a_view_moves_nothing():
    x = torch.ones(6, 4)
    assert count_operations(lambda: x.T[1:].reshape(3, 6)[:2]) == OperationCounts(0, 0, 0)
    assert count_operations(x.clone) == OperationCounts(0, 2 * 4 * 24, 0)


@pytest.mark.parametrize(
    ("call", "syncs"),
    [
        (lambda x: x.sum(), 0),
        (lambda x: x.sum().item(), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x[torch.tensor([0, 2])], 0),
        (lambda x: [float(y) for y in x], 3),
    ],
)
def test_synchronizations_are_counted(call, syncs):
    assert count_operations(lambda: call(torch.ones(3))).syncs == syncs


def test_operations_are_per_unit():
    a, b = torch.ones(6, 4), torch.ones(4, 5)
    calls = []

    def multiply():
        calls.append(a @ b)

    notes = {"rows": 6}
    measurement = measure(
        multiply, name="mm", unit="row", units=6, device=CPU, repeat=2, notes=notes
    )
    assert (measurement.name, measurement.unit, measurement.notes) == ("mm", "row", notes)
    assert measurement.operations == OperationCounts(2 * 4 * 5, 4 * (24 + 20 + 30) // 6, 0)
    assert 0 < measurement.seconds < 1 and len(calls) > 3


def row_of(**fields):
    return to_row(Measurement(name="f", unit="image", seconds=0.5, **fields), MACHINE)


def test_the_limit_is_the_larger_of_arithmetic_and_traffic():
    row = row_of(operations=OperationCounts(10**8, 10**6, 2))
    assert (row["arithmetic_seconds"], row["traffic_seconds"]) == pytest.approx((0.1, 0.01))
    assert (row["limit_seconds"], row["share"]) == pytest.approx((0.1, 0.2))
    assert (row["per_second"], row["syncs"]) == (2, 2)
    row = row_of(operations=OperationCounts(10**8, 10**6, 2), dtype="float16")
    assert row["limit_seconds"] == pytest.approx(0.025)
    row = row_of(operations=OperationCounts(10**6, 10**7, 0))
    assert row["limit_seconds"] == pytest.approx(0.1)


def test_a_measured_limit_replaces_the_counted_one():
    row = row_of(operations=OperationCounts(10**8, 10**6, 0), limit_seconds=0.4)
    assert (row["limit_seconds"], row["share"]) == pytest.approx((0.4, 0.8))
    assert row["arithmetic_seconds"] == pytest.approx(0.1)


def test_without_a_limit_there_is_no_share():
    row = row_of(notes={"mAP": 99.5})
    assert (row["share"], row["limit_seconds"], row["flops"]) == (None, None, None)
    assert row["mAP"] == 99.5


def test_the_table_names_units_and_leaves_missing_values_empty():
    full = row_of(
        operations=OperationCounts(10**8, 10**6, 1.5),
        memory_mb=1234.5,
        notes={"rows": 2000, "k": "v"},
    )
    lines = format_rows([full, row_of()]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][:4] == ["measurement", "time", "per second", "MB"]
    assert cells[2] == [
        *("f", "500 ms / image", "2", "1,234", "100 ms", "10 ms", "20 %", "1.5"),
        "rows 2,000, k v",
    ]
    assert cells[3] == ["f", "500 ms / image", "2", *[""] * 6]


def test_the_machine_has_positive_limits():
    machine = measure_machine(CPU)
    assert machine.flops["float32"] > 1e8
    assert machine.bandwidth > 1e8
