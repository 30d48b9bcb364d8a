"""The storage of galleries needs neither Detectron2 nor the model, also at import."""

import subprocess
import sys

CHECK = """
import sys
import clsa_search.gallery

heavy = {"detectron2", "cv2", "pymilvus", "clsa_search.modeling", "clsa_search.retrieval"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_the_gallery_loads_neither_detectron2_nor_the_model():
    subprocess.run([sys.executable, "-c", CHECK], check=True)
