"""`limits/`: what accounts and domains may use, and setting that."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from snapshots.api.authentication import actor_of
from snapshots.api.base_views import ApiView, ListView
from snapshots.api.filters import LimitFilters
from snapshots.api.inputs import LimitInput
from snapshots.api.outputs import LimitsOutput, LimitsSetOutput, Output
from snapshots.choices import LimitKind
from snapshots.models import Account, Domain
from snapshots.reading import limit_lists, rest_lists
from snapshots.refusals import NotVisible
from snapshots.services.limit_setting import set_limit

TAGS = ["limits"]


@extend_schema_view(
    get=extend_schema(tags=TAGS, summary="List limits", operation_id="list_limits"),
    put=extend_schema(
        tags=TAGS,
        summary="Set a limit",
        operation_id="set_limit",
        request=LimitInput,
        responses={200: LimitsSetOutput},
        filters=False,
    ),
)
class Limits(ListView):
    """What holds at every account and domain you see, what is in use of it, and where it comes from."""

    http_method_names = [*ApiView.http_method_names, "put"]
    rows_of = staticmethod(limit_lists.places)
    noun = "account or domain"
    output: type[Output] = LimitsOutput
    filterset_class = LimitFilters
    orderings = ("-snapshots", "-estimated_bytes")

    def complete(self, page: Any) -> None:
        limit_lists.add_limits(page, self.request.user)
        if wanted := self.request.query_params.get("kind"):
            for row in page:
                row.limits = [limit for limit in row.limits if limit["kind"] == wanted]

    def put(self, request: Request, **_: Any) -> Response:
        """Set a limit of an account (as an admin of its domain) or of a domain (as an admin of the one above). Limits below
        it that were set higher are lowered with it; `lowered` says which."""
        self.refuse_parameters()
        values = self.given(LimitInput)
        on = self._place(values["account"], values["domain"])
        done = set_limit(actor_of(request), on=on, kind=LimitKind(values["kind"]), value=values["value"])
        row = limit_lists.places(request.user).get(**{"account" if isinstance(on, Account) else "domain": on})
        limit_lists.add_limits([row], request.user)
        row.lowered = done.lowered  # type: ignore[attr-defined]  # shown beside the row's own columns
        return Response(LimitsSetOutput(row).data)

    def _place(self, account: UUID | None, domain: UUID | None) -> Account | Domain:
        """What the limit is to be on, if the person sees it. Raises `NotVisible`."""
        person = self.request.user
        rows: Any = rest_lists.domains(person) if account is None else rest_lists.accounts(person)
        found: Account | Domain | None = rows.filter(uuid=domain if account is None else account).first()
        if found is None:
            raise NotVisible(f"There is no such {'domain' if account is None else 'account'}.")
        return found
