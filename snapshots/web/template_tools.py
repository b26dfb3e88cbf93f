"""Template tags and filters of the pages: sizes, times, icons. Whatever they are given is escaped."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from snapshots import schedule_times
from snapshots.choices import JobAction
from snapshots.models import Job, Schedule
from snapshots.naming import size_in_words
from snapshots.services.jobs import EVENT_NAMES
from snapshots.usage_arithmetic import BILLION, HOUR
from snapshots.web.chart_table import chart_table

register = template.Library()


@register.filter
def size(count: int | None) -> str:
    """Bytes in the unit that suits them, powers of 1024: "1.5 GiB"."""
    return "not measured" if count is None else size_in_words(count)


@register.filter
def at_most(value: int, most: int) -> int:
    """The number, or the most it may be."""
    return min(value, most)


register.simple_tag(chart_table)


@register.filter
def byte_hours(amount: int) -> str:
    """Byte-microseconds as bytes times hours: "1.5 GiB hours"."""
    return f"{size(round(amount / HOUR))} hours" if amount else "0"


@register.filter
def hours(microseconds: int) -> str:
    """Microseconds as hours: "12.5 hours"."""
    return f"{microseconds / HOUR:,.1f}".removesuffix(".0") + " hours"


@register.filter
def price(billionths: int | None, currency: str) -> str:
    """Billionths of a currency: "3.40 EUR"."""
    return "no price" if billionths is None else f"{billionths / BILLION:,.2f} {currency}"


def in_words(at: datetime) -> str:
    """A time with its year and its zone, in the installation's time zone: "22 Nov 2026, 14:05:09 UTC"."""
    local = timezone.localtime(at)
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"


@register.filter
def moment(at: datetime | None) -> SafeString | str:
    """The time as an element that machines can read too."""
    if at is None:
        return "never"
    return format_html('<time datetime="{}">{}</time>', at.isoformat(timespec="seconds"), in_words(at))


@register.filter
def age(at: datetime | None) -> str:
    """How long ago, in its largest unit: "3 hours ago"."""
    if at is None:
        return "never"
    return f"{duration(timezone.now() - at)} ago" if timezone.now() - at >= timedelta(seconds=1) else "just now"


def duration(span: timedelta) -> str:
    """A length of time in its largest unit: "3 hours"."""
    seconds = int(span.total_seconds())
    for unit, length in (("year", 365 * 86400), ("month", 30 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


@register.simple_tag
def icon(name: str) -> SafeString:
    """One of our own symbols; decoration only, the words beside it say the same."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        static("vmsnap/icons.svg"),
        name,
    )


@register.simple_tag(takes_context=True)
def address_with(context: template.Context, **changes: object) -> str:
    """The page's own address with some query parameters changed; empty ones are left out, and so is the page number
    unless it is among the changes."""
    parameters = context["request"].GET.copy()
    parameters.pop("page", None)
    for name, value in changes.items():
        parameters.pop(name, None)
        if value not in (None, ""):
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}"


EVENT_NOUNS = {name: JobAction(action).label for action, name in EVENT_NAMES.items()} | {"snapshot": "VM snapshot"}
EVENT_VERBS = {
    "requested": "asked for",
    "succeeded": "done",
    "cancel_requested": "asked to cancel",
    "appeared": "found on the hypervisor",
    "vanished": "gone from the hypervisor",
    "returned": "on the hypervisor again",
    "moved": "moved in the tree",
    "current": "the machine stands here now",
    "removed_elsewhere": "removed outside this product",
    "left_unadopted": "not adopted",
    "not_expired": "too old, and stays",
    "kept": "taken out of its schedule",
    "pruned": "its schedule need not keep it",
    "not_pruned": "its schedule need not keep it, and it stays",
    "privileges_missing": "privileges are missing",
    "privileges_complete": "no privilege is missing",
    "insecure": "its certificate is not checked",
}
# Where the same verb means something else.
EVENT_WORDS = {"machine.moved": "moved to another hypervisor", "import_rule.moved": "moved among the rules"}


@register.filter
def event_noun(action: str) -> str:
    """What a dotted event name is about: "Take VM snapshot" for "snapshot.create.failed"."""
    noun = action.rpartition(".")[0]
    return EVENT_NOUNS.get(noun, noun.replace(".", " ").replace("_", " ").capitalize())


@register.filter
def event_verb(action: str) -> str:
    """What became of it: "failed" for "snapshot.create.failed"."""
    if action in EVENT_WORDS:
        return EVENT_WORDS[action]
    verb = action.rpartition(".")[2]
    return EVENT_VERBS.get(verb, verb.replace("_", " "))


@register.filter
def at(mapping: Mapping[Any, Any], key: Any) -> Any:
    """What a mapping holds under a key, None when it holds nothing there."""
    return mapping.get(key)


@register.filter
def iso(at: datetime) -> str:
    """A time for machines."""
    return at.isoformat(timespec="seconds")


@register.filter
def words(at: datetime) -> str:
    """A time for people, as plain text."""
    return in_words(at)


@register.filter
def when(schedule: Schedule) -> str:
    """When a schedule is due: "Every day at 02:30, Europe/Berlin"."""
    told = schedule_times.in_words(schedule)
    return told[:1].upper() + told[1:]


@register.filter
def span(length: timedelta | None) -> str:
    """A length of time in its largest unit."""
    return "" if length is None else duration(length)


@register.filter
def took(job: Job) -> str:
    """How long a job that has ended was under way."""
    if job.started_at is None or job.finished_at is None:
        return ""
    length = job.finished_at - job.started_at
    return f"{length.total_seconds():.1f} seconds" if length < timedelta(minutes=1) else duration(length)


@register.simple_tag(takes_context=True)
def sort_head(context: template.Context, key: str, label: str, sort: str) -> SafeString:
    """The head of a column that can be sorted: a link that sorts by it, or turns its direction around."""
    direction = "ascending" if sort == key else "descending" if sort == f"-{key}" else ""
    wanted = f"-{key}" if sort == key else key
    return format_html(
        '<th scope="col"{}><a href="{}">{}{}</a></th>',
        format_html(' aria-sort="{}"', direction) if direction else "",
        address_with(context, sort="" if wanted == "name" else wanted),
        label,
        icon("up" if direction == "ascending" else "down") if direction else "",
    )
