"""The matrix of embeddings against a plain product."""

import numpy as np
import pytest
import torch

from clsa_search.gallery import embedding_matrix as matrix
from clsa_search.gallery.embedding_matrix import EmbeddingMatrix, select_top
from tests.support.devices import DEVICES

pytestmark = pytest.mark.parametrize("device", DEVICES, indirect=True)


@pytest.fixture
def fill(monkeypatch, device):
    def fill(rows, dtype=torch.float32, expected=0):
        monkeypatch.setattr(matrix, "_CHUNK_BYTES", 7 * rows.shape[1] * dtype.itemsize)
        width = rows.shape[1]
        filled = EmbeddingMatrix(width, device=device, dtype=dtype, expected=expected)
        for start in range(0, len(rows), 4):
            append(filled, rows[start : start + 4])
        return filled

    return fill


def append(filled, rows):
    filled.append([row.tobytes() for row in rows])


def multiply(filled, queries, rows=None):
    rows = None if rows is None else torch.tensor(rows, device=filled.device)
    return filled.multiply(torch.from_numpy(queries).to(filled.device), rows).cpu()


def generate(count, width=24, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 22])  # chunks of 7: the last has 1, 2, 7 rows
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_products_are_those_of_the_rows_in_their_order(fill, count, queries):
    rows, batch = generate(count), generate(queries, seed=1)
    for expected in (0, count):
        products = multiply(fill(rows, expected=expected), batch)
        np.testing.assert_allclose(products, batch @ rows.T, atol=1e-5)
    half = multiply(fill(rows, torch.float16), batch)
    np.testing.assert_allclose(half, batch @ np.float32(np.float16(rows)).T, atol=1e-5)


@pytest.mark.parametrize("chosen", [[0], [21], [0, 6, 7, 20], list(range(1, 22))])
def test_products_of_chosen_rows(fill, chosen):
    rows, batch = generate(22), generate(3, seed=1)
    products = multiply(fill(rows), batch, chosen)
    np.testing.assert_allclose(products, batch @ rows[chosen].T, atol=1e-5)


@pytest.mark.parametrize("expected", [0, 22])
def test_a_chunk_may_be_emptied(fill, expected):
    rows, batch = generate(22), generate(2, seed=1)
    filled = fill(rows, expected=expected)
    keep = np.ones(22, dtype=bool)
    keep[7:14] = keep[3] = False
    filled.keep(keep)
    assert len(filled) == 14
    append(filled, rows[:2])
    remaining = np.concatenate([rows[keep], rows[:2]])
    np.testing.assert_allclose(multiply(filled, batch), batch @ remaining.T, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 4, 6])
def test_ties_go_to_the_lower_column(device, k):
    rows = [[1, 3, 2, 2, 2, 2], [5, 5, 5, 5, 5, 5], [6, 5, 4, 3, 2, 1], [2, 2, 9, 2, 9, 2]]
    values, columns = select_top(torch.tensor(rows, dtype=torch.float32, device=device), k)
    order = np.argsort(-np.array(rows), axis=1, kind="stable")[:, :k]
    assert columns.tolist() == order.tolist()
    assert values.tolist() == np.take_along_axis(np.array(rows), order, axis=1).tolist()


def test_many_ties_are_ranked_like_a_stable_sort(device):
    values = torch.randint(0, 4, (20, 50), generator=torch.Generator().manual_seed(0)).float()
    for k in (1, 10, 49, 50):
        _, columns = select_top(values.to(device), k)
        expected = values.sort(dim=1, descending=True, stable=True).indices[:, :k]
        assert columns.tolist() == expected.tolist()
