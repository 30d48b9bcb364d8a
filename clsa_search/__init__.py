"""Person search with Detectron2: detect people in whole images and find one person again."""

from typing import TYPE_CHECKING

from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.config import add_clsa_search_config
    from clsa_search.data import register_custom_json
    from clsa_search.engine import PersonSearchTrainer, load_config
    from clsa_search.evaluation import PersonSearchEvaluator, load_predictions
    from clsa_search.modeling import PersonSearchRCNN
    from clsa_search.retrieval import PersonSearchPredictor, open_gallery
    from clsa_search.structures import ImageDetections
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "ImageDetections": "clsa_search.structures",
            "PersonSearchEvaluator": "clsa_search.evaluation",
            "PersonSearchPredictor": "clsa_search.retrieval",
            "PersonSearchRCNN": "clsa_search.modeling",
            "PersonSearchTrainer": "clsa_search.engine",
            "add_clsa_search_config": "clsa_search.config",
            "load_config": "clsa_search.engine",
            "load_predictions": "clsa_search.evaluation",
            "open_gallery": "clsa_search.retrieval",
            "register_custom_json": "clsa_search.data",
        },
    )

__all__ = [
    "ImageDetections",
    "PersonSearchEvaluator",
    "PersonSearchPredictor",
    "PersonSearchRCNN",
    "PersonSearchTrainer",
    "add_clsa_search_config",
    "load_config",
    "load_predictions",
    "open_gallery",
    "register_custom_json",
]
__version__ = "0.1.0"


def __dir__() -> list[str]:
    return __all__
