"""Finds the address a request came from when proxies stand in front, for events and for the pause after wrong passwords.

Each proxy adds the address it heard from at the end of `X-Forwarded-For`. Only as many entries as there are own proxies can
be believed, counted from the end; what stands before them anybody may have written.
"""

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


class ProxyMiddleware:
    """Makes `REMOTE_ADDR` the client's plain address, whoever is nearest, and empty where there is none (a Unix socket)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        forwarded = forwarded_address(request.headers.get("X-Forwarded-For", ""), settings.PROXIES)
        request.META["REMOTE_ADDR"] = forwarded or plain_address(request.META.get("REMOTE_ADDR", "")) or ""
        return self.get_response(request)


def forwarded_address(header: str, proxies: int) -> str | None:
    """The address that the outermost of so many own proxies heard from; None when there is none to believe."""
    heard = [part.strip() for part in header.split(",")] if header else []
    if proxies < 1 or len(heard) < proxies:
        return None
    return plain_address(heard[-proxies])


def plain_address(text: str) -> str | None:
    """The IP address in the text, None when it is none. A zone ("fe80::1%eth0") is dropped: databases refuse it."""
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
