"""Read a public searching model from its file."""

from clsa_search.checkpoint.public_weights import PublicSearcher, read_state_dict
from clsa_search.checkpoint.search_layouts import find_searcher
from clsa_search.errors import InputError


def read_searcher(path: str) -> PublicSearcher:
    """Read the searching model in a file.

    Raises:
        InputError: the file cannot be read, or holds no such model; see :func:`find_searcher`.
    """
    file = read_state_dict(path)
    searcher = find_searcher(file)
    if searcher is None:
        raise InputError(
            f"{path}: holds no searching model: none of its {len(file.tensors)} tensors "
            f"({', '.join([*file.tensors][:3])} ...) is below roi_heads.embedding_head; expected a "
            "checkpoint of SeqNet or NAE"
        )
    return searcher
