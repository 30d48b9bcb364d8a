"""Pictures for people: boxes on scenes, ranking sheets, training curves.

Figures are drawn with Matplotlib's Figure objects alone: no pyplot, no global state, no screen.
"""

from clsa_search.structures import PersonImage
from clsa_search.visualize.boxes import draw_boxes, draw_numbered_boxes, write_numbered_boxes
from clsa_search.visualize.breakdown_plots import (
    draw_bucket_lines,
    draw_buckets,
    draw_gallery_sizes,
)
from clsa_search.visualize.curves import draw_curves
from clsa_search.visualize.rankings import draw_changes, draw_rankings
from clsa_search.visualize.sheets import draw_ranking_overview, draw_ranking_sheet
from clsa_search.visualize.tiles import MatchImage, Ranking, trim_to_tile

__all__ = [
    "MatchImage",
    "Ranking",
    "PersonImage",
    "draw_bucket_lines",
    "draw_buckets",
    "draw_changes",
    "draw_curves",
    "draw_gallery_sizes",
    "write_numbered_boxes",
    "draw_boxes",
    "draw_ranking_overview",
    "draw_ranking_sheet",
    "draw_rankings",
    "draw_numbered_boxes",
    "trim_to_tile",
]
