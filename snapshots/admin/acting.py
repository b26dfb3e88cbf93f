"""How admins act: pages that only root admins see, and on which every change is a call of a service.

The pages of this room derive from `ReadingAdmin` (looks only) or `ActingAdmin` (changes through services). What a
service refuses is shown on the form, or as a message, and nothing is changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import BaseModelAdmin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from snapshots.access import Actor, is_root_admin
from snapshots.choices import Trigger
from snapshots.models import Job, User
from snapshots.refusals import Refusal

# Django's own classes carry type arguments only in the eyes of the type checker.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Any]
    _ModelAdmin = ModelAdmin[Any]
    _BaseModelAdmin = BaseModelAdmin[Any]
else:
    _ModelForm, _ModelAdmin, _BaseModelAdmin = forms.ModelForm, ModelAdmin, BaseModelAdmin


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in root admin, acting through this door."""
    if not isinstance(request.user, User):
        raise TypeError("The admin site was entered without signing in.")
    return Actor(user=request.user, trigger=Trigger.ADMIN, from_address=request.META.get("REMOTE_ADDR") or None)


def _is_root(request: HttpRequest) -> bool:
    """Asked several times for each model of a page; the answer is kept for the request."""
    known = getattr(request, "_person_is_root_admin", None)
    if known is None:
        known = is_root_admin(request.user)
        request._person_is_root_admin = known  # type: ignore[attr-defined]  # a note on this one request
    return bool(known)


class RootAdminOnly(_BaseModelAdmin):
    """Our roles in place of Django's permissions. What a page may do is switched on by name."""

    may_add = False
    may_change = False
    may_delete = False

    def has_module_permission(self, request: HttpRequest) -> bool:
        return _is_root(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _is_root(request)

    def has_act_permission(self, request: HttpRequest) -> bool:
        """For actions on a list: `@admin.action(permissions=["act"])`."""
        return _is_root(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_add and _is_root(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_change and _is_root(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may_delete and _is_root(request)


class ActingForm(_ModelForm):
    """Collects values for a service. Whether they are allowed and fit together is the service's to say."""

    refusal: Refusal | None = None

    def _get_validation_exclusions(self) -> set[str]:
        """All fields: the rules and constraints of the rows would answer in words of the database."""
        return {field.name for field in self._meta.model._meta.fields}

    def validate_unique(self) -> None:
        return

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.refusal is not None:
            self._show(self.refusal)
        return cleaned

    def _show(self, refusal: Refusal) -> None:
        fields = refusal.extra.get("fields", {})
        shown = {name: sentences for name, sentences in fields.items() if name in self.fields}
        for name, sentences in shown.items():
            self.add_error(name, sentences)
        if not shown:
            self.add_error(None, refusal.detail)


class ReadingAdmin(RootAdminOnly, _ModelAdmin):
    """A page that shows rows and changes none."""

    show_full_result_count = False  # counting a million rows to say how many were not asked for
    list_per_page = 50

    def each_by_service(
        self, request: HttpRequest, rows: QuerySet[Any], act: Callable[[Actor, Any], object], done: str
    ) -> None:
        """Call a service for each row on its own; say how many worked (`done` holds `{count}`) and why others did not."""
        actor, count = actor_of(request), 0
        for row in rows:
            try:
                with transaction.atomic():
                    act(actor, row)
            except Refusal as refusal:
                self.message_user(request, f"{row}: {refusal.detail}", messages.ERROR)
            else:
                count += 1
        if count:
            self.message_user(request, done.format(count=count), messages.SUCCESS)


class ActingAdmin(ReadingAdmin):
    """A page whose changes are calls of services: subclasses say which in `create`, `change` and `remove`."""

    form = ActingForm

    def create(self, actor: Actor, values: dict[str, Any]) -> Model:
        """Make a new row from the form's values."""
        raise NotImplementedError

    def change(self, actor: Actor, row: Any, values: dict[str, Any]) -> None:
        """Change the stored row `row` to the form's values."""
        raise NotImplementedError

    def remove(self, actor: Actor, row: Any) -> None:
        """Delete the row."""
        raise NotImplementedError

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            # The form has written its values into `obj`; services compare with what is stored.
            self.change(actor_of(request), self.model._default_manager.get(pk=obj.pk), form.cleaned_data)
        else:
            obj.pk = self.create(actor_of(request), form.cleaned_data).pk
            obj._state.adding = False
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(actor_of(request), obj)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only what was asked for: whether more hangs on it is the service's to say, in a sentence."""
        return [str(row) for row in objs], {}, set(), []

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal = getattr(request, "refusal", None)
        return type(form.__name__, (form,), {"refusal": refusal}) if refusal is not None else form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """The stock page. When a service refuses, its transaction is rolled back and the same form is shown once more,
        with the values as they were typed and the refusal as its error."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except Refusal as refusal:
            request.refusal = refusal  # type: ignore[attr-defined]  # read by get_form in the second pass
            return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The stock page; a refusal leads back to the row with a message."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except Refusal as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(page, args=[object_id], current_app=self.admin_site.name))


def job_link(job: Job) -> SafeString:
    """A link to the page of a job in this admin."""
    return format_html('<a href="{}">{}</a>', reverse("admin:snapshots_job_change", args=[job.pk]), str(job))
