"""Local web page to search a gallery: choose a person in an image, look at the matches.

The page needs Gradio, an optional dependency: install `clsa_search[page]`.
"""

from clsa_search.errors import InputError

try:
    from clsa_search.page.server import build_page, serve
except ModuleNotFoundError as error:
    if error.name != "gradio":
        raise
    raise InputError(
        "gradio: is not installed, and the page needs it; expected: pip install 'clsa_search[page]'"
    ) from error

__all__ = ["build_page", "serve"]
