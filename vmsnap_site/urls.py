"""Mounts the doors: pages, REST, admin, health."""

from django.contrib import admin
from django.urls import include, path

from vmsnap_site.health import health

urlpatterns = [
    path("api/", include("snapshots.api.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health, name="health"),
    path("", include("snapshots.web.urls")),
]
