"""What a user says of times and boxes, in words."""

from clsa_search.retrieval.query_selection import join_negatives, parse_box


def test_boxes_are_four_numbers():
    assert parse_box("1,2.5,30,4e1", "a.jpg").tolist() == [1, 2.5, 30, 40]


def test_what_is_below_0_belongs_to_the_option_before_it():
    words = ["--box", "-5,61", "--since", "-.5", "--until", "--json", "--top", "-5", "-x"]
    assert join_negatives(words) == ["--box=-5,61", "--since=-.5", *words[4:]]
