"""Limits of accounts and domains, and how much of them is in use."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from snapshots.choices import UNLIMITED, LimitKind
from snapshots.models.tenancy import Account, Domain


class Limit(models.Model):
    """What an admin allowed one account, or one domain with everything below it. `value` is a number of VM snapshots,
    bytes or days, by kind; -1 is unlimited. Where there is no row, a default holds (`limit_levels.default_of`)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    domain = models.ForeignKey(Domain, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    kind = models.CharField(max_length=16, choices=LimitKind)
    value = models.BigIntegerField()
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    set_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("domain", "account", "kind")
        constraints = [
            models.CheckConstraint(
                name="limit_is_on_one_thing",
                condition=Q(account__isnull=False, domain=None) | Q(account=None, domain__isnull=False),
            ),
            models.CheckConstraint(name="limit_is_a_number_or_unlimited", condition=Q(value__gte=UNLIMITED)),
            models.UniqueConstraint(
                fields=("account", "kind"), condition=Q(account__isnull=False), name="one_limit_per_account_and_kind"
            ),
            models.UniqueConstraint(
                fields=("domain", "kind"), condition=Q(domain__isnull=False), name="one_limit_per_domain_and_kind"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.account or self.domain}"


class LimitUse(models.Model):
    """How many VM snapshots that count an account, or a domain with everything below it, has, and the bytes they are
    estimated to hold. Kept by `ledger` in the transaction that changes a tree; what is being taken is in it already."""

    account = models.OneToOneField(Account, null=True, on_delete=models.CASCADE, related_name="limit_use")
    domain = models.OneToOneField(Domain, null=True, on_delete=models.CASCADE, related_name="limit_use")
    snapshots = models.BigIntegerField(default=0)
    estimated_bytes = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="limit_use_is_of_one_thing",
                condition=Q(account__isnull=False, domain=None) | Q(account=None, domain__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"Use of {self.account or self.domain}"
