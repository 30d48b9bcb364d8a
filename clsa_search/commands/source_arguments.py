"""Parsers of the commands on the sources and sightings of a gallery."""

import argparse
from pathlib import Path
from typing import Any

from clsa_search.commands.argument_types import number
from clsa_search.commands.calibration_arguments import add_calibrate_options
from clsa_search.commands.deletion_arguments import add_delete_options, add_retention_options
from clsa_search.commands.export_arguments import add_export_options
from clsa_search.commands.people_arguments import add_people_options
from clsa_search.commands.placement_arguments import add_placement_options
from clsa_search.commands.verdict_arguments import add_verdict_options


def add_source_parsers(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the parsers of the commands on sources, sightings and people."""
    listed = commands.add_parser("list", help="list the indexed files")
    deleted = commands.add_parser("delete", help="delete files, sightings or people")
    exported = commands.add_parser("export", help="write a table, crops, clips or a case")
    copied = commands.add_parser("copy", help="copy a gallery to another file or server")
    pruned = commands.add_parser("prune", help="delete files that are gone from disk")
    relinked = commands.add_parser(
        "relink", aliases=["relocate"], help="follow a moved file or folder"
    )
    calibrated = commands.add_parser("calibrate", help="learn how alike strangers are")
    judged = commands.add_parser("verdict", help="say which matches of a query are the person")
    retained = commands.add_parser("retention", help="delete sightings after a number of days")
    repaired = commands.add_parser("repair", help="delete damaged notes, and keep all others")
    scrubbed = commands.add_parser("scrub", help="remove the bytes of what was deleted")
    add_people_options(commands.add_parser("people", help="watch list: named people"))
    retimed = commands.add_parser("retime", help="give indexed files another time or camera")
    linked = commands.add_parser("link", help="link detections to sightings, without the model")
    for command in (
        *(listed, deleted, retained, exported, copied, pruned, relinked, retimed, linked),
        *(calibrated, scrubbed, judged, repaired),
    ):
        command.add_argument("store", help="file, or http://HOST:19530/NAME of Milvus")
    add_calibrate_options(calibrated)
    add_verdict_options(judged)
    listed.add_argument("--audit", action="store_true", help="show the log of deletions instead")
    add_delete_options(deleted)
    add_retention_options(retained)
    repaired.add_argument("--yes", action="store_true", help="delete; otherwise only list them")
    scrubbed.add_argument("--vacuum", action="store_true", help="write the file again, smaller")
    add_export_options(exported)
    copied.add_argument("target", metavar="TO", help="address of the copy")
    pruned.add_argument("--yes", action="store_true", help="delete them; otherwise only list them")
    pruned.add_argument("--force", action="store_true", help="also more than half of the gallery")
    pruned.add_argument("--audit", action="store_true", help="log counts, see `list --audit`")
    linked.add_argument("--again", action="store_true", help="all files, also the linked ones")
    relinked.add_argument("old", metavar="OLD", help="earlier path of a file or folder")
    relinked.add_argument("new", metavar="NEW", help="its path now")
    retimed.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files or folders")
    retimed.add_argument("--shift", type=number(-1e12, 1e12), metavar="SECONDS", help="add them")
    add_placement_options(retimed, "--start")
