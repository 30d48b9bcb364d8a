"""Recorded functions: sizes that repeat are recorded, the latest of them, with equal results."""

import pytest
import torch

from clsa_search.modeling.graphs import RecordedFunction, bucket_size


class Doubling:
    """A function that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, offset):
        self.calls += 1
        return {"sum": 2 * x + offset, "rows": torch.full((len(x),), 3, device=x.device)}


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inference_mode", [True, False])
def test_results_are_those_of_the_function_for_sizes_in_turn(device, inference_mode):
    recorded = RecordedFunction(Doubling(), capacity=4, max_elements=1000)
    results = []
    for i in range(4):
        for count in (3, 5):
            with torch.inference_mode(inference_mode ^ (i == 3)):
                x = torch.randn(count, 2, device=device)
                offset = torch.full((), i, device=device)
                results.append((recorded(x, offset), 2 * x + offset))
    for result, expected in results:  # later calls do not overwrite results
        assert result["sum"].equal(expected) and result["rows"].tolist() == [3] * len(expected)


@pytest.mark.parametrize(
    ("counts", "recordings"),
    [
        ([1, 1, 1, 1], 1),
        ([1, 2, 3, 4, 5], 0),
        ([1, 2, 1, 2, 1, 2], 2),
        ([1, 2, 3, 1, 2, 3, 1, 2, 3], 0),  # more sizes than are kept
        ([1, 1, 2, 3, 1, 1], 2),  # recorded, dropped, recorded again
        ([60, 60, 60], 0),  # too large
    ],
)
def test_the_latest_sizes_are_recorded_when_they_repeat(monkeypatch, counts, recordings):
    made = []

    class Replay:
        def __init__(self, function, arguments, pool):
            made.append(len(arguments[0]))
            self.function = function

        def __call__(self, *arguments):
            return self.function(*arguments)

    monkeypatch.setattr("clsa_search.modeling.graphs.Replay", Replay)
    recorded = RecordedFunction(Doubling(), capacity=2, max_elements=100)
    for count in counts:
        recorded(torch.zeros(count, 2), torch.zeros(()))
    assert len(made) == recordings


def test_a_function_that_cannot_be_recorded_runs_as_it_is(monkeypatch, caplog):
    tries = []

    class Replay:
        def __init__(self, function, arguments, pool):
            tries.append(len(arguments[0]))
            if len(tries) > 1:
                raise RuntimeError("operation not permitted when stream is capturing\nmore")

        def __call__(self, *arguments):
            return {"sum": "recorded"}

    monkeypatch.setattr("clsa_search.modeling.graphs.Replay", Replay)
    recorded = RecordedFunction(Doubling(), capacity=3, max_elements=100)
    offset = torch.zeros(())
    assert [recorded(torch.ones(1, 2), offset)["sum"] for _ in range(2)][1] == "recorded"
    for count in (2, 2, 2, 1, 1):  # also sizes that are recorded already
        assert recorded(torch.ones(count, 2), offset)["sum"].tolist() == [[2.0, 2.0]] * count
    assert tries == [1, 2]
    assert caplog.text.count("not recorded, which takes longer: operation not permitted") == 1


def test_a_fault_of_the_function_is_raised():
    def fail(x):
        raise RuntimeError("of the function")

    recorded = RecordedFunction(fail, capacity=3, max_elements=100)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="of the function"):
            recorded(torch.zeros(1))


def test_buckets_are_few_and_nearly_full():
    sizes = [bucket_size(count) for count in range(1, 600)]
    assert sizes[:9] == [8] * 8 + [16] and sizes[63:66] == [64, 80, 80]
    assert all(count <= size <= max(8, 1.25 * count + 7) for count, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 25 and bucket_size(0) == 0
