"""Lists are cut into pages by a cursor, which stays right while rows come and go, and put in order.

A page begins after a row, not after a number of rows: the cursor holds the value that row has in the order, and the row's
key as tiebreak, so that among any number of equal names none is lost or repeated, and the thousandth page costs what the
first one does. The cursor is encrypted, because it holds primary keys, which are nobody's business, and so that nobody
builds on its form.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from snapshots.refusals import Invalid

PAGE_SIZE = 50
PAGE_SIZE_MOST = 200


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after the row with this `value` in `ordering` and this `key`, or before it when `backwards`.
    `itself`: with that row."""

    ordering: str
    value: str
    key: str
    backwards: bool = False
    itself: bool = False


class Cursor(BasePagination):
    """`next`, `previous`, `results`.

    A view says in `orderings` by which fields its list can be ordered (only fields that are never null), the first being
    the default (with "-" for descending), and in `tiebreak` which unique field decides among equals.
    """

    parameters = ("cursor", "page_size", "ordering")

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self.request = request
        self.tiebreak: str = getattr(view, "tiebreak", "pk")
        size = _page_size(request)
        self.ordering = _ordering(request, view)
        self.position = _position(request, self.ordering)
        backwards = self.position is not None and self.position.backwards
        down = self.ordering.startswith("-") != backwards
        if self.position is not None:
            queryset = queryset.filter(self._beyond(queryset.model, self.position, down))
        sign = "-" if down else ""
        rows = list(queryset.order_by(sign + self.field, sign + self.tiebreak)[: size + 1])
        more, self.page = len(rows) > size, rows[:size]
        if backwards:
            self.page.reverse()
        self.has_next = more if not backwards else True
        self.has_previous = more if backwards else self.position is not None
        return self.page

    @staticmethod
    def asked_ordering(request: Request, view: Any) -> str:
        """The order that is asked for, or the list's own. Raises `Invalid` for one that the list does not have."""
        return _ordering(request, view)

    @property
    def field(self) -> str:
        """The field the list is ordered by."""
        return self.ordering.removeprefix("-")

    def _beyond(self, model: type[Model], position: Position, down: bool) -> Q:
        """Rows that come after the position. Written so that an index on field and key bounds the search: the outer
        condition is one range, the inner one only sorts out equals."""
        try:
            value = cast("Field[Any, Any]", model._meta.get_field(self.field)).to_python(position.value)
        except ValidationError:
            # Only we can have written it, so the field has got another type since.
            raise _bad_cursor() from None
        side = "lt" if down else "gt"
        key_side = f"{side}e" if position.itself else side
        return Q(**{f"{self.field}__{side}e": value}) & (
            Q(**{f"{self.field}__{side}": value}) | Q(**{f"{self.tiebreak}__{key_side}": position.key})
        )

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next(), "previous": self._previous(), "results": data})

    def _next(self) -> str | None:
        if not self.has_next:
            return None
        if self.page:
            return self._link(self._at(self.page[-1]))
        # Going back led before the first row: next is where that began.
        return self._link(self._turned())

    def _previous(self) -> str | None:
        if not self.has_previous:
            return None
        if self.page:
            return self._link(self._at(self.page[0], backwards=True))
        return self._link(self._turned())

    def _at(self, row: Any, backwards: bool = False) -> Position:
        field = row._meta.get_field(self.field)
        return Position(self.ordering, field.value_to_string(row), str(getattr(row, self.tiebreak)), backwards)

    def _turned(self) -> Position:
        """From an empty page back to where it was asked from, that row included."""
        at = self.position
        assert at is not None  # noqa: S101  # a page without a position has no page before it
        return Position(at.ordering, at.value, at.key, not at.backwards, itself=True)

    def _link(self, position: Position) -> str:
        parts = [position.ordering, position.value, position.key, position.backwards, position.itself]
        sealed = _seal(self.request).encrypt(json.dumps(parts).encode()).decode("ascii")
        return str(replace_query_param(self.request.build_absolute_uri(), "cursor", sealed))

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        orderings = view.orderings  # type: ignore[attr-defined]  # every list view has them
        bare = [ordering.removeprefix("-") for ordering in orderings]
        return [
            _parameter("cursor", "From the `next` or `previous` of another page.", {"type": "string"}),
            _parameter(
                "page_size",
                "Rows per page.",
                {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MOST, "default": PAGE_SIZE},
            ),
            _parameter(
                "ordering",
                "Field to order by, with “-” for descending.",
                {"type": "string", "enum": [*bare, *(f"-{name}" for name in bare)], "default": orderings[0]},
            ),
        ]


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "required": False, "in": "query", "description": description, "schema": schema}


def _page_size(request: Request) -> int:
    given = request.query_params.get("page_size", str(PAGE_SIZE))
    if given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= PAGE_SIZE_MOST:
        return int(given)
    sentence = f"A whole number from 1 to {PAGE_SIZE_MOST}."
    raise Invalid(f"page_size: {sentence}", fields={"page_size": [sentence]})


def _ordering(request: Request, view: Any) -> str:
    orderings: tuple[str, ...] = view.orderings
    given = request.query_params.get("ordering", orderings[0])
    if given.removeprefix("-") in {ordering.removeprefix("-") for ordering in orderings}:
        return given
    names = ", ".join(ordering.removeprefix("-") for ordering in orderings)
    sentence = f"One of {names}, with “-” before it for descending."
    raise Invalid(f"ordering: {sentence}", fields={"ordering": [sentence]})


def _position(request: Request, ordering: str) -> Position | None:
    sealed = request.query_params.get("cursor")
    if sealed is None:
        return None
    try:
        position = Position(*json.loads(_seal(request).decrypt(sealed.encode())))
    except InvalidToken:
        raise _bad_cursor() from None
    if position.ordering != ordering:
        raise _bad_cursor()
    return position


def _bad_cursor() -> Invalid:
    sentence = "Not a cursor of this list in this order. Take it from “next” or “previous” unchanged, or leave it out."
    return Invalid(f"cursor: {sentence}", fields={"cursor": [sentence]})


def _seal(request: Request) -> Fernet:
    """A key of this list alone: a cursor of another list is none here."""
    secret = f"cursor\0{request.path}\0{settings.SECRET_KEY}"
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))
