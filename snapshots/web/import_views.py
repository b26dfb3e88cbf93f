"""Sharing out machines: the page of what hypervisors hold, giving machines to accounts one by one or many at once, and
the import rules. For root admins only; for everybody else none of it exists."""

from collections.abc import Iterable
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from hypervisors.models import Hypervisor
from snapshots.access import visible_accounts, visible_hypervisors, visible_machines
from snapshots.models import Account, ImportRule
from snapshots.naming import some_of
from snapshots.reading.machine_import import account_menu, import_list, import_rules
from snapshots.reading.machine_page import machine_of
from snapshots.refusals import Invalid, NotVisible, Refusal
from snapshots.services import machine_import
from snapshots.services.machine_import import Given, Preview, RuleValues
from snapshots.web.answers import actor_of, by_htmx, dialog, for_root_admins, gone_to, status_of, wanted_back
from snapshots.web.forms import NO_ACCOUNT, AssignForm, ImportFilterForm, RuleForm

NAMES_SHOWN = 12
NAMES_IN_A_LIST = 100


@for_root_admins
@require_GET
def list_importable(request: HttpRequest) -> HttpResponse:
    """What the hypervisors hold."""
    query = ImportFilterForm(request.GET).asked()
    found = import_list(request.user, query)
    context = {
        "query": query,
        "found": found,
        "simulated": "some" if found.any_simulated else "",
        "no_account": NO_ACCOUNT,
    }
    part = by_htmx(request) and request.headers.get("HX-Target") == "importable"
    return render(request, "import/_list.html" if part else "import/list.html", context)


@for_root_admins
@require_POST
def assign_machines(request: HttpRequest) -> HttpResponse:
    """Give the chosen machines to an account."""
    form = AssignForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
        return redirect(_back(request))
    machines = list(visible_machines(request.user).filter(uuid__in=form.cleaned_data["machine"]))
    account = _account(request, form.cleaned_data["account"])
    try:
        given = machine_import.assign_machines(actor_of(request), machines=machines, account=account)
    except Refusal as refusal:
        messages.error(request, refusal.detail)
    else:
        _say(request, given, account)
    return redirect(_back(request))


@for_root_admins
@require_http_methods(["GET", "POST"])
def assign_machine(request: HttpRequest, machine_uuid: UUID) -> HttpResponse:
    """Give one machine to an account."""
    machine, _ = machine_of(request.user, machine_uuid)
    form, status = AssignForm(request.POST if request.method == "POST" else None, one_is_known=True), 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            account = _account(request, form.cleaned_data["account"])
            given = machine_import.assign_machines(actor_of(request), machines=[machine], account=account)
            if not given.left:
                _say(request, given, account)
                return gone_to(request, _back(request))
            form.add_error(None, given.left[0][1])
            status = 409
    context = {
        "machine": machine,
        "form": form,
        "accounts": account_menu(request.user, request.GET.get("accounts", "")),
        "chosen": request.POST.get("account", "") or (str(machine.account.uuid) if machine.account else ""),
        "no_account": NO_ACCOUNT,
        "simulated": machine.hypervisor.simulated,
        "title": f"Give {machine.name} to an account",
        "address": reverse("assign_machine", args=[machine_uuid]),
        "back": _back(request),
    }
    return dialog(request, "import/assign.html", context, status)


@for_root_admins
@require_GET
def list_rules(request: HttpRequest) -> HttpResponse:
    """The import rules, with what each would do now."""
    preview = machine_import.preview_rules(actor_of(request))
    rules = import_rules()
    rows = [(rule, *_shown(preview, rule.pk)) for rule in rules]
    context = {
        "rows": rows,
        "undecided": preview.undecided,
        "waiting": sum(len(machines) for machines in preview.fitting.values()),
    }
    return render(request, "import/rules.html", context)


@for_root_admins
@require_http_methods(["GET", "POST"])
def add_rule(request: HttpRequest) -> HttpResponse:
    """A new rule; with `preview` only what it would do."""
    return _rule_dialog(request, None)


@for_root_admins
@require_http_methods(["GET", "POST"])
def change_rule(request: HttpRequest, rule_uuid: UUID) -> HttpResponse:
    """Another condition or account for a rule; with `preview` only what it would do."""
    return _rule_dialog(request, _rule(rule_uuid))


@for_root_admins
@require_http_methods(["GET", "POST"])
def delete_rule(request: HttpRequest, rule_uuid: UUID) -> HttpResponse:
    """Forget a rule."""
    rule = _rule(rule_uuid)
    if request.method == "POST":
        machine_import.delete_rule(actor_of(request), rule=rule)
        messages.success(request, "The rule is deleted. The machines it gave away stay where they are.")
        return gone_to(request, reverse("import_rules"))
    context = {
        "rule": rule,
        "title": "Delete an import rule",
        "address": reverse("delete_import_rule", args=[rule_uuid]),
        "back": reverse("import_rules"),
    }
    return dialog(request, "import/delete_rule.html", context)


@for_root_admins
@require_POST
def move_rule(request: HttpRequest, rule_uuid: UUID) -> HttpResponse:
    """Try a rule earlier or later."""
    machine_import.move_rule(actor_of(request), rule=_rule(rule_uuid), up=request.POST.get("where") == "up")
    return redirect("import_rules")


