"""Who there is: domains (a tree of organisations), accounts that own machines, users and their roles, API tokens."""

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from knox.models import AbstractAuthToken

from snapshots.choices import Role, TokenScope


class User(AbstractUser):
    """A person or program that signs in. What it may do follows from its memberships alone (and `is_superuser`, which
    counts as root admin, so that Django's `createsuperuser` makes a first admin)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)


class Domain(models.Model):
    """An organisation, in a tree. `path` holds the primary keys from the root down to this one ("/1/4/"), so that
    ancestors and descendants are found without walking; `services.tenancy` keeps it."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=255)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    path = models.CharField(max_length=1024, unique=True, editable=False)

    class Meta:
        ordering = ("path",)
        constraints = [
            models.UniqueConstraint(fields=("parent", "name"), name="domain_name_unique_below_parent"),
            models.UniqueConstraint(fields=("name",), condition=Q(parent=None), name="root_domain_name_unique"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ancestor_ids(self) -> list[int]:
        """Primary keys from the root down to and including this domain."""
        return [int(part) for part in self.path.split("/") if part]


class Account(models.Model):
    """Owner of machines; belongs to a domain."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=255)
    domain = models.ForeignKey(Domain, on_delete=models.PROTECT, related_name="accounts")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = [models.UniqueConstraint(fields=("domain", "name"), name="account_name_unique_in_domain")]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One role of one user: on an account (reader, operator), on a domain and all below it (domain admin), or
    everywhere (root admin)."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="memberships")
    domain = models.ForeignKey(Domain, null=True, blank=True, on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        verbose_name = "role"
        constraints = [
            models.CheckConstraint(
                name="membership_role_fits_its_place",
                condition=(
                    Q(role__in=(Role.READER, Role.OPERATOR), account__isnull=False, domain=None)
                    | Q(role=Role.DOMAIN_ADMIN, account=None, domain__isnull=False)
                    | Q(role=Role.ROOT_ADMIN, account=None, domain=None)
                ),
            ),
            models.UniqueConstraint(
                fields=("user", "account"), condition=Q(account__isnull=False), name="one_role_per_user_and_account"
            ),
            models.UniqueConstraint(
                fields=("user", "domain"), condition=Q(domain__isnull=False), name="one_role_per_user_and_domain"
            ),
            models.UniqueConstraint(
                fields=("user",), condition=Q(role=Role.ROOT_ADMIN), name="one_root_admin_role_per_user"
            ),
        ]

    def __str__(self) -> str:
        place = self.account or self.domain or "everywhere"
        return f"{self.user}: {self.get_role_display()} of {place}"


class ApiToken(AbstractAuthToken):  # type: ignore[misc]  # knox carries no types
    """A hashed, expiring key for REST. Several per user; the plain text is shown once, when it is made."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=255)
    scope = models.CharField(max_length=16, choices=TokenScope, default=TokenScope.READ)

    class Meta:
        verbose_name = "API token"
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"
