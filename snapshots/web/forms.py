"""What people fill in, translated into values for services. The rules stand in the services, not here."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import QueryDict

from hypervisors.records import PowerAfterRevert
from snapshots.choices import JobAction, JobState, PowerState, TokenScope
from snapshots.models import ImportRule
from snapshots.reading.drift_report import CORRECTED, ELSEWHERE, LOST, VANISHED, DriftQuery
from snapshots.reading.machine_import import ALL, NOBODY, ImportQuery
from snapshots.reading.machine_list import DESCENDING, SORTS, MachineQuery
from snapshots.reading.schedules import ACTIVE, PAUSED, WRONG, ScheduleQuery
from snapshots.reading.usage_page import UsageQuery
from snapshots.refusals import Refusal


class AnsweringForm(forms.Form):
    """A form that shows a service's refusal beside the field it is about, or above all of them."""

    def take_refusal(self, refusal: Refusal) -> None:
        """Show why it was refused."""
        told = {self.place_of(name): texts for name, texts in refusal.extra.get("fields", {}).items()}
        fields = {name: texts for name, texts in told.items() if name in self.fields}
        for name, texts in fields.items():
            self.add_error(name, texts)
        if not fields:
            self.add_error(None, refusal.detail)

    def place_of(self, name: str) -> str:
        """The field of the form in which a service's value is entered."""
        return name


class NameForm(AnsweringForm):
    """Name and description of a VM snapshot. Their lengths and characters are judged by the service."""

    name = forms.CharField(required=False, strip=False)
    description = forms.CharField(required=False, strip=False, widget=forms.Textarea)


class TakeForm(NameForm):
    """What to keep: disks, disks and memory, or disks of a guest that settled first."""

    KINDS = (("disk", "Disks"), ("memory", "Disks and memory"), ("quiesce", "Disks, guest settled first"))

    kind = forms.ChoiceField(
        choices=KINDS, widget=forms.RadioSelect, error_messages={"required": "Choose what to keep."}
    )
    exceed_limits = forms.BooleanField(required=False)


class RevertForm(AnsweringForm):
    """How to revert. `power` empty means: not chosen."""

    power = forms.ChoiceField(
        required=False, choices=[(choice.value, choice.value) for choice in PowerAfterRevert], widget=forms.RadioSelect
    )
    safety_snapshot = forms.BooleanField(required=False)
    exceed_limits = forms.BooleanField(required=False)

    @property
    def power_chosen(self) -> PowerAfterRevert | None:
        """The choice, None when none was made."""
        chosen = self.cleaned_data["power"]
        return PowerAfterRevert(chosen) if chosen else None


class StopForm(AnsweringForm):
    """How to stop a machine."""

    way = forms.ChoiceField(choices=(("ask", "ask"), ("force", "force")), widget=forms.RadioSelect)


class AttachForm(AnsweringForm):
    """Which loose volume to attach."""

    volume = forms.UUIDField(error_messages={"required": "Choose a volume.", "invalid": "Choose a volume of the list."})


class TokenForm(AnsweringForm):
    """A new API token."""

    name = forms.CharField(required=False, strip=False)
    scope = forms.ChoiceField(choices=TokenScope, initial=TokenScope.READ)
    days = forms.IntegerField(initial=90)


class MachineFilterForm(forms.Form):
    """Search, filters and sorting of the list of machines, from the address. What makes no sense is passed over."""

    q = forms.CharField(required=False, max_length=255)
    power = forms.ChoiceField(required=False, choices=[("", ""), *list(PowerState.choices)])
    hypervisor = forms.UUIDField(required=False)
    account = forms.UUIDField(required=False)
    sort = forms.ChoiceField(
        required=False, choices=[(key, key) for key in SORTS] + [(f"-{key}", key) for key in DESCENDING]
    )
    page = forms.IntegerField(required=False, min_value=1, max_value=1_000_000)

    def asked(self) -> MachineQuery:
        """The query that the address stands for."""
        self.is_valid()
        values = self.cleaned_data
        return MachineQuery(
            text=values.get("q") or "",
            power_state=values.get("power") or "",
            hypervisor=values.get("hypervisor"),
            account=values.get("account"),
            sort=values.get("sort") or "name",
            page=values.get("page") or 1,
        )


# What stands in the menu of accounts for none of them.
NO_ACCOUNT = "none"


