"""Limits as files: what an export writes, and what an import does, which is setting each through the service.

A row names its place by `place` ("account" or "domain") and `id`; `name` is for people, and is not read. An empty value
takes the limit away. The order of the rows does not matter: what is above is set first.
"""

import re
import sys
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.results import Result
from tablib import Dataset

from snapshots.access import Actor
from snapshots.admin.tenancy import domain_names
from snapshots.choices import LimitKind
from snapshots.models import Account, Domain, Limit
from snapshots.refusals import Refusal
from snapshots.services.limit_setting import set_limit

LARGEST_EXACT = 2**53
LAST = sys.maxsize


class LimitResource(ModelResource):
    """One row per limit."""

    place = Field()
    id = Field()
    name = Field()
    kind = Field(attribute="kind")
    value = Field(attribute="value")

    class Meta:
        model = Limit
        fields = ("place", "id", "name", "kind", "value")
        export_order = fields
        import_id_fields = ("place", "id", "kind")
        skip_diff = True

    def __init__(self, actor: Actor | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.actor = actor
        self.names: dict[int, str] | None = None

    def dehydrate_place(self, limit: Limit) -> str:
        return "domain" if limit.account_id is None else "account"

    def dehydrate_id(self, limit: Limit) -> str:
        return str(_on(limit).uuid)

    def dehydrate_name(self, limit: Limit) -> str:
        if self.names is None:
            self.names = domain_names()
        on = _on(limit)
        return f"{self.names[on.domain_id]} / {on.name}" if isinstance(on, Account) else self.names[on.pk]

    def import_data(self, dataset: Dataset, *args: Any, **options: Any) -> Result:
        """Set what the rows say, from the top of the tree of domains down, since no limit may exceed those above it. What
        is told of rows names the lines of the file."""
        lines = _from_the_top(dataset)
        rows = Dataset(*[dataset[line] for line in lines], headers=dataset.headers)
        result = super().import_data(rows, *args, **options)
        for row in (*result.invalid_rows, *result.error_rows):
            row.number = lines[row.number - 1] + 1
        for told in (result.invalid_rows, result.error_rows):
            told.sort(key=lambda row: row.number)
        # Nothing is skipped, so there is a result for each row; its place among them is the line that is shown.
        result.rows = [row for _, row in sorted(zip(lines, result.rows, strict=True), key=lambda pair: pair[0])]
        return result

    def get_or_init_instance(self, instance_loader: Any, row: Any) -> tuple[Limit, bool]:
        """The limit that the row is about. Raises `ValidationError` for a place or kind there is not."""
        kind = str(row.get("kind") or "").strip()
        if kind not in LimitKind.values:
            raise ValidationError({"kind": f"One of {', '.join(LimitKind.values)}."})
        place = {"account": _place_in(row, Account) if row.get("place") == "account" else None}
        if place["account"] is None:
            place = {"domain": _place_in(row, Domain)}
        found = Limit.objects.filter(kind=kind, **place).first()
        return (Limit(kind=kind, **place), True) if found is None else (found, False)

    def import_instance(self, instance: Limit, row: Any, **_: Any) -> None:
        """Nothing is written into the row itself: the service does that."""

    def validate_instance(self, *_: Any, **__: Any) -> None:
        """The service says what is valid."""

    def save_instance(self, instance: Limit, is_create: bool, row: Any, **_: Any) -> None:
        """Set it. Raises `ValidationError` with the words of a refusal."""
        if self.actor is None:
            raise TypeError("Limits are imported by somebody.")
        try:
            done = set_limit(
                self.actor, on=_on(instance), kind=LimitKind(instance.kind), value=_whole(row.get("value"))
            )
        except Refusal as refusal:
            raise ValidationError(refusal.detail) from None
        if done.limit is not None:
            instance.pk = done.limit.pk

    def save_m2m(self, *_: Any, **__: Any) -> None:
        """There is nothing of the kind."""


def _on(limit: Limit) -> Account | Domain:
    on = limit.account or limit.domain
    assert on is not None  # noqa: S101  # a constraint of the table
    return on


def _from_the_top(dataset: Dataset) -> list[int]:
    """The rows' numbers: those of domains first, each after all above it; then those of accounts, and of nothing known."""
    depths = {uuid: path.count("/") for uuid, path in Domain.objects.values_list("uuid", "path")}

    def depth(line: int) -> int:
        row = dict(zip(dataset.headers or (), dataset[line], strict=False))
        try:
            return depths[_uuid_in(row)] if row.get("place") == "domain" else LAST
        except (ValueError, KeyError):
            return LAST  # refused in its turn

    return sorted(range(len(dataset)), key=depth)


def _uuid_in(row: Any) -> UUID:
    return UUID(str(row.get("id")).strip())


def _place_in(row: Any, model: Any) -> Any:
    if row.get("place") not in ("account", "domain"):
        raise ValidationError({"place": "account or domain."})
    try:
        return model.objects.get(uuid=_uuid_in(row))
    except (ValueError, model.DoesNotExist):
        raise ValidationError({"id": f"There is no {row['place']} with this id."}) from None


def _whole(value: Any) -> Any:
    """The cell as a whole number, None for an empty one. What is none is left to the service, which refuses it."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        return int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else text
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_EXACT:
        return int(value)  # some spreadsheets know no other numbers
    return value
