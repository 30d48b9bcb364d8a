"""Server of the desk: on this machine only by default, with a token elsewhere."""

import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

import uvicorn

from clsa_search.desk.application import build_app
from clsa_search.desk.search_desk import SearchDesk
from clsa_search.desk.tokens import Keyring, read_token
from clsa_search.errors import InputError
from clsa_search.retrieval.gallery_search import GallerySearch
from clsa_search.retrieval.index_options import IndexOptions
from clsa_search.retrieval.watch_reports import WatchOptions

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_START_SECONDS = 30.0
_PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(/[A-Za-z0-9._~/-]*)?")


class _Server(uvicorn.Server):
    """Server with calls at its start and at its end.

    Args:
        config: see uvicorn.
        on_ready: function to call when it answers.
        on_stop: function to call before it waits for its open connections.
    """

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the connections, those that follow a job too."""
        self._on_stop()
        await super().shutdown(sockets)


def serve(
    gallery: GallerySearch,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | os.PathLike | None = None,
    public_url: str | None = None,
    folders: Sequence[str | os.PathLike] = (),
    options: IndexOptions | None = None,
    watch: WatchOptions | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve API and page until the process is interrupted.

    Args:
        gallery: gallery to search.
        host: name or address of this machine to listen on. Other machines reach it only with a
            token.
        port: port to listen on; 0 chooses a free one.
        token_file: file with the token, made at the first start.
        public_url: address of the desk behind a proxy.
        folders: folders to look for new files in.
        options: options of indexing these.
        watch: options of the watch list; hits of jobs are printed as lines of JSON.
        on_ready: function to call with the address for a browser.

    Raises:
        InputError: the host needs a token, the port is in use, the host is not this machine, or a
            folder does not exist.
    """
    desk = SearchDesk(gallery, check_folders(folders), options, watch)
    listener, server, url = _prepare(desk, host, port, token_file, public_url, on_ready)
    with listener:
        server.run([listener])


@contextmanager
def serving(
    gallery: GallerySearch,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token_file: str | os.PathLike | None = None,
    public_url: str | None = None,
    folders: Sequence[str | os.PathLike] = (),
    options: IndexOptions | None = None,
    watch: WatchOptions | None = None,
) -> Iterator[str]:
    """Serve in a thread inside a `with` block; its value is the address, see :func:`serve`."""
    ready = threading.Event()
    desk = SearchDesk(gallery, check_folders(folders), options, watch)
    listener, server, url = _prepare(
        desk, host, port, token_file, public_url, lambda _: ready.set()
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_SECONDS):
            raise InputError(f"{url}: does not answer; expected a machine with less to do")
        yield url
    finally:
        server.should_exit = True
        thread.join(_START_SECONDS)
        listener.close()


def _prepare(
    desk: SearchDesk,
    host: str,
    port: int,
    token_file: str | os.PathLike | None,
    public_url: str | None,
    on_ready: Callable[[str], None],
) -> tuple[socket.socket, uvicorn.Server, str]:
    """Return the listening socket, the server, and the address without the token."""
    check_address(host, token_file, public_url)
    host = host.strip("[]")  # around an IPv6 address in a URL
    token = None if token_file is None else read_token(token_file)[0]
    hosts, origins = _list_names(host), []
    if public_url is not None:
        public = check_public_url(public_url)
        origins = [f"{public.scheme}://{public.netloc}".lower()]
        hosts = None if hosts is None else hosts | {(public.hostname or "").lower()}
    app = build_app(
        desk, hosts=hosts, origins=origins, keyring=None if token is None else Keyring(token)
    )
    listener = _listen(host, port)
    shown = host if not _is_unspecified(host) else "127.0.0.1"
    shown = f"[{shown}]" if ":" in shown else shown
    url = public_url or f"http://{shown}:{listener.getsockname()[1]}/"
    address = url if token is None else f"{url}#token={token}"
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        http="h11",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32 << 10,
    )
    return listener, _Server(config, lambda: on_ready(address), desk.jobs.queue.stop), url


def check_folders(folders: Sequence[str | os.PathLike]) -> list[str]:
    """Return the real paths of folders.

    Raises:
        InputError: one of them is no folder.
    """
    paths = [os.path.realpath(folder) for folder in folders]
    for given, path in zip(folders, paths, strict=True):
        if not os.path.isdir(path):
            raise InputError(f"footage: {os.fspath(given)} is no folder; expected an existing one")
    return paths


def check_address(host: str, token_file: str | os.PathLike | None, public_url: str | None) -> None:
    """Check the need of a token; see :func:`serve` for the arguments.

    Raises:
        InputError: another machine can reach the host, and there is no token; or the public
            address is none.
    """
    if public_url is not None:
        check_public_url(public_url)
    if token_file is None and (public_url is not None or not is_local(host.strip("[]"))):
        reached = f"host: {host}" if public_url is None else f"public-url: {public_url}"
        raise InputError(
            f"{reached} can be reached from other machines; expected --token-file FILE too; "
            "the file is made at the first start"
        )


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"


def check_public_url(text: str) -> SplitResult:
    """Return the parts of the address behind a proxy.

    Raises:
        InputError: it is no such address.
    """
    try:
        parts = urlsplit(text)
        if _PUBLIC_URL.fullmatch(text) and parts.hostname and (parts.port or 1):
            return parts
    except ValueError:
        pass
    raise InputError(f"public-url: {text!r}; expected one as https://search.example.org/")


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _list_names(host: str) -> set[str] | None:
    """Return the accepted host names, None for all if the server listens on all addresses."""
    return None if _is_unspecified(host) else {host.lower(), *LOCAL_NAMES}


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InputError: the port is in use, or the host is not this machine.
    """
    try:
        ((family, kind, _, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:  # of ports and of names
        raise InputError(
            f"{host}:{port}: cannot listen there; expected a name or address of this machine "
            "and a free port"
        ) from error
    return listener
