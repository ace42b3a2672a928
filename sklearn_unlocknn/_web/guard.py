"""Check the source of requests, and restrict what the page may load."""

from urllib.parse import urlsplit

from .uploads import RequestError

#: Names of this machine. A page elsewhere whose name is made to point here (DNS
#: rebinding) comes with another one.
_LOCAL = ("127.0.0.1", "localhost", "::1")

#: Scripts only from files of this server. The viewer writes style attributes, which
#: need 'unsafe-inline' for styles, and draws icons from data: and images from blob:.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # under "no-referrer" the form of the page would come with "Origin: null"
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def check_source(request):
    """Raise `RequestError` for another host's name, and for posts of other pages."""
    host = request.headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in _LOCAL:
        raise RequestError(
            403, "This server is only for its own machine: use http://127.0.0.1 or "
            "http://localhost with its port.",
        )  # fmt: skip
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    foreign = origin is not None and origin != f"http://{host}"
    if foreign or site not in ("same-origin", "none"):
        raise RequestError(
            403, "Got a request of another page or site, expected one of this page or "
            "of a program.",
        )  # fmt: skip


def add_headers(response):
    """Add the headers of all answers, of which no copy is kept."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
