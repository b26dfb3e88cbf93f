"""Admin pages of hypervisor endpoints. No request here talks to a hypervisor: testing and reading are jobs."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_POST

from hypervisors.models import Hypervisor
from hypervisors.registry import KINDS, why_unavailable
from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin, ActingForm, actor_of, job_link
from snapshots.models import Job
from snapshots.refusals import Refusal
from snapshots.services import endpoints
from snapshots.services.endpoint_settings import names_of_certificates

SETTINGS = ("ca_certificate", "insecure", "redirect_hosts", "adopt_automatically")
PEM = {"rows": 6, "cols": 68, "spellcheck": "false", "placeholder": "-----BEGIN CERTIFICATE-----"}
CA = (
    "For VMware vSphere and XenServer: certificates (PEM) that are trusted besides the system's, for a server with a "
    "certificate of its own making. A vCenter offers its own at https://its-address/certs/download.zip."
)
INSECURE = (
    "Dangerous: whoever is between this product and the hypervisor can then read the password and act in the "
    "hypervisor's place. Give the CA certificate instead. Switching this on is written into the history."
)
HOSTS = (
    "For XenServer pools, one host on each line: the other hosts of the pool, by the names or addresses they call "
    "themselves. When another host has become the coordinator, the login is sent on to it, and to no host that is not here."
)
ADOPT = "VM snapshots made elsewhere count as taken here as soon as they are found, in limits and usage."
KEPT = "Left empty, the stored password stays. It is kept encrypted and never shown again."


def kind_choices() -> list[tuple[str, str]]:
    """The kinds of hypervisor; what this installation lacks for one stands beside its name."""
    choices = []
    for key, kind in KINDS.items():
        reason = why_unavailable(key)
        choices.append((key, f"{kind.label} (not available: {reason})" if reason else kind.label))
    return choices


class EndpointForm(ActingForm):
    """How an endpoint is reached. The password goes in and never comes out."""

    password = forms.CharField(
        required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}), help_text=KEPT
    )
    forget_password = forms.BooleanField(required=False, label="Remove the stored password")

    ca_certificate = forms.CharField(required=False, label="CA certificate", widget=forms.Textarea(PEM), help_text=CA)
    insecure = forms.BooleanField(required=False, label="Do not check the certificate", help_text=INSECURE)
    redirect_hosts = forms.CharField(
        required=False, label="Redirect hosts", widget=forms.Textarea(attrs={"rows": 3, "cols": 40}), help_text=HOSTS
    )
    adopt_automatically = forms.BooleanField(required=False, label="Adopt automatically", help_text=ADOPT)

    class Meta:
        model = Hypervisor
        fields = ("name", "kind", "address", "username", "password", "enabled", *SETTINGS)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.pop("password", None)
        self.initial["redirect_hosts"] = "\n".join(self.instance.redirect_hosts)
        if "kind" in self.fields:
            self.fields["kind"] = forms.ChoiceField(choices=kind_choices())
        if "address" in self.fields:
            kinds = [KINDS[self.instance.kind]] if self.instance.kind in KINDS else KINDS.values()
            self.fields["address"].help_text = "; ".join(f"{kind.label}: {kind.address_hint}" for kind in kinds)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if cleaned.get("password") and cleaned.get("forget_password"):
            self.add_error("forget_password", "Either give a new password or remove the stored one.")
        return cleaned


def _settings(values: dict[str, Any]) -> endpoints.Settings:
    """The settings that the form had fields for."""
    given = {name: values[name] for name in SETTINGS if name in values}
    if "redirect_hosts" in given:
        given["redirect_hosts"] = given["redirect_hosts"].splitlines()
    return cast("endpoints.Settings", given)


def _lines(texts: Iterable[str]) -> SafeString:
    return format_html_join(mark_safe("<br>"), "{}", ((text,) for text in texts))


@admin.register(Hypervisor)
class EndpointAdmin(ActingAdmin):
    """Managed endpoints."""

    may_add = may_change = may_delete = True
    form = EndpointForm
    list_display = (
        "name", "kind_in_words", "address", "enabled", "state", "checked", "last_seen_at", "synced_at", "last_error",
    )  # fmt: skip
    list_filter = ("state", "enabled", "kind")
    search_fields = ("name", "address", "product")
    actions = ("test_connection", "read_everything")
    told = (
        "state", "last_error", "privileges", "last_seen_at", "synced_at", "followed", "product", "version", "is_simulated",
        "native_id", "uuid",
    )  # fmt: skip

    @admin.display(description="kind", ordering="kind")
    def kind_in_words(self, hypervisor: Hypervisor) -> str:
        return hypervisor.kind_label

    def get_fields(self, request: HttpRequest, obj: Hypervisor | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("name", "kind", "address", "username", "password", *SETTINGS)
        asked = ("name", "kind_in_words", "address", "username", "password", "forget_password", "enabled")
        kind = KINDS.get(obj.kind)
        trust = ("ca_certificate", "certificates", "insecure") if kind is not None and kind.speaks_tls else ()
        hosts = ("redirect_hosts",) if kind is not None and kind.redirects else ()
        return (*asked, *trust, *hosts, "adopt_automatically", *self.told)

    def get_readonly_fields(self, request: HttpRequest, obj: Hypervisor | None = None) -> tuple[str, ...]:
        return () if obj is None else ("kind_in_words", "certificates", *self.told)

    @admin.display(description="certificate")
    def checked(self, hypervisor: Hypervisor) -> str:
        if hypervisor.insecure:
            return "NOT checked"
        kind = KINDS.get(hypervisor.kind)
        return "checked" if kind is not None and kind.speaks_tls else "-"

    @admin.display(description="trusted besides the system's")
    def certificates(self, hypervisor: Hypervisor) -> str:
        return _lines(names_of_certificates(hypervisor.ca_certificate)) or "none"

    @admin.display(description="changes made elsewhere")
    def followed(self, hypervisor: Hypervisor) -> str:
        if hypervisor.watched:
            return "shown within seconds: a process watches this endpoint"
        return f"shown by the next reading of everything, every {settings.SYNC_EVERY_SECONDS:g} seconds; nobody watches"

    @admin.display(description="missing privileges")
    def privileges(self, hypervisor: Hypervisor) -> str:
        if hypervisor.missing_privileges:
            return _lines(hypervisor.missing_privileges)
        return "none" if hypervisor.last_seen_at else "not known yet: test the connection"

    @admin.display(description="simulator")
    def is_simulated(self, hypervisor: Hypervisor) -> str:
        return "yes: its machines are made up, and every page says so" if hypervisor.simulated else "no"

    def create(self, actor: Actor, values: dict[str, Any]) -> Hypervisor:
        asked = ("name", "kind", "address", "username", "password")
        return endpoints.add_endpoint(actor, **{name: values[name] for name in asked}, **_settings(values))

    def change(self, actor: Actor, row: Hypervisor, values: dict[str, Any]) -> None:
        endpoints.change_endpoint(
            actor,
            hypervisor=row,
            name=values["name"],
            address=values["address"],
            username=values["username"],
            password="" if values["forget_password"] else values["password"] or None,
            enabled=values["enabled"],
            **_settings(values),
        )

    def remove(self, actor: Actor, row: Hypervisor) -> None:
        endpoints.remove_endpoint(actor, hypervisor=row)

    # Jobs

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/test/", view(require_POST(self.test_one)), name="test_endpoint"),
            path("<path:object_id>/read/", view(require_POST(self.read_one)), name="read_endpoint"),
            *super().get_urls(),
        ]

    def test_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on an endpoint's page."""
        return self._order_for(request, object_id, endpoints.request_connection_check)

    def read_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button on an endpoint's page."""
        return self._order_for(request, object_id, endpoints.request_sync)

    def _order_for(self, request: HttpRequest, object_id: str, ask: Callable[..., Job]) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404("There is no such hypervisor.")
        self._order(request, row, ask)
        return HttpResponseRedirect(reverse("admin:hypervisors_hypervisor_change", args=[row.pk]))

    @admin.action(description="Test connection", permissions=["act"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Hypervisor]) -> None:
        for row in queryset:
            self._order(request, row, endpoints.request_connection_check)

    @admin.action(description="Read everything now", permissions=["act"])
    def read_everything(self, request: HttpRequest, queryset: QuerySet[Hypervisor]) -> None:
        for row in queryset:
            self._order(request, row, endpoints.request_sync)

    def _order(self, request: HttpRequest, row: Hypervisor, ask: Callable[..., Job]) -> None:
        try:
            job = ask(actor_of(request), hypervisor=row)
        except Refusal as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
        else:
            self.message_user(request, format_html("Asked for: {}. Its page says how it ends.", job_link(job)))
