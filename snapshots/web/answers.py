"""How pages answer: who is asking, what a refusal looks like, where one goes after an action was accepted.

Every view works without JavaScript. With htmx a dialog is a part of the page, without it a page of its own; with htmx an
accepted action is told to the page that is open, without it the browser goes there.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from snapshots.access import Actor, Person, is_admin, is_root_admin, remember_role
from snapshots.choices import Trigger
from snapshots.csv_answer import csv_answer
from snapshots.models import Job
from snapshots.reading.chart_csv import csv_of
from snapshots.reading.chart_shapes import SeriesChart, TreeMap
from snapshots.refusals import Forbidden, Invalid, NotVisible, Refusal

Rest = ParamSpec("Rest")
View = Callable[Concatenate[HttpRequest, Rest], HttpResponseBase]


def signed_in(view: View[Rest]) -> View[Rest]:
    """For everything but the sign-in page: asks strangers to sign in, and turns refusals into pages."""

    @wraps(view)
    @never_cache
    def door(request: HttpRequest, *args: Rest.args, **kwargs: Rest.kwargs) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        remember_role(request.user)
        try:
            return view(request, *args, **kwargs)
        except Refusal as refusal:
            return refused(request, refusal)

    return cast("View[Rest]", door)


def for_root_admins(view: View[Rest]) -> View[Rest]:
    """For pages that exist for root admins alone. For everybody else who is signed in there is no such page."""
    return _only_for(is_root_admin, view)


def for_admins(view: View[Rest]) -> View[Rest]:
    """For pages that exist for admins, of everything or of a domain. For everybody else there is no such page."""
    return _only_for(is_admin, view)


def _only_for(lets_in: Callable[[Person], bool], view: View[Rest]) -> View[Rest]:
    @wraps(view)
    def door(request: HttpRequest, *args: Rest.args, **kwargs: Rest.kwargs) -> HttpResponseBase:
        if not lets_in(request.user):
            raise NotVisible("There is no such page.")
        return view(request, *args, **kwargs)

    return signed_in(cast("View[Rest]", door))


def actor_of(request: HttpRequest) -> Actor:
    """Whoever is signed in, acting through a page."""
    return Actor(request.user, Trigger.PAGE, request.META.get("REMOTE_ADDR") or None)  # type: ignore[arg-type]  # signed_in


def by_htmx(request: HttpRequest) -> bool:
    """Whether a script of ours asks for a part of a page, rather than a browser for a page."""
    return bool(request.htmx) and not request.htmx.history_restore_request  # type: ignore[attr-defined]  # django-htmx


def status_of(refusal: Refusal) -> int:
    """The HTTP status that fits a refusal."""
    if isinstance(refusal, NotVisible):
        return 404
    if isinstance(refusal, Forbidden):
        return 403
    return 422 if isinstance(refusal, Invalid) else 409


def refused(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    """A refusal as a page, or as a dialog over the page that is open."""
    if by_htmx(request):
        answer = render(request, "parts/refused.html", {"refusal": refusal}, status=status_of(refusal))
        answer["HX-Retarget"], answer["HX-Reswap"] = "#dialog", "innerHTML"
        return answer
    if isinstance(refusal, NotVisible):
        raise Http404(refusal.detail)
    context = {"refusal": refusal, "back": back_address(request)}
    return render(request, "refused.html", context, status=status_of(refusal))


def dialog(request: HttpRequest, template: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """A dialog: what is in it when the page opens it, a whole page otherwise. `context` names the machine's `page`
    where there is one, a `title`, an `address` to post to and the `back` address."""
    if by_htmx(request):
        answer = render(request, template, context, status=status)
        answer["HX-Retarget"], answer["HX-Reswap"] = "#dialog", "innerHTML"
        return answer
    whole = {**context, "dialog_template": template}
    if "page" in context:
        whole["simulated"] = context["page"].machine.hypervisor.simulated
    return render(request, "dialog_page.html", whole, status=status)


def accepted(request: HttpRequest, job: Job, back: str, said: str = "") -> HttpResponse:
    """An action is under way: the open page is told to look, or the browser goes back to it. `said` replaces the usual
    words about it."""
    if not said and job.snapshot_name:
        said = f"{job.get_action_display()}: “{job.snapshot_name}” on {job.machine_name}."
    said = said or f"{job}."
    return done(request, said, back)


def done(request: HttpRequest, said: str, back: str) -> HttpResponse:
    """An action was accepted or carried out: the open page is told to look, or the browser goes back to it."""
    if by_htmx(request):
        return HttpResponse(
            status=204, headers={"HX-Trigger": json.dumps({"vmsnap:accepted": {"said": said, "back": back}})}
        )
    messages.success(request, said)
    return redirect(back)


def gone_to(request: HttpRequest, address: str) -> HttpResponse:
    """The way on after a dialog of a page that does not renew itself: the open page goes there as a whole."""
    return HttpResponseClientRedirect(address) if by_htmx(request) else redirect(address)


def back_address(request: HttpRequest) -> str:
    """The page of ours that the person came from, as far as that is known; the list of machines otherwise."""
    came_from = request.headers.get("Referer", "")
    origin = f"{request.scheme}://{request.get_host()}/"
    here = request.build_absolute_uri()
    return came_from if came_from.startswith(origin) and came_from != here else reverse("machine_list")


def wanted_back(request: HttpRequest, otherwise: str) -> str:
    """The page of ours that a form says it was sent from, with its filters; `otherwise` when it does not say."""
    wanted = request.POST.get("back", "")
    ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if ours else otherwise


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if by_htmx(request):
        # The page that asked is what to come back to, not the part it asked for.
        page = request.htmx.current_url_abs_path or reverse("machine_list")  # type: ignore[attr-defined]  # django-htmx
        return HttpResponseClientRedirect(redirect_to_login(page, reverse("sign_in")).url)
    back = request.get_full_path() if request.method == "GET" else reverse("machine_list")
    return redirect_to_login(back, reverse("sign_in"))


def as_csv(chart: SeriesChart | TreeMap) -> StreamingHttpResponse:
    """The numbers of a chart as a file."""
    return csv_answer(chart.key, csv_of(chart))
