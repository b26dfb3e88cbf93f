"""The admin's forms, lists and buttons, as a root admin's browser posts them, and what their answers say."""

from typing import Any

from django.db.models import Model
from django.test import Client
from django.urls import reverse

from snapshots.models import Event

NO_ROLES = {
    "memberships-TOTAL_FORMS": "0",
    "memberships-INITIAL_FORMS": "0",
}


def add(client: Client, model: type[Model], **values: object) -> Any:
    return client.post(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add"), values)


def change(client: Client, row: Model, **values: object) -> Any:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return client.post(reverse(name, args=[row.pk]), values)


def delete(client: Client, row: Model) -> Any:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_delete"
    return client.post(reverse(name, args=[row.pk]), {"post": "yes"}, follow=True)


def act(client: Client, action: str, rows: list[Any], **values: object) -> Any:
    name = f"admin:{rows[0]._meta.app_label}_{rows[0]._meta.model_name}_changelist"
    posted = {"action": action, "_selected_action": [row.pk for row in rows], **values}
    return client.post(reverse(name), posted, follow=True)


def errors(answer: Any) -> str:
    assert answer.status_code == 200, "a refused form is shown again"
    form = answer.context["adminform"].form
    return str(form.errors)


def messages(answer: Any) -> str:
    return " | ".join(str(message) for message in answer.context["messages"])


def last_event() -> Event:
    event = Event.objects.order_by("pk").last()
    assert event is not None
    return event
