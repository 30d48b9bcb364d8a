"""Serving the page: on this machine alone by default, and without the network."""

import ipaddress
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.middleware import Middleware

from clsa_search.errors import InputError
from clsa_search.page.desk import Desk
from clsa_search.page.events import Events
from clsa_search.page.guard import Guard
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import MAX_FOLDER_BYTES, MAX_UPLOAD_BYTES
from clsa_search.page.theme import CSS, THEME
from clsa_search.retrieval.gallery_search import GallerySearch

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_KEPT_SECONDS = 3600  # a picture that was shown or uploaded
_VISITORS = 100  # who are remembered at once
# whatever the environment says
_OFF = {
    "share": False,
    "inline": False,
    "run_history": False,
    "enable_monitoring": False,
    "mcp_server": False,
    "pwa": False,
    "ssr_mode": False,
    "num_workers": 0,
    "footer_links": [],
    "quiet": True,
}


def build_page(gallery: GallerySearch) -> gr.Blocks:
    """The page as Gradio's Blocks, for an app of your own; `serve` adds looks and limits.

    Args:
        gallery: stays open as long as the page.
    """
    with gr.Blocks(
        title="Find a person",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_KEPT_SECONDS // 6, _KEPT_SECONDS),
    ) as page:
        Events(Desk(gallery), Layout()).connect(page)
    return page.queue(default_concurrency_limit=4, max_size=_VISITORS)


def serve(
    gallery: GallerySearch,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        gallery: whose people are searched.
        host: name or address of this machine to listen at. Whoever reaches it sees the gallery:
            there are no passwords.
        port: to listen at.
        on_ready: is told where the page is.

    Raises:
        InputError: the port is taken, or the host is not this machine.
    """
    with serving(gallery, host=host, port=port) as page:
        on_ready(page.local_url)
        page.block_thread()


@contextmanager
def serving(
    gallery: GallerySearch, *, host: str = "127.0.0.1", port: int = 7860
) -> Iterator[gr.Blocks]:
    """As `serve`, for as long as the context lasts; `local_url` of the page says where."""
    with tempfile.TemporaryDirectory(prefix="clsa_search_page_") as folder:
        # read whenever a file is shown or uploaded; without it, files of all Gradio apps of this
        # machine would lie in one folder
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = folder
        page = build_page(gallery)
        try:
            _launch(page, folder, host, port)
            yield page
        finally:
            page.close(verbose=False)
            del os.environ["GRADIO_TEMP_DIR"]
            if before is not None:
                os.environ["GRADIO_TEMP_DIR"] = before


def _launch(page: gr.Blocks, folder: str, host: str, port: int) -> None:
    host = host.strip("[]")  # of an address with colons, as in a URL
    guard = Middleware(
        Guard,
        folder=folder,
        max_upload=MAX_UPLOAD_BYTES,
        max_folder=MAX_FOLDER_BYTES,
        hosts=_choose_names(host),
    )
    try:
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            max_file_size=MAX_UPLOAD_BYTES,
            app_kwargs={"middleware": [guard]},
            state_session_capacity=_VISITORS,
            theme=THEME,
            css=CSS,
            prevent_thread_lock=True,
            **_OFF,
        )
    except OSError as error:
        raise InputError(
            f"{host}:{port}: cannot listen there; expected a name or address of this machine "
            "and a free port"
        ) from error


def _choose_names(host: str) -> set[str] | None:
    """Names that a browser may call the page by; None: any, where it listens to everybody."""
    try:
        if ipaddress.ip_address(host).is_unspecified:
            return None
    except ValueError:  # a name
        pass
    return {host.lower(), *_LOCAL_NAMES}
