"""The admin site: entered by root admins only, whatever Django's staff flags say."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.db.models.base import ModelBase
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse

from snapshots.access import is_root_admin
from snapshots.admin.acting import RootAdminOnly


class VMSnapAdminSite(AdminSite):
    """Django's admin with our title, our sign-in page and our idea of who may enter."""

    site_header = "VMSnap administration"
    site_title = "VMSnap"
    index_title = "Administration"

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # It deletes rows past the services, and one refusal among many would undo the others.
        self.disable_action("delete_selected")

    def register(
        self,
        model_or_iterable: type[Model] | Iterable[type[Model]],
        admin_class: "type[ModelAdmin[Any]] | None" = None,
        **options: Any,
    ) -> None:
        """Takes in our own pages only. Those that installed packages bring (groups, tokens, sign-in attempts) save
        rows past the services and ask Django's permissions, which mean nothing here."""
        if admin_class is not None and issubclass(admin_class, RootAdminOnly):
            super().register(model_or_iterable, admin_class, **options)
            return
        models = [model_or_iterable] if isinstance(model_or_iterable, ModelBase) else list(model_or_iterable)
        if any(model.__module__.partition(".")[0] in ("snapshots", "hypervisors") for model in models):
            raise TypeError(f"{admin_class}: the admin pages of our own rows derive from RootAdminOnly.")

    def has_permission(self, request: HttpRequest) -> bool:
        return is_root_admin(request.user)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """There is one sign-in page. Who is signed in but no root admin is refused, not asked to sign in again."""
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index", current_app=self.name))
        if request.user.is_authenticated:
            raise PermissionDenied("Only root admins may enter the administration.")
        return redirect_to_login(
            request.GET.get("next") or reverse("admin:index", current_app=self.name), resolve_url(settings.LOGIN_URL)
        )

    def password_change(  # type: ignore[override]  # a redirect in place of a page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One's own password is set where everybody's is: on the user's page, through the service."""
        return HttpResponseRedirect(reverse("admin:snapshots_user_change", args=[request.user.pk]))
