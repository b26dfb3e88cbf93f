"""Keeping accounts and domains where they are, and there, while a transaction goes by them.

What refers to an account or a domain is only compared with it when the transaction is committed, too late for a refusal. So
whoever writes a reference holds the place first, and whoever deletes it waits for them and then sees what they wrote.
"""

from collections.abc import Collection

from django.db import transaction

from snapshots.models import Account, Domain
from snapshots.refusals import NotVisible


def lock_trees(domains: Collection[Domain]) -> None:
    """Lock the trees that these domains are in against every other setting and moving until the transaction ends. Others
    may refer to them meanwhile."""
    keys = [domain.pk for domain in domains]
    while True:
        with transaction.atomic():
            roots = _roots_of(keys)
            list(Domain.objects.select_for_update(no_key=True).filter(pk__in=roots).order_by("pk").values_list("pk"))
            if _roots_of(keys) <= roots:
                return
            # One was moved before its tree was locked and is in another by now. To lock that as well would be out of
            # order: everything is let go of and begun anew.
            transaction.set_rollback(True)


def _roots_of(domain_pks: Collection[int]) -> set[int]:
    return {domain.ancestor_ids[0] for domain in Domain.objects.filter(pk__in=domain_pks)}


def hold_account(account: Account, *, to_delete: bool = False) -> Account:
    """The account as it is once nobody can delete it until the transaction ends, nor refer to it, if it is to go. Raises
    `NotVisible` when it went.

    Machines are locked before accounts, accounts before their use of limits.
    """
    # Without its domain: were the account moved while this waits, PostgreSQL would look for it beside its former domain
    # only, and find nothing (Read Committed compares a changed row with the rows that the statement began with).
    if Account.objects.select_for_update(no_key=not to_delete).filter(pk=account.pk).first() is None:
        raise NotVisible("There is no such account.")
    return Account.objects.select_related("domain").get(pk=account.pk)


def hold_domain(domain: Domain, *, to_delete: bool = False) -> Domain:
    """The domain, in the same way."""
    found = Domain.objects.select_for_update(no_key=not to_delete).filter(pk=domain.pk).first()
    if found is None:
        raise NotVisible("There is no such domain.")
    return found
