"""Miniature datasets in the published layouts, with an example of each peculiarity."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

EMPTY = np.zeros((0, 0))
BOX_FIELDS = ("imname", "idlocate", "ishard")


def structs(fields, rows):
    """Return a 1 x n array of structs, as MATLAB stores it."""
    array = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        for field, value in zip(fields, row, strict=True):
            array[0, i][field] = value
    return array


def cells(rows):
    """Return a matrix of cells with the given rows."""
    array = np.empty((len(rows), len(rows[0])), dtype=object)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            array[i, j] = value
    return array


def box_struct(name, box):
    """Return image, box in the smallest number type, and whether the box is hard to see."""
    box = EMPTY if box is None else np.array([box], dtype=smallest_type(box))
    return name, box, np.array([[0]], dtype=np.uint8)


def smallest_type(box):
    if any(isinstance(v, float) for v in box):
        return np.float64
    return np.min_scalar_type(max(box)) if min(box) >= 0 else np.int16


def write_images(folder, names, size):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 120, 150)).save(folder / name)


def write_mat(path, name, value, compressed=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {name: value}, do_compression=compressed)


# -- CUHK-SYSU ------------------------------------------------------------------------------------

CUHK_SIZE = (320, 200)
CUHK_BOXES = {
    "s1.jpg": [(200, 100, 100, 60), (5, 5, 20, 40)],  # as uint8 200 + 100 is 44
    "s2.jpg": [(10, 10, 20, 40), (50, 10, 0, 40), (60, 10, 20, -4), (90, 10, 20, 40)],
    "s3.jpg": [],
    "s10.jpg": [(10, 20, 30, 60), (100, 20, 30, 60)],
    "s11.jpg": [(12, 20, 30, 60), (300, 150, 60, 90)],  # the last one leaves the image
    "s12.jpg": [(14, 20, 30, 60), (150, 20, 30, 60)],
    "s13.jpg": [(16, 20, 30, 60)],
    "s14.jpg": [(18, 20, 30, 60), (400, 20, 30, 60)],  # the last one is wholly outside
    "s15.jpg": [],
    "s16.jpg": [(20, 20, 30, 60)],
}
CUHK_POOL = ["s12.jpg", "s11.jpg", "s10.jpg", "s13.jpg", "s14.jpg", "s15.jpg", "s16.jpg"]
CUHK_TRAIN = [
    ("p1", [("s1.jpg", (200, 100, 100, 60)), ("s2.jpg", (10, 10, 20, 40))]),
    ("p2", [("s2.jpg", (90, 10, 20, 40)), ("s1.jpg", (5, 5, 20, 40))]),
]
CUHK_SEARCHES = [  # person, query, positives, other gallery images
    ("p7", ("s10.jpg", (10, 20, 30, 60)), [("s11.jpg", (12, 20, 30, 60))], ["s15.jpg", "s16.jpg"]),
    # another box of the query's own image
    ("p8", ("s12.jpg", (14, 20, 30, 60)), [("s12.jpg", (150, 20, 30, 60))], ["s10.jpg", "s15.jpg"]),
    # the query's own box; an image listed twice
    ("p9", ("s13.jpg", (16, 20, 30, 60)), [("s13.jpg", (16, 20, 30, 60))], ["s16.jpg", "s16.jpg"]),
    # a positive missing from Images.mat
    ("p5", ("s16.jpg", (20, 20, 30, 60)), [("s15.jpg", (7, 7, 30.5, 60))], ["s10.jpg", "s11.jpg"]),
]
CUHK_VARIABLES = {f"TestG{g}": f"train_test/TestG{g}.mat" for g in (50, 100, 500, 1000, 2000, 4000)}
CUHK_VARIABLES |= {"Occlusion1": "subset/Occlusion.mat", "Test_Size": "subset/Resolution.mat"}


def search_rows(searches, make_gallery=structs, number=None):
    rows = []
    for person, query, found, others in searches:
        listed = [*found, *((name, None) for name in others)]
        gallery = [box_struct(*entry) for entry in listed]
        rows.append(
            (
                structs((*BOX_FIELDS, "idname"), [(*box_struct(*query), person)]),
                structs(BOX_FIELDS, gallery) if make_gallery is structs else cells(gallery),
                *([] if number is None else [np.array([[number]], dtype=np.uint8)]),
            )
        )
    return structs(("Query", "Gallery", *([] if number is None else ["occluded"])), rows)


def images_struct(boxes):
    return structs(
        ("imname", "nAppear", "box"),
        [
            (
                name,
                len(people),
                structs(("idlocate", "ishard"), [box_struct("", box)[1:] for box in people])
                if people
                else EMPTY,
            )
            for name, people in boxes.items()
        ],
    )


def write_cuhk_sysu(root: Path) -> Path:
    """Write three training images, a pool of seven images and four queries."""
    write_images(root / "Image" / "SSM", CUHK_BOXES, CUHK_SIZE)
    write_mat(root / "annotation" / "Images.mat", "Img", images_struct(CUHK_BOXES))
    write_mat(root / "annotation" / "pool.mat", "pool", cells([[name] for name in CUHK_POOL]))
    train = [
        [structs(("idname", "nAppear", "scene"), [(name, len(seen), box_structs(seen))])]
        for name, seen in CUHK_TRAIN
    ]
    write_mat(root / "annotation/test/train_test/Train.mat", "Train", cells(train))
    for variable, name in CUHK_VARIABLES.items():
        some = CUHK_SEARCHES if variable.startswith("TestG") else CUHK_SEARCHES[2:0:-1]
        # the published file has a third field with a number
        rows = search_rows(some, number=1 if variable == "Occlusion1" else None)
        write_mat(root / "annotation" / "test" / name, variable, rows, "50" in name)
    return root


def box_structs(boxes):
    return structs(BOX_FIELDS, [box_struct(*box) for box in boxes])


# -- MovieNet-PS ----------------------------------------------------------------------------------

MOVIE_BOXES = {
    "tt1/a.jpg": [(1, 2, 30, 40)],
    "tt1/b.jpg": [(3, 2, 30, 40)],
    "tt2/c.jpg": [(5, 2, 30, 40)],
    "tt2/d.jpg": [(7, 2, 30, 40)],
    "tt3/e.jpg": [(9, 2, 30, 40)],
    "tt3/q.jpg": [(11, 2, 30, 40)],
}


def write_movienet_ps(root: Path) -> Path:
    """Write cells instead of the structs of CUHK-SYSU; the query's image is in no pool."""
    write_images(root / "Image", MOVIE_BOXES, (80, 60))
    write_mat(root / "annotation" / "Images.mat", "Img", images_struct(MOVIE_BOXES))
    searches = root / "annotation" / "test" / "train_test"
    for n in (10, 30, 50, 70, 100):
        seen = [("tt1/b.jpg", (3, 2, 30, 40)), ("tt1/a.jpg", (1, 2, 30, 40))][: n // 10]
        rows = cells([[box_struct(*entry)[0], *box_struct(*entry)[1:]] for entry in seen])
        write_mat(searches / f"Train_app{n}.mat", "Train", cells([["m1", len(seen), rows]] * 1))
    pool = ["tt2/c.jpg", "tt2/d.jpg", "tt3/e.jpg"]
    found = [("tt2/c.jpg", (5, 2, 30, 40)), ("tt2/d.jpg", (7, 2, 30, 40))]
    for i, size in enumerate((2000, 4000, 10000)):
        names = [[name] for name in pool[: 1 + i]]
        write_mat(root / "annotation" / f"pool_{size}.mat", "pool", cells(names))
        query = ("tt3/q.jpg", (11, 2, 30, 40))
        rows = search_rows([("m9", query, found[: 1 + i], pool[2 : 1 + i])], make_gallery=cells)
        write_mat(searches / f"TestG{size}.mat", f"TestG{size}", rows)
    return root


# -- PRW ------------------------------------------------------------------------------------------

PRW_PEOPLE = {
    "c1s1_000001": ("box_new", [(1, 10, 5, 20, 40), (483, 50, 5, 20, 40), (-2, 80, 5, 20, 40)]),
    "c6s2_000007": ("anno_file", [(932, -6.5, -3, 20, 40), (1, 60, 5, 20.25, 40)]),
    "c2s1_000002": ("anno_previous", [(933, 10, 5, 20, 40), (479, 50, 5, 20, 40)]),
    "c3s1_000003": ("box_new", [(933, 12, 5, 20, 40), (933, 52, 5, 20, 40)]),
    "c3s1_000004": ("box_new", []),
}
PRW_FRAMES = {"train": ["c6s2_000007", "c1s1_000001"]}
PRW_FRAMES["test"] = ["c3s1_000003", "c2s1_000002", "c3s1_000004"]
PRW_QUERIES = [(479, 50, 5, 20, 40, "c2s1_000002"), (933, 12, 5, 20, 40, "c3s1_000003")]


def write_prw(root: Path) -> Path:
    """Write two training frames, three gallery frames, two queries; lines end as on Windows."""
    for name, (variable, people) in PRW_PEOPLE.items():
        write_images(root / "frames", [f"{name}.jpg"], (72, 57) if name[1] == "6" else (192, 108))
        rows = np.array(people, dtype=np.float64).reshape(-1, 5)
        write_mat(root / "annotations" / f"{name}.jpg.mat", variable, rows)
    for split, frames in PRW_FRAMES.items():
        names = cells([[name] for name in frames])
        write_mat(root / f"frame_{split}.mat", f"img_index_{split}", names)
    lines = [" ".join(map(str, query)) for query in PRW_QUERIES]
    (root / "query_info.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    return root


# -- PoseTrack21 ----------------------------------------------------------------------------------


def write_posetrack21(root: Path) -> Path:
    """Write two training frames, three gallery frames of two videos and two queries."""

    def image(number, split, video):
        name = f"images/{split}/{video:06d}_x_{split}/{number:06d}.jpg"
        write_images(root, [name], (64, 48))
        regions = {"ignore_regions_x": [[1, 5, 5]], "ignore_regions_y": [[1, 1, 5]]}
        return {"id": number, "file_name": name, "vid_id": f"{video:06d}"} | regions

    def person(number, image_id, bbox, person_id):
        fields = {"bbox": bbox, "person_id": person_id, "keypoints": [], "category_id": 1}
        return {"id": number, "image_id": image_id, "track_id": 0} | fields

    train = [image(1, "train", 4), image(2, "train", 4)]
    val = [image(11, "val", 7), image(12, "val", 7), image(13, "val", 8)]
    documents = {
        "train": (train, [person(1, 2, [-4.5, 3, 10, 50], 900), person(2, 1, [1, 1, 9, 9], 17)]),
        "val": (
            val,
            [
                person(3, 11, [4, 4, 10, 30], 5001),
                person(4, 12, [6, 4, 10, 30], 5001),
                person(5, 13, [8, 4, 10, 30], 40),
                person(6, 13, [70, 4, 10, 30], 40),  # wholly outside
                person(7, 13, [20, 4, 10, 0], 40),  # without size
                person(8, 12, [30, 4, 10, 30], -1),
            ],
        ),
        "query": (
            [val[2], val[0]],
            [person(1, 13, [8, 4, 10, 30], 40), person(2, 11, [4, 4, 10, 30], 5001)],
        ),
    }
    folder = root / "posetrack_person_search"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, annotations) in documents.items():
        document = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
        (folder / f"{name}.json").write_text(json.dumps(document))
    return root


WRITERS = {
    "cuhk_sysu": write_cuhk_sysu,
    "movienet_ps": write_movienet_ps,
    "prw": write_prw,
    "posetrack21": write_posetrack21,
}


def boxes_by_image(records):
    """Return the (person id, box) pairs of each image id."""
    return {
        record["image_id"]: [(a["person_id"], tuple(a["bbox"])) for a in record["annotations"]]
        for record in records
    }


def list_queries(records):
    """Return (image id, person id, box) of each query, by query id."""
    return [
        (image, query["person_id"], tuple(query["bbox"]))
        for _, image, query in sorted(
            (query["query_id"], record["image_id"], query)
            for record in records
            for query in record.get("queries", [])
        )
    ]


def gallery_names(gallery, records):
    """Return the gallery image ids of each query id."""
    return {
        query_id: [records[i]["image_id"] for i in gallery.images.row(query)]
        for query, query_id in enumerate(gallery.query_ids.tolist())
    }
