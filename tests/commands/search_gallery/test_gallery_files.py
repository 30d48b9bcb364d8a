"""clsa-search on the files of a gallery: lists, deletion, moves, links and copies."""

import json
import os
import sqlite3

from clsa_search.gallery import Filter, open_store
from clsa_search.retrieval import Indexer, IndexOptions, open_gallery
from clsa_search.retrieval.result_images import read_result_images
from tests.support.footage import write_image
from tests.support.search_command import query


def test_file_names_need_not_be_text(run, gallery, footage, tmp_path):
    odd = footage / "caf\udce9.png"
    write_image(footage / "odd.png", {0: 30}).rename(odd)
    assert "two.png" in run("query", "--store", gallery, "--image", odd)
    assert (
        "caf\N{REPLACEMENT CHARACTER}.png" in (tmp_path / "output/query/results.json").read_text()
    )
    assert len(query(run, "--image", odd)[0]) == 6


def test_reindexed_files_are_shown_again(gallery, footage):
    """In a gallery open all the time, too."""
    with open_gallery(gallery) as opened:
        sources = {"where": Filter(sources=[str(footage / "one.png")]), "k": 1}
        for left in (10, 12):
            write_image(footage / "one.png", {0: left})
            os.utime(footage / "one.png", ns=(0, left))
            ((_, found),) = read_result_images([opened.search_by_id(11, **sources)])
            assert "changed since it was indexed" in str(found)
            indexer = Indexer(opened.predictor, opened.store, IndexOptions(rate=2))
            indexer.plan([footage / "one.png"])
            indexer.run()
            ((_, found),) = read_result_images([opened.search_by_id(11, **sources)])
            assert found.box[0] == left


def test_copies_have_the_same_matches(run, gallery, footage):
    (before,) = query(run, "--image", footage / "two.png", per="sighting")
    assert "11 detections of street.db copied" in run("copy", gallery, "copy.db")
    with open_store("copy.db") as copy:
        assert copy.count() == 11 and all(source.is_complete for source in copy.sources())
    printed = run("query", "--store", "copy.db", "--json", "--image", footage / "two.png")
    assert json.loads(printed)["queries"][0]["matches"] == before


def test_files_are_listed_and_deleted(run, fails, gallery, footage):
    rows = {tuple(line.split()) for line in run("list", gallery).splitlines()}
    assert (str(footage / "one.png"), "2", "2", "yes") in rows
    assert (str(footage / "door.avi"), "8", "2", "yes") in rows
    printed = run("delete", gallery, "footage/door.avi")
    assert f"{footage}/door.avi: 8 detections\n" in printed
    assert "8 of 11 detections in 1 file\nnothing is deleted without --yes" in printed
    assert "more than half; expected --force" in fails(
        "delete", gallery, "footage/door.avi", "--yes"
    )
    assert "11 detections in 3 files" in run("list", gallery)
    printed = run("delete", gallery, "footage/door.avi", "--yes", "--force")
    assert "8 detections deleted" in printed
    assert "3 detections in 2 files" in run("list", gallery)
    assert "door.avi is not indexed; expected" in fails("delete", gallery, "footage/door.avi")


def test_files_of_a_damaged_gallery_are_deleted(run, fails, gallery, footage):
    connection = sqlite3.connect(gallery, isolation_level=None)
    connection.execute("DELETE FROM checksums WHERE id IN (SELECT max(id) FROM checksums)")
    connection.close()
    assert "numbers of detections disagree; expected a gallery" in fails("list", gallery)
    for name, count in (("one.png", 2), ("two.png", 1)):
        assert f": {count} detection" in run("delete", gallery, f"footage/{name}", "--yes")
    assert "detections disagree; expected" in fails("delete", gallery, "footage/one.png")
    (footage / "door.avi").rename(footage / "gate.avi")
    assert "detections disagree; expected" in fails("prune", gallery)
    printed = run("delete", gallery, "footage/door.avi", "--yes", "--force")
    assert "door.avi: 8 detections deleted" in printed
    assert "0 detections in 0 files" in run("list", gallery)


def test_gone_files_are_listed_and_then_deleted(run, fails, gallery, footage):
    assert run("prune", gallery) == "street.db: 0 of 3 files gone\n"
    (footage / "door.avi").unlink()
    printed = run("prune", gallery)
    assert f"{footage}/door.avi: 8 detections\n" in printed
    assert "1 of 3 files gone; nothing is deleted without --yes" in printed
    assert "11 detections in 3 files" in run("list", gallery)
    assert "8 of 11 detections would be deleted, more than half" in fails("prune", gallery, "--yes")
    assert "11 detections in 3 files" in run("list", gallery)
    printed = run("prune", gallery, "--yes", "--force", "--audit")
    assert f"{footage}/door.avi: 8 detections deleted" in printed
    assert "door.avi" not in run("list", gallery, "--audit")
    assert "3 detections in 2 files" in run("list", gallery)


def test_moved_folders_are_followed(run, fails, gallery, footage, tmp_path):
    (before,) = query(run, "--image", footage / "two.png")
    footage.rename(tmp_path / "archive")
    printed = run("relink", gallery, "footage", "archive")
    assert f"{tmp_path}/archive/door.avi: 8 detections\n" in printed
    assert "street.db: 3 files moved, 0 left as before" in printed
    (after,) = query(run, "--image", "archive/two.png")
    assert [match["detection"] for match in after] == [match["detection"] for match in before]
    words = ("index", "--weights", "weights.pth", "--store", gallery, "--rate", 2, "archive")
    assert "3 files already indexed" in run(*words)
    assert "footage: is not indexed" in fails("relink", gallery, "footage", "archive")
    (tmp_path / "archive" / "one.png").rename(tmp_path / "three.png")
    (tmp_path / "three.png").write_bytes(b"")
    printed = run("relink", gallery, "archive/one.png", "three.png", status=1)
    assert "three.png: has 0 bytes; expected" in printed and "0 files moved, 1 left" in printed


def test_files_are_named_by_links_too(run, gallery, footage, tmp_path):
    (tmp_path / "link").symlink_to(footage)
    (matches,) = query(run, "--image", footage / "two.png", "--source", "link/one.png")
    assert [match["path"] for match in matches] == [str(footage / "one.png")]
    printed = run("delete", gallery, "link/door.avi", "--yes", "--force")
    assert f"{footage}/door.avi: 8 detections deleted" in printed
