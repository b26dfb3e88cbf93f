"""Puts our own admin site, which knows our roles, in the place of Django's, and registers the deployment checks."""

from django.contrib.admin.apps import AdminConfig


class VMSnapAdminConfig(AdminConfig):
    """Django's admin with `snapshots.admin.site.VMSnapAdminSite` as its site."""

    default_site = "snapshots.admin.site.VMSnapAdminSite"

    def ready(self) -> None:
        super().ready()
        # Models are not loaded before this point.
        from snapshots.admin import (  # noqa: F401  # they register
            endpoints,
            history,
            inventory,
            limits,
            people,
            schedules,
            tenancy,
            usage,
        )
        from vmsnap_site import deployment_checks  # noqa: F401  # it registers
