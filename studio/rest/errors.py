"""Errors as the API tells them: {"error": {message, type, param, code}}, whatever raised them."""

import errno
import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..jobs.job import FULL, JobError, QueueFullError, TooOftenError

STATUS = {
    "not_found": 404, "model_not_found": 404, "not_ready": 404, "idempotency_key_reused": 409, "queue_full": 429,
    "rate_limited": 429, "too_large": 413, "uploads_full": 413, "unsupported_media_type": 415,
    "invalid_api_key": 401, "model_not_loaded": 503, "disk_full": 507, "refused": 400, "cleaned": 410,
}  # fmt: skip
OTHERS = (  # they are 400, or told where they arise
    "invalid_request", "unknown_parameter", "input_not_usable", "method_not_allowed", "invalid_range",
    "host_not_allowed", "origin_not_allowed", "internal_error", "too_slow",
)  # fmt: skip
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

logger = logging.getLogger(__name__)


def error_response(status: int, message: str, code: str, param: str | None = None, **headers: str) -> JSONResponse:
    """An error, in the shape that the `openai` client reads."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers or None)


def add_error_handlers(app: FastAPI) -> None:
    """Let every error leave in one shape."""

    @app.exception_handler(JobError)
    async def job_error(request: Request, error: JobError) -> JSONResponse:
        more: dict[str, Any] = {}
        if isinstance(error, QueueFullError | TooOftenError):
            more["Retry-After"] = str(max(1, round(error.seconds)))
        if error.code == "invalid_api_key":
            more["WWW-Authenticate"] = "Bearer"
        found = re.match(r"([a-z_]+(?:\.\w+)*): ", str(error))  # of a wish: where, and what is wrong
        return error_response(STATUS.get(error.code, 400), str(error), error.code, found and found[1], **more)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:]) or None
        return error_response(400, f"{param}: {first['msg']}", "invalid_request", param)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        said = f"{request.method} {request.url.path}: {error.detail}"
        return error_response(error.status_code, said, code, **dict(error.headers or {}))

    @app.exception_handler(OSError)
    async def no_room(request: Request, error: OSError) -> JSONResponse:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        return error_response(STATUS["disk_full"], FULL, "disk_full")

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        request_id = request.scope.get("state", {}).get("request_id", "")
        logger.error("%s: %s %s failed", request_id, request.method, request.url.path, exc_info=error)
        said = f"an error nobody expected; the server's log has it under {request_id}"
        return error_response(500, said, "internal_error", **{"x-request-id": request_id})
