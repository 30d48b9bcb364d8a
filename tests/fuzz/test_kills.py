"""Killed works are continued, and nothing stored is lost; `python -m tests.fuzz` kills more."""

import random

import pytest

from tests.fuzz.killed_works import SUBJECTS
from tests.fuzz.kills import kill_often


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_killed_work_ends_like_an_uninterrupted_one(name, tmp_path):
    assert kill_often(SUBJECTS[name], tmp_path, 1, random.Random(name)) == 1
