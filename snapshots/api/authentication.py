"""Who is calling: a hashed token or the browser session; and what the token's scope allows."""

from typing import TYPE_CHECKING

from django.utils import timezone
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.crypto import hash_token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, IsAuthenticated
from rest_framework.request import Request

from snapshots.access import Actor
from snapshots.choices import TokenScope, Trigger
from snapshots.models import ApiToken, User

if TYPE_CHECKING:
    # The framework imports this room, as its settings name it, before its views are there.
    from rest_framework.views import APIView

UNKNOWN_TOKEN = "The token is not known or has expired. Make a new one."  # noqa: S105  # a sentence, not a secret


class TokenAuthentication(KnoxTokenAuthentication):
    """`Authorization: Token …`. Knows only tokens that have not expired, of users who are active.

    Knox's own lookup reads all tokens of the user and deletes the expired ones on the way, and fails on bytes that are
    not UTF-8. The digest is the row's key, so one query finds it, and reading stays reading.
    """

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        try:
            digest = hash_token(token.decode("ascii"))
        except UnicodeDecodeError:
            raise AuthenticationFailed(UNKNOWN_TOKEN) from None
        found = ApiToken.objects.select_related("user").filter(digest=digest).first()
        expired = found is not None and found.expiry is not None and found.expiry <= timezone.now()
        if found is None or expired or not found.user.is_active:
            raise AuthenticationFailed(UNKNOWN_TOKEN)
        return found.user, found


class SignedInWithinScope(IsAuthenticated):
    """Signed in; and a token made for reading only reads."""

    message = "This token is for reading only. Make one with the scope “operate” to act."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not super().has_permission(request, view):
            return False
        token = request.auth
        reads_only = isinstance(token, ApiToken) and token.scope == TokenScope.READ
        return request.method in SAFE_METHODS or not reads_only


def person_of(request: Request) -> User:
    """The signed-in caller."""
    assert isinstance(request.user, User)  # noqa: S101  # for the type checker: the permission lets nobody else in
    return request.user


def actor_of(request: Request) -> Actor:
    """The caller as services know them: the person, this door, and the address the request came from."""
    return Actor(person_of(request), Trigger.API, request.META.get("REMOTE_ADDR") or None)
