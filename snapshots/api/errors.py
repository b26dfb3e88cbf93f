"""Every error as `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, `code`.

The one place where refusals meet HTTP statuses. A fault of ours is logged with its traceback and told to the client
without it.
"""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from snapshots import refusals

CONTENT_TYPE = "application/problem+json"

# 409: the thing is in the way now and may not be later. 422: understood, and it will not become possible by waiting.
STATUS_OF_REFUSAL: dict[type[refusals.Refusal], int] = {
    refusals.Refusal: 409,
    refusals.Invalid: 400,
    refusals.Forbidden: 403,
    refusals.NotVisible: 404,
    refusals.NameTaken: 409,
    refusals.VMBusy: 409,
    refusals.InvalidState: 409,
    refusals.VolumesLocked: 409,
    refusals.LimitExceeded: 409,
    refusals.CapacityExceeded: 409,
    refusals.NotSupported: 422,
    refusals.KeyReused: 422,
}

# Code and title by status, for the errors of the framework itself.
FRAMEWORK_ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid", "Not valid"),
    401: ("unauthenticated", "Not signed in"),
    403: ("forbidden", "Not allowed"),
    404: ("not_found", "Not found"),
    405: ("method_not_allowed", "Not possible at this address"),
    406: ("not_acceptable", "Only JSON is spoken here"),
    413: ("too_large", "The request is too large"),
    415: ("unsupported_media_type", "Only JSON is spoken here"),
    429: ("throttled", "Too many requests"),
    500: ("internal_error", "Something went wrong here"),
}

SENTENCES: dict[int, str] = {
    401: "Sign in, or send a token in the header “Authorization: Token …”.",
    404: "There is nothing here, or nothing that you may see.",
    415: "Send JSON, with the header “Content-Type: application/json”.",
    500: "The request could not be carried out because of a fault in this product. It has been written to the log under "
    "the id in the header X-Request-Id; tell the operators of this installation.",
}

log = logging.getLogger(__name__)


class TooLarge(exceptions.APIException):
    """The body is larger than this installation takes."""

    status_code = 413
    default_detail = "The body of the request is larger than this installation takes."


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response:
    """What REST answers to an error, of whatever kind."""
    set_rollback()
    if isinstance(error, refusals.Refusal):
        return _problem(status_of(error), error.code, error.title, error.detail, extra=error.extra)
    known = _as_framework_error(error)
    if known is None:
        request = context["request"]
        log.error("Fault in %s %s", request.method, request.path, exc_info=error)
        got_request_exception.send(sender=type(context["view"]), request=request._request)
        return _problem(500, *FRAMEWORK_ERRORS[500], SENTENCES[500])
    code, title = FRAMEWORK_ERRORS.get(known.status_code, ("invalid", "Not valid"))
    extra: dict[str, Any] = {}
    if isinstance(known, exceptions.ValidationError):
        extra["fields"] = fields_of(known.detail)
        detail = "Not valid: " + " ".join(
            f"{field}: {' '.join(sentences)}" for field, sentences in extra["fields"].items()
        )
    else:
        detail = _sentence(known)
    response = _problem(known.status_code, code, title, detail, extra=extra)
    if header := getattr(known, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(known, "wait", None):
        response["Retry-After"] = str(int(wait) + 1)
    return response


def status_of(refusal: refusals.Refusal) -> int:
    """The status of a refusal: that of the nearest class it descends from."""
    return next(STATUS_OF_REFUSAL[kind] for kind in type(refusal).__mro__ if kind in STATUS_OF_REFUSAL)


def nothing_at(path: str) -> str:
    """The sentence for an address that leads nowhere."""
    if path.endswith("/"):
        return "There is nothing at this address. The list of all addresses is at /api/docs/."
    return "There is nothing at this address. All addresses of this API end with a slash."


def fields_of(detail: Any) -> dict[str, list[str]]:
    """Field names with their sentences, whatever shape the framework gave them. Errors of no one field stand at "body"."""
    if not isinstance(detail, Mapping):
        detail = {"body": detail}
    named = {"body" if name in ("non_field_errors", "__all__") else name: value for name, value in detail.items()}
    return {_printable(str(name)): _sentences(value) for name, value in named.items()}


def _sentences(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [sentence for part in value.values() for sentence in _sentences(part)]
    if isinstance(value, (list, tuple)):
        return [sentence for part in value for sentence in _sentences(part)]
    return [_printable(str(value))]


def _as_framework_error(error: Exception) -> exceptions.APIException | None:
    """The framework's name for an error of the request, None for a fault of ours."""
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return TooLarge()
    if isinstance(error, (SuspiciousOperation, UnreadablePostError)):
        return exceptions.ParseError("The request could not be read.")
    return None


def _sentence(error: exceptions.APIException) -> str:
    if isinstance(error, (exceptions.NotAuthenticated, exceptions.UnsupportedMediaType)):
        return SENTENCES[error.status_code]
    if isinstance(error, exceptions.NotFound) and error.detail == exceptions.NotFound.default_detail:
        return SENTENCES[404]
    return _printable(" ".join(_sentences(error.detail)))


def _problem(status: int, code: str, title: str, detail: str, *, extra: Mapping[str, Any] | None = None) -> Response:
    body = {"type": f"urn:vmsnap:problem:{code}", "title": title, "status": status, "detail": detail, "code": code}
    added = {name: value for name, value in (extra or {}).items() if name not in body}
    return Response(body | added, status=status, content_type=CONTENT_TYPE)


def _printable(text: str) -> str:
    """The text without lone surrogates, which JSON lets in and UTF-8 does not let out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
