"""The live view of a search: optuna-dashboard on the study of a run directory, to look at and not to touch.

By itself optuna-dashboard lets its visitors rename and delete studies and tell trials. A search has one writer, so here
every such request is refused, and SQLite refuses writes on the connections behind it. A reader holds the file for the
time of a query; the search, which waits for it up to a minute, is not disturbed.

There is no password, only an address that others do not reach. A page from elsewhere can let a visitor's browser ask
for it all the same, by a name of its own that suddenly leads here (DNS rebinding): so whoever asks must call it by a
name that it has.
"""

import errno
import json
import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import get_storage

from .run_directory import RunDirectory
from .storage import read_only_storage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK = "127.0.0.1"
PORT = 8080
_NUM_PORTS = 20
"""Tried one after the other where the caller names none."""


class DashboardServer(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, none of which outlives it."""

    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}/"


class _QuietHandler(WSGIRequestHandler):
    """The page asks again every few seconds: no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def make_dashboard(directory: RunDirectory, *, host: str = LOOPBACK, port: int | None = None) -> DashboardServer:
    """A server that listens already; `serve_forever` answers.

    Args:
        directory: Of a search, running or ended.
        host: Name or IPv4 address to listen on. There is no password: whoever reaches it sees the study.
        port: By default 8080 or one of the next that is free; 0 for any free one.

    Raises:
        RunDirectoryError: If there is no study to read.
        ValueError: If optuna-dashboard is missing, or that address cannot be had.
    """
    directory.require_started()
    app = _called_by_name(_read_only(_make_app(directory)), {"localhost", socket.gethostname().lower(), host.lower()})
    for candidate in range(PORT, PORT + _NUM_PORTS) if port is None else (port,):
        try:
            return make_server(host, candidate, app, server_class=DashboardServer, handler_class=_QuietHandler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port is not None:
                raise ValueError(f"cannot listen on {host}:{candidate}: {error.strerror or error}") from None
    raise ValueError(f"the ports {PORT} to {PORT + _NUM_PORTS - 1} of {host} are all in use; name another with --port")


def _make_app(directory: RunDirectory) -> "WSGIApplication":
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise ValueError(
            "the dashboard needs the package optuna-dashboard: pip install 'training-aware-nas[dashboard]'"
        ) from None
    # Remembers finished trials: reading 2,000 again, every ten seconds, would be seconds of a core each time.
    app: WSGIApplication = wsgi(get_storage(read_only_storage(directory)))
    return app


def _read_only(app: "WSGIApplication") -> "WSGIApplication":
    """The same pages, less whatever would change the study."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        return _refused("This view is read-only: the search alone writes to its study.", start_response)

    return answer


def _called_by_name(app: "WSGIApplication", names: Collection[str]) -> "WSGIApplication":
    """The same pages for those who ask for an IP address, whose meaning nobody can change, or one of these names."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        called = _host_of(environ.get("HTTP_HOST", ""))
        if called in names or _is_address(called):
            return app(environ, start_response)
        return _refused("Call it by its address, or by the name that --host gave it.", start_response)

    return answer


def _refused(reason: str, start_response: "StartResponse") -> Iterable[bytes]:
    start_response("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _host_of(header: str) -> str:
    """The host of a Host header, without port, brackets and the dot that may end a name; empty if it is none.

    >>> _host_of("Localhost.:8080"), _host_of("[::1]:8080"), _host_of("a@b]")
    ('localhost', '::1', '')
    """
    try:
        url = urlsplit(f"//{header}")
    except ValueError:
        return ""
    return (url.hostname or "").removesuffix(".") if url.netloc == header else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
