"""Admin pages of limits: setting them, one by one or from a file, and who is near one."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from import_export.admin import ImportExportMixin
from import_export.forms import ExportForm

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin, actor_of
from snapshots.admin.export_formats import FORMATS
from snapshots.admin.limit_files import LimitResource
from snapshots.admin.tenancy import account_choice, domain_choice
from snapshots.choices import UNLIMITED, LimitKind
from snapshots.models import Account, Domain, Limit
from snapshots.naming import size_in_words
from snapshots.reading.limit_overview import near_limits
from snapshots.refusals import Invalid
from snapshots.services.limit_setting import LimitSet, named, set_limit

NEAR_SHOWN = 200


@admin.register(Limit)
class LimitAdmin(ImportExportMixin, ActingAdmin):
    """What accounts and domains are allowed. An import is carried out as a whole or, with a reason for each row that is
    refused, not at all."""

    may_add = may_change = may_delete = True
    list_display = ("place", "kind", "told", "set_by", "set_at")
    list_filter = ("kind",)
    list_select_related = ("account__domain", "domain", "set_by")
    search_fields = ("account__name", "domain__name")
    # Databases disagree on where nothing sorts: domains first, each after those above it, then accounts.
    ordering = (F("domain__path").asc(nulls_last=True), "account__domain__path", "account__name", "kind")
    fields = ("account", "domain", "kind", "value")
    import_export_change_list_template = "admin/limits/change_list.html"
    resource_classes = (LimitResource,)
    # The library's form that chooses columns has scripts and styles of its own in the page, which are forbidden.
    export_form_class = ExportForm
    formats = FORMATS
    skip_import_confirm = True
    skip_admin_log = True

    def get_urls(self) -> list[Any]:
        near = path("near/", self.admin_site.admin_view(self.near), name="snapshots_limit_near")
        return [near, *super().get_urls()]

    def get_readonly_fields(self, request: HttpRequest, obj: Limit | None = None) -> tuple[str, ...]:
        return () if obj is None else ("account", "domain", "kind")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is None:
            return None
        return account_choice(field) if db_field.name == "account" else domain_choice(field)

    @admin.display(description="on", ordering="domain__path")
    def place(self, limit: Limit) -> str:
        return named(_place(limit.account, limit.domain))

    @admin.display(description="limit", ordering="value")
    def told(self, limit: Limit) -> str:
        if limit.value == UNLIMITED:
            return "no limit"
        return size_in_words(limit.value) if limit.kind == LimitKind.BYTES else str(limit.value)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        values = form.cleaned_data
        stored = Limit.objects.select_related("account", "domain").get(pk=obj.pk) if change else None
        on = _place(values["account"], values["domain"]) if stored is None else _place(stored.account, stored.domain)
        kind = LimitKind(values["kind"] if stored is None else stored.kind)
        done = set_limit(actor_of(request), on=on, kind=kind, value=values["value"])
        assert done.limit is not None  # noqa: S101  # a value was given
        obj.pk = done.limit.pk
        obj._state.adding = False
        obj.refresh_from_db()
        self._tell_lowered(request, done)

    def _tell_lowered(self, request: HttpRequest, done: LimitSet) -> None:
        for row in done.lowered:
            self.message_user(request, f"Lowered too: {row} is {row.value} now.", messages.WARNING)

    def remove(self, actor: Actor, row: Limit) -> None:
        set_limit(actor, on=_place(row.account, row.domain), kind=LimitKind(row.kind), value=None)

    def get_import_resource_kwargs(self, request: HttpRequest, **kwargs: Any) -> dict[str, Any]:
        return {"actor": actor_of(request)}

    def near(self, request: HttpRequest) -> HttpResponse:
        """Who is near a limit, the fullest first."""
        context = {
            **self.admin_site.each_context(request),
            "title": "Who is near a limit",
            "opts": self.opts,
            "rows": near_limits(request.user, NEAR_SHOWN),
            "shown": NEAR_SHOWN,
        }
        return TemplateResponse(request, "admin/limits/near.html", context)


def _place(account: Account | None, domain: Domain | None) -> Account | Domain:
    """The one of the two that is given. Raises `Invalid` for none or both."""
    if account is not None and domain is None:
        return account
    if domain is not None and account is None:
        return domain
    raise Invalid("Choose an account or a domain.")
