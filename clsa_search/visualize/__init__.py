"""Images for people to look at: boxes, ranking sheets, training curves, breakdowns.

Figures use Matplotlib's `Figure` directly: no pyplot, no global state, no screen.
"""

from clsa_search.structures import PersonImage
from clsa_search.visualize.boxes import draw_boxes, draw_numbered_boxes, write_numbered_boxes
from clsa_search.visualize.breakdown_plots import (
    draw_bucket_lines,
    draw_buckets,
    draw_gallery_sizes,
)
from clsa_search.visualize.curves import draw_curves
from clsa_search.visualize.dataset_samples import draw_samples
from clsa_search.visualize.evaluation_sheets import draw_changes, draw_rankings
from clsa_search.visualize.ranking_sheets import draw_ranking_overview, draw_ranking_sheet
from clsa_search.visualize.tiles import MatchImage, Ranking, make_placeholder, trim_to_tile

__all__ = [
    "MatchImage",
    "PersonImage",
    "Ranking",
    "draw_boxes",
    "draw_bucket_lines",
    "draw_buckets",
    "draw_changes",
    "draw_curves",
    "draw_gallery_sizes",
    "draw_numbered_boxes",
    "draw_ranking_overview",
    "draw_ranking_sheet",
    "draw_rankings",
    "draw_samples",
    "make_placeholder",
    "trim_to_tile",
    "write_numbered_boxes",
]
