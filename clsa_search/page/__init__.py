"""A local web page for looking into a gallery: whom to search for, and where they are.

Needs Gradio, which the rest of the package does not: install `clsa_search[page]`.
"""

from clsa_search.errors import InputError

try:
    from clsa_search.page.server import build_page, serve
except ModuleNotFoundError as error:
    if error.name != "gradio":
        raise
    raise InputError(
        "gradio: is not installed, the page is built with it; expected: "
        "pip install 'clsa_search[page]'"
    ) from error

__all__ = ["build_page", "serve"]
