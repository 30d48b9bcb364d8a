"""Protocols from records: who searches where, and for which boxes."""

import numpy as np
import pytest
from evaluation_cases import draw_dataset, make_record

from clsa_search.errors import InputError
from clsa_search.evaluation import full_gallery_protocol

BOXES = [(10 * i, 0, 10 * i + 8, 20) for i in range(6)]
RECORDS = [
    make_record("a", [(BOXES[0], 1), (BOXES[1], -1)], [(2, BOXES[0], 1)]),
    make_record("b", [(BOXES[2], 0), (BOXES[3], 1), (BOXES[4], 1)], [(0, BOXES[2], 0)]),
    make_record("c"),
    make_record("d", [(BOXES[5], 1), (BOXES[0], 0)], [(1, BOXES[5], 1), (3, BOXES[1], 7)]),
]


def unpack(protocol):
    """{query id: ([gallery image], [(image, box)])}"""
    return {
        int(query_id): (
            protocol.image_ids[protocol.gallery_images[slice(*gallery)]].tolist(),
            [
                (str(protocol.image_ids[image]), tuple(box))
                for image, box in zip(
                    protocol.target_images[slice(*targets)],
                    protocol.target_boxes[slice(*targets)].tolist(),
                    strict=True,
                )
            ],
        )
        for query_id, gallery, targets in zip(
            protocol.query_ids,
            zip(protocol.gallery_offsets, protocol.gallery_offsets[1:], strict=False),
            zip(protocol.target_offsets, protocol.target_offsets[1:], strict=False),
            strict=True,
        )
    }


def test_full_gallery_by_hand():
    protocol = full_gallery_protocol(RECORDS)
    assert protocol.name == "all"
    assert unpack(protocol) == {
        0: (["a", "c", "d"], [("d", BOXES[0])]),
        1: (["a", "b", "c"], [("a", BOXES[0]), ("b", BOXES[3]), ("b", BOXES[4])]),
        2: (["b", "c", "d"], [("b", BOXES[3]), ("b", BOXES[4]), ("d", BOXES[5])]),
        3: (["a", "b", "c"], []),  # nobody else with that identity
    }


@pytest.mark.parametrize("seed", range(5))
def test_full_gallery_does_not_depend_on_the_order_of_records(seed):
    rng = np.random.default_rng(seed)
    records, _ = draw_dataset(rng)
    expected = unpack(full_gallery_protocol(records))
    shuffled = unpack(full_gallery_protocol([records[i] for i in rng.permutation(len(records))]))
    for query_id, (gallery, targets) in expected.items():
        assert sorted(shuffled[query_id][0]) == sorted(gallery)
        assert sorted(shuffled[query_id][1]) == sorted(targets)


def test_empty_records():
    assert unpack(full_gallery_protocol([])) == {}
    assert unpack(full_gallery_protocol([make_record("a", [(BOXES[0], 0)])])) == {}
    alone = full_gallery_protocol([make_record("a", [(BOXES[0], 0)], [(0, BOXES[0], 0)])])
    assert unpack(alone) == {0: ([], [])}


def test_select_keeps_each_query_as_it_was():
    protocol = full_gallery_protocol(RECORDS)
    everything = unpack(protocol)
    chosen = unpack(protocol.select([3, 1]))
    assert list(chosen) == [3, 1]
    assert chosen == {3: everything[3], 1: everything[1]}
    assert unpack(protocol.select([])) == {}
    with pytest.raises(InputError, match="query 9 is not in protocol 'all'"):
        protocol.select([0, 9])
