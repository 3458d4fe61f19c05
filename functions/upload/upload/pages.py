"""The page, as files that lie beside this module: read once, so a path reaches nothing else."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from flask import Request, Response

from web.problems import Problem
from web.site import Handler

STATIC = Path(__file__).with_name("static")
DOCUMENT = Path(__file__).with_name("openapi.json")
STORAGE = "https://storage.googleapis.com"


class Pages:
    def __init__(self, status_url: str, folder: Path = STATIC) -> None:
        status = "{0.scheme}://{0.netloc}".format(urlsplit(status_url))
        self._policy = "; ".join(
            (
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                f"img-src 'self' blob: {STORAGE}",
                f"media-src 'self' blob: {STORAGE}",
                f"connect-src 'self' {status} {STORAGE}",
                "manifest-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )
        self._files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._files["openapi.json"] = DOCUMENT.read_bytes()

    def routes(self) -> dict[str, Handler]:
        """GET /<file> for each, and GET / for index.html."""
        paths = {name: name for name in self._files} | {"": "index.html"}
        return {f"GET /{path}": partial(self._serve, name=name) for path, name in paths.items()}

    def _serve(self, request: Request, name: str) -> Response:
        content = self._files.get(name)
        if content is None:
            raise Problem(404, "no_such_path", "This service was deployed without its page.")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        response = Response(content, mimetype=kind)
        response.set_etag(hashlib.sha256(content).hexdigest()[:32])
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        response.make_conditional(request)
        return response