@for_root_admins
@require_POST
def apply_rules(request: HttpRequest) -> HttpResponse:
    """Apply all rules without waiting for a reading."""
    count = machine_import.apply_rules_now(actor_of(request))
    if count:
        messages.success(request, f"{_machines(count)} given to accounts.")
    else:
        messages.info(request, "No machine fits a rule now, so none was given away.")
    return redirect("import_rules")


def _rule_dialog(request: HttpRequest, rule: ImportRule | None) -> HttpResponse:
    form, status, preview = RuleForm(initial=RuleForm.values_of(rule)), 200, None
    if request.method == "POST":
        form = RuleForm(request.POST)
        status = 422
        if form.is_valid():
            try:
                values = _rule_values(request, form)
                if request.POST.get("preview"):
                    preview = machine_import.preview_rules(actor_of(request), values)
                    status = 200
                else:
                    return _kept(request, rule, values)
            except Refusal as refusal:
                form.take_refusal(refusal)
                status = status_of(refusal)
    names, more, count = _shown(preview, 0) if preview else ([], 0, 0)
    address = reverse("change_import_rule", args=[rule.uuid]) if rule else reverse("add_import_rule")
    context = {
        "form": form,
        "rule": rule,
        "preview": preview,
        "fitting": names,
        "fitting_more": more,
        "fitting_count": count,
        "hypervisors": visible_hypervisors(request.user).order_by("name"),
        "accounts": account_menu(request.user),
        "title": "Change an import rule" if rule else "Add an import rule",
        "address": address,
        "back": reverse("import_rules"),
    }
    return dialog(request, "import/rule.html", context, status)


def _kept(request: HttpRequest, rule: ImportRule | None, values: RuleValues) -> HttpResponse:
    actor = actor_of(request)
    if rule is None:
        machine_import.add_rule(actor, **values)
        messages.success(request, "The rule is added. It works from the next reading on; “Apply now” does not wait.")
    else:
        machine_import.change_rule(actor, rule=rule, **values)
        messages.success(request, "The rule is changed. Machines it gave away before stay where they are.")
    return gone_to(request, reverse("import_rules"))


def _rule_values(request: HttpRequest, form: RuleForm) -> RuleValues:
    values = form.cleaned_data
    account = visible_accounts(request.user).filter(uuid=values["account"]).first()
    if account is None:
        raise Invalid("Choose an account.", fields={"account": ["Choose an account of the list."]})
    hypervisor: Hypervisor | None = None
    if values["hypervisor"]:
        hypervisor = visible_hypervisors(request.user).filter(uuid=values["hypervisor"]).first()
        if hypervisor is None:
            raise Invalid("Choose a hypervisor.", fields={"hypervisor": ["Choose a hypervisor of the list."]})
    return {
        "account": account,
        "hypervisor": hypervisor,
        "name_pattern": values["name_pattern"],
        "folder_pattern": values["folder_pattern"],
        "pool_pattern": values["pool_pattern"],
        "tag_pattern": values["tag_pattern"],
    }


def _rule(rule_uuid: UUID) -> ImportRule:
    rule = next((row for row in import_rules() if row.uuid == rule_uuid), None)
    if rule is None:
        raise NotVisible("There is no such import rule.")
    return rule


def _account(request: HttpRequest, chosen: UUID | None) -> Account | None:
    """The account with this id, None when none is meant. Raises `NotVisible`."""
    if chosen is None:
        return None
    account = visible_accounts(request.user).filter(uuid=chosen).first()
    if account is None:
        raise NotVisible("There is no such account.")
    return account


def _shown(preview: Preview, key: int) -> tuple[list[str], int, int]:
    """Names of the machines a rule would give away, how many are not among them, and how many there are."""
    machines = preview.fitting.get(key, [])
    return (
        [machine.name for machine in machines[:NAMES_IN_A_LIST]],
        max(len(machines) - NAMES_IN_A_LIST, 0),
        len(machines),
    )


def _say(request: HttpRequest, given: Given, account: Account | None) -> None:
    """Tell what became of a request for machines."""
    owner = f"belong to {account.name}" if account else "belong to nobody, and import rules leave them alone"
    if account and len(given.machines) == 1:
        owner = f"belongs to {account.name}"
    elif len(given.machines) == 1:
        owner = "belongs to nobody, and import rules leave it alone"
    if given.machines:
        messages.success(request, f"{_names(row.name for row in given.machines)} now {owner}.")
    if given.already:
        messages.info(request, f"{_names(row.name for row in given.already)} belonged there before.")
    for machine, reason in given.left[:NAMES_SHOWN]:
        messages.error(request, f"{machine.name} stays where it is. {reason}")
    if len(given.left) > NAMES_SHOWN:
        messages.error(request, f"{len(given.left) - NAMES_SHOWN} more stay where they are, for such reasons.")
    if not (given.machines or given.already or given.left):
        messages.error(request, "None of the machines is there any more.")


def _names(names: Iterable[str]) -> str:
    return some_of(list(names), NAMES_SHOWN)


def _machines(count: int) -> str:
    return f"{count} machine{'' if count == 1 else 's'}"


def _back(request: HttpRequest) -> str:
    """The import page with the filters as they were, as far as that is known."""
    return wanted_back(request, reverse("import_machines"))
