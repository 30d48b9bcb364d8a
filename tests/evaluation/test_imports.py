"""The evaluation needs neither Detectron2 nor the model, also at import."""

import subprocess
import sys

CHECK = """
import sys
import clsa_search.evaluation as evaluation

for name in set(evaluation.__all__) - {"PersonSearchEvaluator", "load_protocols"}:
    getattr(evaluation, name)
heavy = [name for name in ("detectron2", "clsa_search.modeling") if name in sys.modules]
assert not heavy, heavy
"""


def test_evaluation_loads_neither_detectron2_nor_the_model():
    subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_every_exported_name_exists():
    import clsa_search.evaluation as evaluation

    for name in evaluation.__all__:
        assert getattr(evaluation, name) is not None
