"""Protocols of records: galleries and target boxes."""

import numpy as np
import pytest

from clsa_search.data import build_gallery, get_records
from clsa_search.errors import InputError
from clsa_search.evaluation import build_protocol, full_gallery_protocol, load_protocols
from clsa_search.evaluation.protocol import cross_camera_gallery
from tests.support.evaluation_cases import generate_dataset, make_record

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
            protocol.image_ids[protocol.galleries.row(row)].tolist(),
            [
                (str(protocol.image_ids[image]), tuple(box))
                for image, box in zip(
                    protocol.targets.row(row).images,
                    protocol.targets.row(row).boxes.tolist(),
                    strict=True,
                )
            ],
        )
        for row, query_id in enumerate(protocol.query_ids)
    }


def test_full_gallery_by_hand():
    protocol = full_gallery_protocol(RECORDS)
    assert protocol.name == "all"
    assert unpack(protocol) == {
        0: (["a", "c", "d"], [("d", BOXES[0])]),
        1: (["a", "b", "c"], [("a", BOXES[0]), ("b", BOXES[3]), ("b", BOXES[4])]),
        2: (["b", "c", "d"], [("b", BOXES[3]), ("b", BOXES[4]), ("d", BOXES[5])]),
        3: (["a", "b", "c"], []),  # no other box with this identity
    }


@pytest.mark.parametrize("seed", range(5))
def test_full_gallery_does_not_depend_on_the_order_of_records(seed):
    rng = np.random.default_rng(seed)
    records, _ = generate_dataset(rng)
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


def test_select_keeps_galleries_and_targets():
    protocol = full_gallery_protocol(RECORDS)
    everything = unpack(protocol)
    chosen = unpack(protocol.select([3, 1]))
    assert list(chosen) == [3, 1]
    assert chosen == {3: everything[3], 1: everything[1]}
    assert unpack(protocol.select([])) == {}
    with pytest.raises(InputError, match="query 9 is not in protocol 'all'"):
        protocol.select([0, 9])


def with_cameras(cameras):
    return [record | {"cam_id": cam} for record, cam in zip(RECORDS, cameras, strict=True)]


def test_cross_camera_by_hand():
    records = with_cameras([1, 2, 1, 2])
    protocol = build_protocol(records, cross_camera_gallery(records), "cross_camera")
    assert unpack(protocol) == {
        0: (["a", "c"], []),
        1: (["a", "c"], [("a", BOXES[0])]),
        2: (["b", "d"], [("b", BOXES[3]), ("b", BOXES[4]), ("d", BOXES[5])]),
        3: (["a", "c"], []),
    }
    with pytest.raises(InputError, match="image 'a': 'cam_id' is missing; expected one on every"):
        cross_camera_gallery(RECORDS)


def test_a_given_gallery_is_kept_as_it_is():
    """Repeated images, the query's own, any order; targets only in the gallery."""
    gallery = build_gallery({2: [3, 1, 1, 0], 0: [], 3: [2]})
    protocol = build_protocol(RECORDS, gallery, "made")
    assert protocol.name == "made"
    assert unpack(protocol) == {
        0: ([], []),
        2: (
            ["d", "b", "b", "a"],
            [("a", BOXES[0]), ("b", BOXES[3]), ("b", BOXES[4]), ("d", BOXES[5])],
        ),
        3: (["c"], []),
    }
    with pytest.raises(InputError, match="protocol 'made': query 9 is on no image of the dataset"):
        build_protocol(RECORDS, build_gallery({9: [0]}), "made")


def test_protocols_are_loaded_by_name(tiny_data):
    name = str(tiny_data / "gallery.json")
    records = get_records(name)
    assert [protocol.name for protocol in load_protocols(name, records)] == ["all"]
    names = ["cross_camera", "all", "all"]
    protocols = load_protocols(name, records, names)
    assert [protocol.name for protocol in protocols] == ["cross_camera", "all"]
    assert unpack(protocols[1]) == unpack(full_gallery_protocol(records))
    with pytest.raises(InputError, match="no protocol 'g50'; expected one of all, cross_camera"):
        load_protocols(name, records, ["g50"])


def test_an_image_without_camera_is_named(tiny_data):
    name = str(tiny_data / "gallery.json")
    records = get_records(name)
    del records[4]["cam_id"]
    image = records[4]["image_id"]
    with pytest.raises(InputError, match=f"image '{image}': 'cam_id' is missing; expected one on"):
        load_protocols(name, records, ["cross_camera"])
    with pytest.raises(InputError, match="no protocol 'g50'; expected one of all$"):
        load_protocols(name, records, ["g50"])
