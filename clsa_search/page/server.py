"""Server of the page: on this machine only by default, and without the network."""

import asyncio
import ipaddress
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
from gradio.utils import LRUCache
from starlette.middleware import Middleware

from clsa_search.errors import InputError
from clsa_search.page.events import Events
from clsa_search.page.guard import Guard
from clsa_search.page.layout import Layout
from clsa_search.page.page_images import MAX_FOLDER_BYTES, MAX_UPLOAD_BYTES
from clsa_search.page.service import PageService
from clsa_search.page.theme import CSS, THEME
from clsa_search.page.wiring import connect
from clsa_search.retrieval.gallery_search import GallerySearch

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_FILE_SECONDS = 3600  # lifetime of an uploaded or shown image
_MAX_SESSIONS = 100  # kept at once
# switched off here, because environment variables could switch them on
_OFF: dict[str, Any] = {
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


class Page(gr.Blocks):
    """Blocks that refuse values which do not fit their components, without a printed traceback."""

    async def preprocess_data(self, *args: Any, **options: Any) -> list:
        """Convert the values of a request for a listener."""
        try:
            return await super().preprocess_data(*args, **options)
        except Exception as error:  # a browser may send anything
            raise gr.Error(
                "The page has changed; expected a reload.", print_exception=False
            ) from error


class Sessions(LRUCache):
    """Messages to each session; messages to a session that has ended are dropped.

    Gradio prints a traceback if a browser leaves the page while a listener starts.
    """

    def __missing__(self, session: str) -> asyncio.Queue:
        """Return a queue that nobody reads."""
        return asyncio.Queue()

    def __delitem__(self, session: str) -> None:
        """Forget a session; it may have ended already."""
        self.pop(session, None)


def build_page(gallery: GallerySearch) -> gr.Blocks:
    """Build the page as Gradio Blocks, for your own app; `serve` adds its theme and limits.

    Args:
        gallery: gallery to search; keep it open as long as the page.
    """
    with Page(
        title="Find a person",
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(_FILE_SECONDS // 6, _FILE_SECONDS),
    ) as page:
        connect(Events(PageService(gallery), Layout()), page)
    page.queue(default_concurrency_limit=4, max_size=_MAX_SESSIONS)
    known = page._queue.pending_messages_per_session
    page._queue.pending_messages_per_session = Sessions(known.max_size)
    return page


def serve(
    gallery: GallerySearch,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        gallery: gallery to search.
        host: name or address of this machine to listen on. There are no passwords: everyone with
            access to this address can see the gallery.
        port: port to listen on.
        on_ready: function to call with the URL of the page.

    Raises:
        InputError: the port is in use, or the host is not this machine.
    """
    with serving(gallery, host=host, port=port) as page:
        assert page.local_url is not None  # set by the launch
        on_ready(page.local_url)
        page.block_thread()


@contextmanager
def serving(
    gallery: GallerySearch, *, host: str = "127.0.0.1", port: int = 7860
) -> Iterator[gr.Blocks]:
    """Serve the page inside a `with` block; `local_url` of the page is its URL."""
    with tempfile.TemporaryDirectory(prefix="clsa_search_page_") as folder:
        # Gradio reads the variable for every file; its default is one folder for all apps
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
    host = host.strip("[]")  # around an IPv6 address in a URL
    guard = Middleware(
        Guard,
        folder=folder,
        max_upload=MAX_UPLOAD_BYTES,
        max_folder=MAX_FOLDER_BYTES,
        hosts=_list_names(host),
    )
    try:
        page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            max_file_size=MAX_UPLOAD_BYTES,
            app_kwargs={"middleware": [guard]},
            state_session_capacity=_MAX_SESSIONS,
            theme=THEME,
            css=CSS,
            prevent_thread_lock=True,
            **_OFF,
        )
    except (OSError, OverflowError, UnicodeError) as error:  # of ports and of names
        raise InputError(
            f"{host}:{port}: cannot listen there; expected a name or address of this machine "
            "and a free port"
        ) from error


def _list_names(host: str) -> set[str] | None:
    """Return the accepted host names, None for all if the page listens on all addresses."""
    try:
        if ipaddress.ip_address(host).is_unspecified:
            return None
    except ValueError:  # a name
        pass
    return {host.lower(), *_LOCAL_NAMES}
