"""Admin pages of users, their roles, and API tokens."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from snapshots.access import Actor
from snapshots.admin.acting import ActingAdmin, ActingForm, ReadingAdmin, RootAdminOnly, actor_of
from snapshots.admin.tenancy import account_choice, domain_choice
from snapshots.choices import Role
from snapshots.models import ApiToken, Membership, User
from snapshots.services import tenancy

if TYPE_CHECKING:  # Django's own class carries type arguments only in the eyes of the type checker
    _TabularInline = admin.TabularInline[Membership, User]
else:
    _TabularInline = admin.TabularInline


def password_field(label: str, required: bool, help_text: str) -> forms.CharField:
    """A field for a password that is being set; what was typed is never sent back."""
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.CharField(label=label, required=required, strip=False, widget=widget, help_text=help_text)


class NewUserForm(ActingForm):
    """A user and the first password."""

    password = password_field("Password", True, "")
    repeated = password_field("Password again", True, "")

    class Meta:
        model = User
        fields = ("username",)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if "password" in cleaned and "repeated" in cleaned and cleaned["password"] != cleaned["repeated"]:
            self.add_error("repeated", "The two passwords differ.")
        return cleaned


class UserForm(ActingForm):
    """Switching a user on or off, and a new password."""

    new_password = password_field("New password", False, "Left empty, the password stays as it is.")

    class Meta:
        model = User
        fields = ("is_active",)
        labels = {"is_active": "May sign in"}
        help_texts = {"is_active": "Switch it off instead of deleting: the history keeps the name."}


class RoleChoices(RootAdminOnly):
    """Accounts and domains by their full names."""

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is None:
            return None
        if db_field.name == "account":
            return account_choice(field)
        return domain_choice(field) if db_field.name == "domain" else field


class RoleInline(RoleChoices, _TabularInline):
    """A user's roles, on the user's page."""

    model = Membership
    form = ActingForm
    may_add = may_delete = True
    extra = 0
    fields = ("role", "account", "domain")
    verbose_name_plural = "roles (reader and operator of an account, domain admin of a domain, root admin of all)"


@admin.register(User)
class UserAdmin(ActingAdmin):
    """People and programs that sign in."""

    may_add = may_change = True
    list_display = ("username", "is_active", "roles", "last_login", "date_joined")
    list_filter = ("is_active", "memberships__role")
    search_fields = ("username", "memberships__account__name", "memberships__domain__name")
    ordering = ("username",)
    inlines = (RoleInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        rows: QuerySet[User] = super().get_queryset(request)
        return rows.prefetch_related("memberships__account", "memberships__domain")

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        held = [
            f"{Role(role.role).label} of {role.account or role.domain}" if role.account or role.domain else "Root admin"
            for role in user.memberships.all()
        ]
        return ", ".join(["Root admin (superuser)"] * user.is_superuser + held) or "none"

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("username", "password", "repeated")
        return ("username", "is_active", "new_password", "last_login", "date_joined")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        return () if obj is None else ("username", "last_login", "date_joined")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=NewUserForm if obj is None else UserForm, **kwargs)

    def create(self, actor: Actor, values: dict[str, Any]) -> User:
        return tenancy.create_user(actor, username=values["username"], password=values["password"])

    def change(self, actor: Actor, row: User, values: dict[str, Any]) -> None:
        if values["is_active"] != row.is_active:
            tenancy.set_active(actor, user=row, active=values["is_active"])
        if values["new_password"]:
            tenancy.set_password(actor, user=row, password=values["new_password"])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        formset.save(commit=False)
        for role in formset.deleted_objects:
            tenancy.revoke_role(actor_of(request), membership=role)
        for role in formset.new_objects:
            tenancy.grant_role(
                actor_of(request),
                user=role.user,
                role=Role(role.role),
                account=role.account,
                domain=role.domain,
            )


@admin.register(Membership)
class RoleAdmin(RoleChoices, ActingAdmin):
    """Who may do what where. A role is given and taken, not edited."""

    may_add = may_delete = True
    list_display = ("user", "role", "account", "domain")
    list_display_links = ("user", "role")
    list_filter = ("role", "domain")
    list_select_related = ("user", "account", "domain")
    search_fields = ("user__username", "account__name", "domain__name")
    ordering = ("user__username", "role")
    fields = ("user", "role", "account", "domain")

    def create(self, actor: Actor, values: dict[str, Any]) -> Membership:
        return tenancy.grant_role(
            actor, user=values["user"], role=Role(values["role"]), account=values["account"], domain=values["domain"]
        )

    def remove(self, actor: Actor, row: Membership) -> None:
        tenancy.revoke_role(actor, membership=row)


@admin.register(ApiToken)
class TokenAdmin(ReadingAdmin):
    """API tokens: whose, what for, until when. Their text is known to nobody; here they can only be ended."""

    list_display = ("name", "user", "scope", "created", "expiry")
    list_filter = ("scope",)
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    fields = ("name", "user", "scope", "created", "expiry")
    actions = ("revoke",)

    @admin.action(description="End the chosen tokens at once", permissions=["act"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        self.each_by_service(
            request,
            queryset.select_related("user"),
            lambda actor, token: tenancy.revoke_token(actor, token=token),
            "Ended: {count}.",
        )
