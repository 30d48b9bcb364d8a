"""The matrix of embeddings against a plain product."""

import numpy as np
import pytest
import torch

from clsa_search.gallery import embedding_matrix as matrix
from clsa_search.gallery.embedding_matrix import EmbeddingMatrix

CPU = torch.device("cpu")


def fill(monkeypatch, rows, dtype=torch.float32, chunk_rows=7):
    monkeypatch.setattr(matrix, "_CHUNK_BYTES", chunk_rows * rows.shape[1] * dtype.itemsize)
    filled = EmbeddingMatrix(rows.shape[1], device=CPU, dtype=dtype)
    for start in range(0, len(rows), 4):
        filled.append(rows[start : start + 4])
    return filled


def generate(count, width=24, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 22])  # chunks of 7: the last has 1, 2, 7 rows
@pytest.mark.parametrize("queries", [1, 2, 5])
def test_products_are_those_of_the_rows_in_their_order(monkeypatch, count, queries):
    rows, batch = generate(count), generate(queries, seed=1)
    products = fill(monkeypatch, rows).multiply(torch.from_numpy(batch))
    np.testing.assert_allclose(products, batch @ rows.T, atol=1e-5)
    half = fill(monkeypatch, rows, torch.float16).multiply(torch.from_numpy(batch))
    np.testing.assert_allclose(half, batch @ np.float32(np.float16(rows)).T, atol=1e-5)


@pytest.mark.parametrize("chosen", [[0], [21], [0, 6, 7, 20], list(range(1, 22))])
def test_chosen_rows_alone_are_multiplied(monkeypatch, chosen):
    rows, batch = generate(22), generate(3, seed=1)
    products = fill(monkeypatch, rows).multiply(torch.from_numpy(batch), np.array(chosen))
    np.testing.assert_allclose(products, batch @ rows[chosen].T, atol=1e-5)


def test_a_chunk_may_be_emptied(monkeypatch):
    rows, batch = generate(22), generate(2, seed=1)
    filled = fill(monkeypatch, rows)
    keep = np.ones(22, dtype=bool)
    keep[7:14] = keep[3] = False
    filled.keep(keep)
    assert len(filled) == 14
    filled.append(rows[:2])
    expected = batch @ np.concatenate([rows[keep], rows[:2]]).T
    np.testing.assert_allclose(filled.multiply(torch.from_numpy(batch)), expected, atol=1e-5)
