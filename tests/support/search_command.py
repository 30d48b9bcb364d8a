"""Words of the command clsa-search in tests."""

import json

INDEX = "index", "--weights", "weights.pth", "--store", "street.db"


def query(run, *argv, per="image"):
    """Return the matches of each query of a command."""
    results = json.loads(run("query", "--store", "street.db", "--json", "--per", per, *argv))
    return [query["matches"] for query in results["queries"]]
