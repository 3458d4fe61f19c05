"""A function's answer on its way through the door: passed on as it comes until either end goes.

Server-sent events live on it: nothing is held back, and a caller who goes away ends the request at
the function, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...core.clock import Clock
from .instances import Result, Sink

DROPPED = {"connection", "keep-alive", "transfer-encoding"}


class Passed(Response):
    """Starts its request when it is sent.

    Args:
        route: makes the request; its result has the answer where the sink got none of it.

    The clock counts the request as work in flight until its answer begins: time may pass under
    a stream.
    """

    def __init__(self, clock: Clock, route: Callable[[Sink], Awaitable[Result]]) -> None:
        self._clock, self._route = clock, route
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        with contextlib.ExitStack() as self._busy:
            self._busy.enter_context(self._clock.busy())
            asking = asyncio.ensure_future(self._route(self._sink))
            gone = asyncio.ensure_future(self._gone(receive))
            try:
                await asyncio.wait((asking, gone), return_when=asyncio.FIRST_COMPLETED)
                if not asking.done():
                    return
                await self._end(asking.result(), scope)
            except OSError as error:
                text = f"no answer: {error}\n".encode()
                await self._end(Result(502, {"content-type": "text/plain"}, text), scope)
            finally:
                for task in (asking, gone):
                    task.cancel()
                await asyncio.gather(asking, gone, return_exceptions=True)

    async def _gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _sink(self, part: Result | bytes) -> None:
        if isinstance(part, Result):
            self._begun = True
            await self._head(part)
            self._busy.close()
        else:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def _head(self, result: Result) -> None:
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in result.headers.items()
            if name not in DROPPED
        ]
        await self._send(
            {"type": "http.response.start", "status": result.status, "headers": headers}
        )

    async def _end(self, result: Result, scope: Scope) -> None:
        if not self._begun:
            result.headers["content-length"] = str(len(result.body))
            await self._head(result)
            await self._send({"type": "http.response.body", "body": result.body})
        elif result.body:  # an error after the beginning: only a broken stream can tell
            scope["transport"].abort()
        else:
            await self._send({"type": "http.response.body", "body": b""})
