"""The HTTP side: keys, bodies, envelopes and errors. What operations do is in routes/ and below."""

import hmac
import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_videodb.local_server.calls import Answer, Call
from prefect_videodb.local_server.dashboard import Dashboard
from prefect_videodb.local_server.errors import (
    ApiError,
    BadRequest,
    Misdirected,
    TooLarge,
    Unauthorized,
    Unsupported,
)
from prefect_videodb.local_server.faults import Faults, RequestFault
from prefect_videodb.local_server.hosts import HostCheck
from prefect_videodb.local_server.jobs import log_defect, media_status
from prefect_videodb.local_server.links import absolute
from prefect_videodb.local_server.media.errors import MediaError
from prefect_videodb.local_server.routes import (
    account,
    captures,
    faults,
    jobs,
    live,
    scenes,
    searching,
    streams,
    understandings,
    videos,
)
from prefect_videodb.local_server.routes.media import ANYWHERE, Media
from prefect_videodb.local_server.routes.unsupported import UNSUPPORTED
from prefect_videodb.local_server.state import State

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000

Operation = Callable[[Call], Answer]
OPERATIONS: dict[tuple[str, str], Operation] = {
    **account.OPERATIONS,
    **streams.OPERATIONS,
    **live.OPERATIONS,
    **understandings.OPERATIONS,
    **videos.OPERATIONS,
    **scenes.OPERATIONS,
    **searching.OPERATIONS,
    **captures.OPERATIONS,
    **jobs.OPERATIONS,
}


def create_app(state: State, api_key: str, hosts: HostCheck) -> ASGIApp:
    """Return the application that serves `state` to callers with this key and one of these hosts."""
    app = Starlette(
        routes=[
            *Media(state).routes(),
            *_routes(state, api_key),
            WebSocketRoute("/websocket/{ticket}", state.hub.serve),
            *Dashboard(state, api_key, hosts).routes(),
        ],
        exception_handlers={
            ApiError: _refused,
            MediaError: _media_failed,
            HTTPException: _http_failed,
            Exception: _failed,
        },
    )
    # The router would answer /rtstream/ with a redirect to /rtstream.
    app.router.redirect_slashes = False
    return _Outermost(app, hosts, state.faults)


def envelope(answer: Answer, base_url: str) -> dict[str, Any]:
    """Put an answer into the service's envelope."""
    body: dict[str, Any] = {"success": True, **answer.envelope}
    if answer.data is not None:
        body["data"] = absolute(answer.data, base_url)
    if "response" in body:
        body["success"] = body["response"]["success"]
    return body


def _routes(state: State, api_key: str) -> list[BaseRoute]:
    refusals = {place: _refusal(reason) for place, reason in UNSUPPORTED.items()}
    # The first match is served: /rtstream/event must come before /rtstream/{id}.
    places = sorted(
        {**refusals, **OPERATIONS, **faults.OPERATIONS}.items(),
        key=lambda item: [part[:1] == "{" for part in item[0][1].split("/")],
    )
    return [Route(path, _endpoint(operation, state, api_key), methods=[method]) for (method, path), operation in places]


def _endpoint(operation: Operation, state: State, api_key: str) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        given = request.headers.get("x-access-token", "")
        is_key = hmac.compare_digest(given.encode(), api_key.encode())
        if not is_key and not state.captures.is_good_token(given):
            raise Unauthorized("Invalid API key: send it in the header x-access-token")
        call = Call(
            state=state,
            base_url=_base_url(request),
            path=request.path_params,
            query=request.query_params,
            content=await _content(request),
        )
        answer = await anyio.to_thread.run_sync(operation, call)
        return JSONResponse(envelope(answer, call.base_url), answer.status)

    return endpoint


def _refusal(reason: str) -> Operation:
    def refuse(_call: Call) -> Answer:
        raise Unsupported(f"This operation {reason}")

    return refuse


async def _content(request: Request) -> bytes:
    """Read the body, and no more than a body may be."""
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > MAX_BODY_BYTES:
            raise TooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(chunks)


def _base_url(request: Request) -> str:
    return f"http://{request.headers.get('host', '')}"


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"success": False, "message": message}, status, headers={**ANYWHERE, **(headers or {})})


async def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise TypeError from error
    return _error(error.status, error.message)


async def _media_failed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, MediaError):
        raise TypeError from error
    return _error(media_status(error), str(error))


async def _http_failed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    messages = {404: "No such operation", 405: "Method not allowed"}
    return _error(error.status_code, messages.get(error.status_code, error.detail), error.headers)


async def _failed(_request: Request, error: Exception) -> Response:
    return _error(500, f"Internal error ({type(error).__name__})")


class _Cut(Exception):
    """An answer ends in its middle."""


async def _answer_with(fault: RequestFault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request as a fault asks for."""
    if fault.status is not None:
        again = {} if fault.retry_after_s is None else {"retry-after": str(fault.retry_after_s)}
        app = _error(fault.status, fault.message, again)

    async def send_faulty(message: Message) -> None:
        if message["type"] == "http.response.start":
            await anyio.sleep(fault.delay_s)
        elif fault.cut:
            body = message.get("body", b"")
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            raise _Cut
        await send(message)

    await app(scope, receive, send_faulty)


class _Outermost:
    """What stands before the router: the host, two spellings of a path, faults, the log of what should not happen."""

    def __init__(self, app: ASGIApp, hosts: HostCheck, faults: Faults) -> None:
        self._app = app
        self._hosts = hosts
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # `/video/` is `/video`: the service's documentation writes the one, its SDK the other.
        if scope["type"] == "http":
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        try:
            if scope["type"] in {"http", "websocket"} and (refusal := self._refusal(scope)) is not None:
                await refusal(scope, receive, send)
                return
            fault = None
            if scope["type"] == "http" and scope["path"] != faults.PATH:
                fault = self._faults.of_request(scope["method"], scope["path"])
            if fault is None:
                await self._app(scope, receive, send)
            else:
                await _answer_with(fault, self._app, scope, receive, send)
        except _Cut:
            logger.info("the answer to a request was cut, as a fault asked for")
        except ClientDisconnect:
            logger.debug("the caller hung up")
        except Exception as error:  # noqa: BLE001 - it was answered with a 500; the web server would log its message
            log_defect(logger, "a request failed", error)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return what is answered to a request that is for another host; None to one for this server."""
        host = Headers(scope=scope).get("host", "")
        if self._hosts.admits(host, (scope.get("server") or (None,))[0]):
            return None
        if not self._hosts.is_host(host):
            return _error(BadRequest.status, "The Host header is not a host")
        return _error(
            Misdirected.status, f"This server is not {host}: start it with --allow-host if that is a name of it"
        )
