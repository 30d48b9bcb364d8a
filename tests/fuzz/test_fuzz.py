"""Bad inputs end in an InputError or in an answer: never in a traceback.

CLSA_FUZZ_TRIALS sets the number of trials; `python -m tests.fuzz` prints their table.
"""

import os

import pytest

pytest.importorskip("fastapi", reason="needs clsa_search[page]: FastAPI is not installed")

from tests.fuzz.harness import run_trials
from tests.fuzz.kinds import KINDS, count_trials

COUNTS = count_trials(int(os.environ.get("CLSA_FUZZ_TRIALS", "1200")))


@pytest.mark.parametrize("name", KINDS)
def test_bad_inputs_are_refused_or_answered(name, tmp_path):
    outcome = run_trials(name, KINDS[name].kind, tmp_path, range(COUNTS[name]))
    assert outcome.trials == COUNTS[name]
    assert not outcome.failures, "\n\n".join(outcome.failures[:3])
