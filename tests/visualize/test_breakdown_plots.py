"""Plots of metrics over scale, target height and gallery size."""

from dataclasses import replace

from clsa_search.evaluation import (
    compare_gallery_sizes,
    evaluate_scale_ratios,
    evaluate_search,
    evaluate_target_heights,
)
from clsa_search.visualize import draw_buckets, draw_gallery_sizes
from clsa_search.visualize.curves import COLORS
from tests.support.figure_cases import color_share, make_searched_dataset


def test_breakdowns_are_plotted(tmp_path):
    records, protocol, predictions = make_searched_dataset(tmp_path)
    result = evaluate_search(predictions, protocol)
    buckets = {
        "scale_ratio": evaluate_scale_ratios(result, protocol, records),
        "target_height": evaluate_target_heights(result, protocol),
    }
    draw_buckets(buckets, tmp_path / "new" / "scale.png")
    bar = color_share(tmp_path / "new" / "scale.png", COLORS[0])
    assert bar > 0.001
    perfect = {k: [replace(b, mAP=100) for b in values] for k, values in buckets.items()}
    draw_buckets(perfect, tmp_path / "perfect.png")
    assert color_share(tmp_path / "perfect.png", COLORS[0]) > 1.2 * bar
    sizes = compare_gallery_sizes([result, result], [protocol, protocol])
    draw_gallery_sizes(sizes, tmp_path / "sizes.png")
    assert color_share(tmp_path / "sizes.png", COLORS[0]) > 0
