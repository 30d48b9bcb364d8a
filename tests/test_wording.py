"""Counts agree with their nouns."""

from clsa_search.wording import count_noun


def test_counts_agree_with_their_nouns():
    assert count_noun(1, "image") == "1 image"
    assert [count_noun(count, "image") for count in (0, 2)] == ["0 images", "2 images"]
    assert [count_noun(count, "query", "queries") for count in (1, 3)] == ["1 query", "3 queries"]
    assert count_noun(2816, "detection") == "2,816 detections"