class AssignForm(AnsweringForm):
    """Which machines go to which account. The account is None when none is meant."""

    machine = forms.Field(required=False)
    account = forms.CharField(error_messages={"required": "Choose an account."})

    def clean_machine(self) -> list[UUID]:
        """The ids given, however often the field is there."""
        given = self.data.getlist("machine") if isinstance(self.data, QueryDict) else []
        if not given and not self.one_is_known:
            raise forms.ValidationError("Choose at least one machine.")
        return [_uuid(text, "Choose machines of the list.") for text in given]

    def clean_account(self) -> UUID | None:
        """The account's id, None for nobody."""
        chosen = self.cleaned_data["account"]
        return None if chosen == NO_ACCOUNT else _uuid(chosen, "Choose an account of the list.")

    def __init__(self, *args: Any, one_is_known: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.one_is_known = one_is_known


def uuid_or_none(text: str) -> UUID | None:
    """The id that an address or a form names; None for a text that is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _uuid(text: str, otherwise: str) -> UUID:
    found = uuid_or_none(text)
    if found is None:
        raise forms.ValidationError(otherwise)
    return found


class RuleForm(AnsweringForm):
    """What an import rule asks for and whom it gives machines to. The patterns are judged by the service."""

    name_pattern = forms.CharField(required=False)
    folder_pattern = forms.CharField(required=False)
    pool_pattern = forms.CharField(required=False)
    tag_pattern = forms.CharField(required=False)
    hypervisor = forms.UUIDField(required=False, error_messages={"invalid": "Choose a hypervisor of the list."})
    account = forms.UUIDField(
        error_messages={"required": "Choose an account.", "invalid": "Choose an account of the list."}
    )

    @staticmethod
    def values_of(rule: ImportRule | None) -> dict[str, Any]:
        """What the form shows of a stored rule."""
        if rule is None:
            return {}
        return {
            "name_pattern": rule.name_pattern,
            "folder_pattern": rule.folder_pattern,
            "pool_pattern": rule.pool_pattern,
            "tag_pattern": rule.tag_pattern,
            "hypervisor": rule.hypervisor.uuid if rule.hypervisor else None,
            "account": rule.account.uuid,
        }


class ImportFilterForm(forms.Form):
    """Search and filters of the import page, from the address. What makes no sense is passed over."""

    q = forms.CharField(required=False, max_length=255)
    hypervisor = forms.UUIDField(required=False)
    owner = forms.ChoiceField(required=False, choices=[(NOBODY, "Nobody's"), (ALL, "All machines")])
    accounts = forms.CharField(required=False, max_length=255)
    page = forms.IntegerField(required=False, min_value=1, max_value=1_000_000)

    def asked(self) -> ImportQuery:
        """The query that the address stands for."""
        self.is_valid()
        values = self.cleaned_data
        return ImportQuery(
            text=values.get("q") or "",
            hypervisor=values.get("hypervisor"),
            owner=values.get("owner") or NOBODY,
            accounts=values.get("accounts") or "",
            page=values.get("page") or 1,
        )


class DriftFilterForm(forms.Form):
    """Filters of the drift report, from the address. What makes no sense is passed over."""

    KINDS = (
        ("", "Everything"),
        (ELSEWHERE, "Made elsewhere"),
        (LOST, "Lost"),
        (VANISHED, "Vanished machines"),
        (CORRECTED, "Put right"),
    )

    q = forms.CharField(required=False, max_length=255)
    hypervisor = forms.UUIDField(required=False)
    what = forms.ChoiceField(required=False, choices=KINDS)
    page = forms.IntegerField(required=False, min_value=1, max_value=1_000_000)

    def asked(self) -> DriftQuery:
        """The query that the address stands for."""
        self.is_valid()
        values = self.cleaned_data
        return DriftQuery(
            text=values.get("q") or "",
            hypervisor=values.get("hypervisor"),
            what=values.get("what") or "",
            page=values.get("page") or 1,
        )


class AdoptForm(forms.Form):
    """What is chosen when VM snapshots made elsewhere are adopted."""

    exceed_limits = forms.BooleanField(required=False)


class UsageForm(forms.Form):
    """What of one's usage is asked for, from the address. What makes no sense is passed over."""

    account = forms.UUIDField(required=False)
    machine = forms.UUIDField(required=False)
    month = forms.DateField(required=False, input_formats=["%Y-%m"])

    @property
    def query(self) -> UsageQuery:
        """The same as the page asks for it."""
        self.is_valid()
        values = self.cleaned_data
        return UsageQuery(values.get("account"), values.get("month"), values.get("machine"))


class ScheduleFilterForm(forms.Form):
    """Search and filter of the list of schedules, from the address. What makes no sense is passed over."""

    STATES = (("", "All"), (ACTIVE, "Active"), (PAUSED, "Paused"), (WRONG, "Missed or failed last time"))

    q = forms.CharField(required=False, max_length=255)
    state = forms.ChoiceField(required=False, choices=STATES)
    page = forms.IntegerField(required=False, min_value=1, max_value=1_000_000)

    def asked(self) -> ScheduleQuery:
        """The query that the address stands for."""
        self.is_valid()
        values = self.cleaned_data
        return ScheduleQuery(values.get("q") or "", values.get("state") or "", values.get("page") or 1)


class JobFilterForm(forms.Form):
    """Filters of the list of jobs, from the address. What makes no sense is passed over."""

    state = forms.ChoiceField(required=False, choices=[("", "Any state"), *list(JobState.choices)])
    action = forms.ChoiceField(required=False, choices=[("", "Any action"), *list(JobAction.choices)])
    before = forms.UUIDField(required=False)
