"""What the views share: reading lists and single things, and answering an action with its job."""

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from snapshots.access import Actor, Person, remember_role
from snapshots.api.authentication import actor_of
from snapshots.api.errors import nothing_at
from snapshots.api.filters import Filters, refuse_unknown_parameters
from snapshots.api.inputs import Input, NoInput
from snapshots.api.openapi import ProblemSchema
from snapshots.api.outputs import JobOutput, Output
from snapshots.api.pagination import Cursor
from snapshots.models import Job
from snapshots.reading import rest_lists
from snapshots.refusals import NotVisible
from snapshots.services.idempotency import digest_of, once


class Json(JSONParser):
    """JSON, whose depth cannot bring the parser down."""

    def parse(self, *args: Any, **options: Any) -> Any:
        try:
            return super().parse(*args, **options)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None


class OnlyJson(BaseContentNegotiation):
    """Answers JSON whatever the client says it accepts: there is nothing else to choose from."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> Any:
        return DefaultContentNegotiation().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> Any:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class ApiView(GenericAPIView[Any]):
    """A view of this API. `rows_of` gives the rows a person sees, with what `output` shows of one; `acted_on` the same rows
    bare, where that is less; `noun` names one in sentences."""

    parser_classes = [Json]
    content_negotiation_class = OnlyJson
    http_method_names = ["get", "head", "post", "patch", "delete"]  # no OPTIONS: the schema describes the views
    filter_backends: list[Any] = []
    pagination_class: Any = None
    schema = ProblemSchema()
    rows_of: Callable[[Person], Any]
    acted_on: Callable[[Person], Any] | None = None
    output: type[Output] = Output
    noun = "thing"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        remember_role(request.user)

    def get_queryset(self) -> QuerySet[Any]:
        person = AnonymousUser() if getattr(self, "swagger_fake_view", False) else self.request.user
        rows: QuerySet[Any] = self.rows_of(person)
        return rows

    def get_serializer_class(self) -> Any:
        return self.output

    def refuse_parameters(self, *known: str) -> None:
        """Raise `Invalid` for query parameters other than these."""
        refuse_unknown_parameters(self.request, set(known))

    def row(self) -> Any:
        """The row that the address names. Raises `NotVisible`."""
        return self._named_in(self.get_queryset())

    def target(self) -> Any:
        """The same for a service that reads it anew under its lock: its key, and the rest only if that is asked for."""
        return self.row() if self.acted_on is None else self._named_in(self.acted_on(self.request.user).only("pk"))

    def _named_in(self, rows: QuerySet[Any]) -> Any:
        found = rows.filter(uuid=self.kwargs["id"]).order_by().first()
        if found is None:
            raise NotVisible(f"There is no such {self.noun}.")
        return found

    def given(self, shape: type[Input]) -> dict[str, Any]:
        """The values of the body, checked against the shape. Raises `ValidationError`."""
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        values: dict[str, Any] = serializer.validated_data
        return values

    def job_of(self, shape: type[Input], ask: Callable[[Actor, Any, dict[str, Any]], Job]) -> Response:
        """Ask a service for a job on the row, once per Idempotency-Key, and answer 202 with it.

        The row is looked up only when the service is really asked: a deletion that is repeated with its key leads to its
        job, although what it deleted is gone.
        """
        request = self.request
        body = request.body  # before the parser takes it from the stream
        values = self.given(shape)
        actor = actor_of(request)
        digest = digest_of(str(request.method), request.get_full_path(), body)
        asked = once(actor, request.headers.get("Idempotency-Key"), digest, lambda: ask(actor, self.target(), values))
        job = rest_lists.jobs(request.user).filter(pk=asked.pk).first()
        if job is None:
            raise NotVisible("There is no such job.")
        location = reverse("api:job", args=[job.uuid], request=request)
        return Response(JobOutput(job).data, status=202, headers={"Location": location})


class ListView(ApiView):
    """A list in pages. Each sets `rows_of`, `output`, `filterset_class` and `orderings`."""

    filter_backends = [Filters]
    pagination_class = Cursor
    filterset_class: Any = None
    orderings: tuple[str, ...] = ()
    # Parameters beyond those of the filters and of the pages.
    more_parameters: tuple[str, ...] = ()

    def get(self, request: Request, **_: Any) -> Response:
        """One page of the list."""
        page = self.paginate_queryset(self.filter_queryset(self.listed()))
        self.complete(page or [])
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def listed(self) -> Any:
        """The rows the list is about."""
        return self.get_queryset()

    def complete(self, page: Any) -> None:
        """For lists whose rows need more than their own query gives."""


class DetailView(ApiView):
    """One thing."""

    def get(self, request: Request, **_: Any) -> Response:
        """The thing as last known."""
        self.refuse_parameters()
        row = self.row()
        self.complete(row)
        return Response(self.get_serializer(row).data)

    def complete(self, row: Any) -> None:
        """For things that need more than their own query gives."""


class ActionView(ApiView):
    """A POST that asks for a job on one thing."""

    input: type[Input] = NoInput
    output: type[Output] = JobOutput

    def post(self, request: Request, **_: Any) -> Response:
        """Ask for the job."""
        self.refuse_parameters()
        return self.job_of(self.input, self.ask)

    def ask(self, actor: Actor, row: Any, values: dict[str, Any]) -> Job:
        """The one service this address stands for."""
        raise NotImplementedError


class NothingHere(ApiView):
    """Every address that leads nowhere, so that this too is answered as a problem."""

    schema = None  # type: ignore[assignment]  # in no description

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(nothing_at(request.path))
