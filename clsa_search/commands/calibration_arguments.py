"""`clsa-search calibrate`: its options and its action."""

import argparse
from typing import TYPE_CHECKING

from clsa_search.wording import count_noun

if TYPE_CHECKING:
    from clsa_search.gallery import GalleryStore


def add_calibrate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--apart",
        nargs="*",
        action="append",
        metavar="CAMERA",
        help="cameras that never see one person at the same time, without names all of them; may "
        "be repeated. Later calibrations remember it",
    )


def calibrate(args: argparse.Namespace) -> None:
    """Learn from the gallery how alike strangers are."""
    from clsa_search.gallery import open_store
    from clsa_search.retrieval.gallery_calibration import calibrate_gallery

    with open_store(args.store) as store:
        apart = None
        if args.apart is not None:
            apart = [names or store.cameras() for names in args.apart]
        calibrate_gallery(store, apart, warn=print_problem)
        print_calibration(store)


def print_problem(reason: str) -> None:
    """Print a problem of the gallery as a line."""
    from clsa_search.retrieval.results import printable

    print(f"problem: {printable(reason)}", flush=True)


def print_calibration(store: "GalleryStore") -> None:
    """Print what the stored calibration of a gallery rests on."""
    from clsa_search.retrieval.stored_calibration import read_calibration
    from clsa_search.sightings.calibration import MIN_PAIRS

    known = read_calibration(store)
    if known is None:
        return
    pairs = f"{count_noun(known.pairs, 'pair')} of certain strangers"
    if known.concurrent:
        pairs += f" ({known.concurrent:,} on cameras apart)"
    if known.tail is None:
        print(
            f"{store.address}: not calibrated: {pairs}, fewer than {MIN_PAIRS}; searches give "
            "ranks only"
        )
        return
    print(f"{store.address}: calibrated by {pairs} in {count_noun(known.tracklets, 'sighting')}")
    if known.has_uniforms:
        print(
            f"{store.address}: {known.uniform:.1%} of these pairs look as alike as people in "
            "uniform: expect strangers among the best matches"
        )
