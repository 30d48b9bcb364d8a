"""Person search in own images and videos: predictor, indexing, search of a gallery, results."""

from typing import TYPE_CHECKING

from clsa_search.lazy import lazy_exports

if TYPE_CHECKING:
    from clsa_search.retrieval.gallery_search import GallerySearch, open_gallery
    from clsa_search.retrieval.index_options import IndexOptions, IndexReport
    from clsa_search.retrieval.indexer import Indexer
    from clsa_search.retrieval.predictor import PersonSearchPredictor
    from clsa_search.retrieval.report import write_report, write_results
    from clsa_search.retrieval.result_images import draw_results
    from clsa_search.retrieval.results import QueryResult, format_results
    from clsa_search.retrieval.search_answers import results_as_json
    from clsa_search.retrieval.video import Video
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "GallerySearch": "clsa_search.retrieval.gallery_search",
            "IndexOptions": "clsa_search.retrieval.index_options",
            "IndexReport": "clsa_search.retrieval.index_options",
            "Indexer": "clsa_search.retrieval.indexer",
            "PersonSearchPredictor": "clsa_search.retrieval.predictor",
            "QueryResult": "clsa_search.retrieval.results",
            "Video": "clsa_search.retrieval.video",
            "draw_results": "clsa_search.retrieval.result_images",
            "format_results": "clsa_search.retrieval.results",
            "open_gallery": "clsa_search.retrieval.gallery_search",
            "results_as_json": "clsa_search.retrieval.search_answers",
            "write_report": "clsa_search.retrieval.report",
            "write_results": "clsa_search.retrieval.report",
        },
    )

__all__ = [
    "GallerySearch",
    "IndexOptions",
    "IndexReport",
    "Indexer",
    "PersonSearchPredictor",
    "QueryResult",
    "Video",
    "draw_results",
    "format_results",
    "open_gallery",
    "results_as_json",
    "write_report",
    "write_results",
]
