"""Filters of admin lists by what a row names: by the whole name it had, or by its public id.

Rows of usage refer to nothing, and there may be thousands of names: so it is typed, and not chosen from a list.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest


class ByName(admin.SimpleListFilter):
    """One such filter. `parameter_name` is the beginning of the two columns, `…_name` and `…_uuid`."""

    template = "admin/by_name.html"

    def __init__(self, request: HttpRequest, params: Any, model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        left_out = (self.parameter_name, "p")
        self.kept = [(name, value) for name, values in request.GET.lists() for value in values if name not in left_out]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "Any")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """The one field there is, with what else is in the address."""
        yield {
            "parameter": self.parameter_name,
            "typed": self.value() or "",
            "kept": self.kept,
            "without": changelist.get_query_string(remove=[self.parameter_name]),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        typed = (self.value() or "").strip()
        if not typed:
            return queryset
        try:
            return queryset.filter(**{f"{self.parameter_name}_uuid": UUID(typed)})
        except ValueError:
            return queryset.filter(**{f"{self.parameter_name}_name": typed})


def by_name(what: str) -> type[ByName]:
    """The filter for this: "account"."""
    return type(f"By{what.capitalize()}", (ByName,), {"title": what, "parameter_name": what})
