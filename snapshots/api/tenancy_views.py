"""`accounts/`, `domains/` and `tokens/`."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from snapshots.api.authentication import actor_of, person_of
from snapshots.api.base_views import ApiView, DetailView, ListView
from snapshots.api.filters import AccountFilters, DomainFilters, TokenFilters
from snapshots.api.inputs import NoInput, TokenInput
from snapshots.api.outputs import AccountOutput, DomainOutput, NewTokenOutput, Output, TokenOutput
from snapshots.choices import TokenScope
from snapshots.reading import rest_lists
from snapshots.services import tenancy

TENANCY, TOKENS = ["accounts and domains"], ["tokens"]


class OfAccount(ApiView):
    """Below `accounts/`."""

    rows_of = staticmethod(rest_lists.accounts)
    noun = "account"
    output: type[Output] = AccountOutput


@extend_schema_view(get=extend_schema(tags=TENANCY, summary="List accounts", operation_id="list_accounts"))
class AccountList(OfAccount, ListView):
    """Accounts you are a member of or administer."""

    filterset_class = AccountFilters
    orderings = ("name", "created_at")


@extend_schema_view(get=extend_schema(tags=TENANCY, summary="Read an account", operation_id="read_account"))
class AccountDetail(OfAccount, DetailView):
    """An account."""


class OfDomain(ApiView):
    """Below `domains/`."""

    rows_of = staticmethod(rest_lists.domains)
    noun = "domain"
    output: type[Output] = DomainOutput


@extend_schema_view(get=extend_schema(tags=TENANCY, summary="List domains", operation_id="list_domains"))
class DomainList(OfDomain, ListView):
    """Domains you administer or have an account in."""

    filterset_class = DomainFilters
    orderings = ("name",)


@extend_schema_view(get=extend_schema(tags=TENANCY, summary="Read a domain", operation_id="read_domain"))
class DomainDetail(OfDomain, DetailView):
    """A domain."""


class OfToken(ApiView):
    """Below `tokens/`."""

    rows_of = staticmethod(rest_lists.tokens)
    noun = "token"
    output: type[Output] = TokenOutput


@extend_schema_view(
    get=extend_schema(tags=TOKENS, summary="List your own API tokens", operation_id="list_tokens"),
    post=extend_schema(
        tags=TOKENS,
        summary="Make an API token",
        operation_id="make_token",
        request=TokenInput,
        responses={201: NewTokenOutput},
        filters=False,
    ),
)
class TokenList(OfToken, ListView):
    """Your own API tokens, those that have expired included."""

    filterset_class = TokenFilters
    orderings = ("-created", "expiry", "name")
    tiebreak = "uuid"  # the primary key is the digest of the token's text

    def post(self, request: Request, **_: Any) -> Response:
        """Make a token. Its text is in this answer and cannot be had again."""
        self.refuse_parameters()
        values = self.given(TokenInput)
        made, text = tenancy.create_token(
            actor_of(request),
            user=person_of(request),
            name=values["name"],
            scope=TokenScope(values["scope"]),
            days=values["days"],
        )
        made.token = text
        location = reverse("api:token", args=[made.uuid], request=request)
        return Response(NewTokenOutput(made).data, status=201, headers={"Location": location})


@extend_schema_view(
    get=extend_schema(tags=TOKENS, summary="Read one of your own API tokens", operation_id="read_token"),
    delete=extend_schema(
        tags=TOKENS, summary="End one of your own API tokens", operation_id="end_token", responses={204: None}
    ),
)
class TokenDetail(OfToken, DetailView):
    """One of your own API tokens."""

    def delete(self, request: Request, **_: Any) -> Response:
        """End it at once."""
        self.refuse_parameters()
        self.given(NoInput)
        tenancy.revoke_token(actor_of(request), token=self.row())
        return Response(status=204)
