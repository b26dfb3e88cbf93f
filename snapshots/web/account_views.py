"""What belongs to the person: API tokens and the theme of this browser."""

from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from snapshots.access import visible_tokens
from snapshots.choices import TokenScope
from snapshots.refusals import NotVisible, Refusal
from snapshots.services import tenancy
from snapshots.web.answers import actor_of, signed_in, status_of
from snapshots.web.forms import TokenForm
from snapshots.web.page_frame import THEME_COOKIE, THEMES


@signed_in
@require_GET
def show_account(request: HttpRequest) -> HttpResponse:
    """The person's own page."""
    return _account(request, TokenForm())


@signed_in
@require_POST
def make_token(request: HttpRequest) -> HttpResponse:
    """Make an API token. Its text is in this one answer and nowhere else, so there is no redirect."""
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _account(request, form, status=422)
    values = form.cleaned_data
    try:
        token, text = tenancy.create_token(
            actor_of(request),
            user=request.user,  # type: ignore[arg-type]  # signed_in
            name=values["name"],
            scope=TokenScope(values["scope"]),
            days=values["days"],
        )
    except Refusal as refusal:
        form.take_refusal(refusal)
        return _account(request, form, status=status_of(refusal))
    return _account(request, TokenForm(), made=token.name, text=text, status=201)


@signed_in
@require_POST
def revoke_token(request: HttpRequest, token_uuid: UUID) -> HttpResponse:
    """End an API token at once."""
    token = visible_tokens(request.user).filter(uuid=token_uuid).first()
    if token is None:
        raise NotVisible("There is no such token.")
    tenancy.revoke_token(actor_of(request), token=token)
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("account")


@require_POST
def choose_theme(request: HttpRequest) -> HttpResponse:
    """Remember the theme in this browser. Needs no signing in."""
    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}, require_https=request.is_secure()):
        back = "/"
    answer = redirect(back)
    theme = request.POST.get("theme", "auto")
    if theme in THEMES and theme != "auto":
        answer.set_cookie(
            THEME_COOKIE, theme, max_age=timedelta(days=400), samesite="Lax", secure=request.is_secure(), httponly=True
        )
    else:
        answer.delete_cookie(THEME_COOKIE, samesite="Lax")
    return answer


def _account(
    request: HttpRequest, form: TokenForm, *, made: str = "", text: str = "", status: int = 200
) -> HttpResponse:
    tokens = list(visible_tokens(request.user))
    labels = (("auto", "As my system has it"), ("light", "Light"), ("dark", "Dark"))
    context = {"form": form, "tokens": tokens, "made": made, "text": text, "themes": labels, "now": timezone.now()}
    return render(request, "account/account.html", context, status=status)
