"""The OpenAPI 3 description: what every operation shares, so that views state only what is their own."""

import inspect
from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema

from snapshots.api.errors import CONTENT_TYPE
from snapshots.api.outputs import JobOutput, ProblemOutput

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="1 to 255 characters of your choice. The same request with the same key leads to the same job, and is "
    "carried out once.",
)

BASE_ROOM = "snapshots.api.base_views"

DESCRIPTIONS = {
    "400": "Not valid (`invalid`).",
    "401": "Not signed in, or the token is unknown or has expired (`unauthenticated`).",
    "403": "You see it but may not do this (`forbidden`).",
    "404": "Not there, or not for you (`not_found`).",
    "405": "Not with this method (`method_not_allowed`).",
    "409": "In the way now, perhaps not later (`vm_busy`, `invalid_state`, `name_taken`, `volumes_locked`, "
    "`limit_exceeded`, `capacity_exceeded`).",
    "413": "The body is too large (`too_large`).",
    "415": "Not JSON (`unsupported_media_type`).",
    "422": "Cannot be done here, and waiting will not help (`not_supported`, `idempotency_key_reused`).",
    "429": "Too many requests (`throttled`); `Retry-After` says when to come back.",
}
OF_ALL = ("400", "401", "403", "404", "405", "429")
OF_CHANGES = ("409", "413", "415", "422")


class ProblemSchema(AutoSchema):
    """Adds the errors to each operation, and knows our lists."""

    def _is_list_view(self, serializer: Any = None) -> bool:
        return self.method == "GET" and hasattr(self.view, "orderings")

    def get_description(self) -> str:  # type: ignore[override]  # drf-spectacular asks without arguments
        """The view's own words where it inherits its method, else those of the method."""
        method = getattr(self.view, self.method.lower())
        return inspect.getdoc(type(self.view) if method.__module__ == BASE_ROOM else method) or ""

    def _get_serializer_name(self, serializer: Any, direction: str, bypass_extensions: bool = False) -> str:
        name: str = super()._get_serializer_name(serializer, direction, bypass_extensions)
        return name.removesuffix("Output")

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        statuses = OF_ALL if self.method in ("GET", "HEAD") else (*OF_ALL, *OF_CHANGES)
        for status in statuses:
            bodies.setdefault(
                status,
                self._get_response_for_code(ProblemOutput, status, media_types=[CONTENT_TYPE])
                | {"description": DESCRIPTIONS[status]},
            )
        return bodies


class TokenScheme(OpenApiAuthenticationExtension):
    """`Authorization: Token …`."""

    target_class = "snapshots.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "The word “Token”, a space, and the token's text.",
        }


def action_schema(summary: str, operation_id: str, request: Any = None, **more: Any) -> Any:
    """Describes an operation that answers with a job."""
    location = OpenApiParameter(
        "Location", str, OpenApiParameter.HEADER, response=[202], description="The address of the job."
    )
    return extend_schema(
        summary=summary,
        operation_id=operation_id,
        request=request,
        responses={202: JobOutput},
        parameters=[IDEMPOTENCY_KEY, location, *more.pop("parameters", ())],
        **more,
    )
