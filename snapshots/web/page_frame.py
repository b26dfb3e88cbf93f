"""What every page's frame shows: whether the person may enter the admin site, the chosen theme, the version, and
whether everything here is simulated."""

import tomllib
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from snapshots.access import is_admin, is_root_admin, remember_role
from snapshots.reading.installation import is_simulated

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "theme"

# The product runs from its checkout and is not itself installed as a package, so its version stands only there.
VERSION: str = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def page_frame(request: HttpRequest) -> dict[str, Any]:
    """Context of `base.html`."""
    person = getattr(request, "user", None) or AnonymousUser()
    # Pages that a view of ours made know already; this is for the admin site and for errors.
    remember_role(person)
    return {
        "may_administer": is_root_admin(person),
        "is_admin": is_admin(person),
        "theme": theme_of(request),
        "version": VERSION,
        # Asked by the template, and only on pages that do not say it of what they show.
        "installation_is_simulated": is_simulated,
    }


def theme_of(request: HttpRequest) -> str:
    """The theme this browser chose, "auto" (that of its system) unless it did."""
    chosen = request.COOKIES.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"
