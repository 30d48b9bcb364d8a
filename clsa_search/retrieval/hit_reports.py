"""Reports of the watch list's hits: lines of JSON, or a program that gets each one."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict

from clsa_search.retrieval.sighting_rows import format_iso
from clsa_search.retrieval.watch_hits import Hit

HOOK_SECONDS = 30.0
"""A program that takes longer is ended."""


def format_hit(hit: Hit) -> str:
    """Return a hit as one line of JSON; times are ISO 8601 in UTC."""
    values = asdict(hit)
    del values["note_id"]
    values |= {"first": format_iso(hit.first), "last": format_iso(hit.last)}
    text = json.dumps(values, ensure_ascii=False)
    return text.encode(errors="replace").decode()


def run_hook(words: Sequence[str], hit: Hit) -> str | None:
    """Run a program with a hit on its standard input; return the reason if it failed."""
    try:
        done = subprocess.run(
            list(words),
            input=f"{format_hit(hit)}\n".encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=HOOK_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"hook {words[0]}: {error}"
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        return f"hook {words[0]}: ended with {done.returncode}: {last[:200]}"
    return None
