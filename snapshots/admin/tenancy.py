"""Admin pages of domains and accounts."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import ModelChoiceField
from django.http import HttpRequest

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin
from snapshots.models import Account, Domain
from snapshots.services import moving, tenancy


def domain_names() -> dict[int, str]:
    """The full name of each domain, "Example / Engineering", by primary key. One query."""
    rows = list(Domain.objects.all())
    names = {row.pk: row.name for row in rows}
    return {row.pk: " / ".join(names[pk] for pk in row.ancestor_ids) for row in rows}


def domain_choice(field: "ModelChoiceField[Any]") -> "ModelChoiceField[Any]":
    """Lets a field show domains by their full names, in the order of the tree."""
    names = domain_names()

    def label(obj: Any) -> str:
        return names[obj.pk]

    field.label_from_instance = label  # type: ignore[method-assign]  # instead of a subclass for one answer
    return field


def account_choice(field: "ModelChoiceField[Any]") -> "ModelChoiceField[Any]":
    """Lets a field show accounts with the domains they are in."""
    names = domain_names()

    def label(obj: Any) -> str:
        return f"{names[obj.domain_id]} / {obj.name}"

    field.queryset = Account.objects.order_by("domain__path", "name")
    field.label_from_instance = label  # type: ignore[method-assign]  # instead of a subclass for one answer
    return field


@admin.register(Domain)
class DomainAdmin(ActingAdmin):
    """The tree of organisations."""

    may_add = may_change = may_delete = True
    list_display = ("place", "account_count")
    ordering = ("path",)
    search_fields = ("name",)
    fields = ("name", "parent")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Domain]:
        rows: QuerySet[Domain] = super().get_queryset(request)
        return rows.annotate(accounts_here=Count("accounts"))

    @admin.display(description="domain", ordering="path")
    def place(self, domain: Domain) -> str:
        return "— " * (len(domain.ancestor_ids) - 1) + domain.name

    @admin.display(description="accounts", ordering="accounts_here")
    def account_count(self, domain: Any) -> int:
        return int(domain.accounts_here)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        return domain_choice(field) if field is not None else None

    def create(self, actor: Actor, values: dict[str, Any]) -> Domain:
        return tenancy.create_domain(actor, name=values["name"], parent=values["parent"])

    def change(self, actor: Actor, row: Domain, values: dict[str, Any]) -> None:
        if values["parent"] != row.parent:
            moving.move_domain(actor, domain=row, parent=values["parent"])
        if values["name"] != row.name:
            tenancy.rename(actor, thing=Domain.objects.get(pk=row.pk), name=values["name"])

    def remove(self, actor: Actor, row: Domain) -> None:
        tenancy.delete_domain(actor, domain=row)


@admin.register(Account)
class AccountAdmin(ActingAdmin):
    """Owners of machines."""

    may_add = may_change = may_delete = True
    list_display = ("name", "domain", "machine_count", "created_at")
    list_filter = ("domain",)
    list_select_related = ("domain",)
    search_fields = ("name", "domain__name")
    fields = ("name", "domain", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        rows: QuerySet[Account] = super().get_queryset(request)
        return rows.annotate(machines_here=Count("machines"))

    @admin.display(description="machines", ordering="machines_here")
    def machine_count(self, account: Any) -> int:
        return int(account.machines_here)

    readonly_fields = ("created_at",)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        return domain_choice(field) if field is not None else None

    def create(self, actor: Actor, values: dict[str, Any]) -> Account:
        return tenancy.create_account(actor, name=values["name"], domain=values["domain"])

    def change(self, actor: Actor, row: Account, values: dict[str, Any]) -> None:
        if values["domain"] != row.domain:
            moving.move_account(actor, account=row, domain=values["domain"])
            row = Account.objects.get(pk=row.pk)
        if values["name"] != row.name:
            tenancy.rename(actor, thing=row, name=values["name"])

    def remove(self, actor: Actor, row: Account) -> None:
        tenancy.delete_account(actor, account=row)
