"""Pictures for people: boxes on scenes, ranking sheets, training curves.

Figures are drawn with Matplotlib's Figure objects alone: no pyplot, no global state, no screen.
"""

from clsa_search.visualize.breakdown import (
    draw_bucket_lines,
    draw_buckets,
    draw_gallery_sizes,
)
from clsa_search.visualize.curves import draw_curves
from clsa_search.visualize.people import draw_people
from clsa_search.visualize.rankings import draw_changes, draw_rankings
from clsa_search.visualize.sheets import (
    RankedSighting,
    Ranking,
    Sighting,
    draw_ranking_overview,
    draw_ranking_sheet,
)

__all__ = [
    "RankedSighting",
    "Ranking",
    "Sighting",
    "draw_bucket_lines",
    "draw_buckets",
    "draw_changes",
    "draw_curves",
    "draw_gallery_sizes",
    "draw_people",
    "draw_ranking_overview",
    "draw_ranking_sheet",
    "draw_rankings",
]
