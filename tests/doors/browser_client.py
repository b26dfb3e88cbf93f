"""A person at a browser without a screen: gets pages, reads them, sends their forms. For the tests of the pages."""

from typing import Any

from django.http import HttpResponse
from django.test import Client
from lxml import html

from snapshots.models import User, VirtualMachine, VMSnapshot


class Browser:
    """Someone signed in (None: a stranger from the street). With `script` requests come from htmx, as those of the open
    page's dialogs and parts do. Cross-site forgery checks are on, and forms carry the mark as the page gave it."""

    def __init__(self, person: User | None) -> None:
        self.client = Client(enforce_csrf_checks=True)
        if person is not None:
            self.client.force_login(person)

    def get(self, path: str, *, script: bool = False, target: str = "dialog") -> "Page":
        """A GET."""
        return Page(self.client.get(path, headers=_headers(script, target)))

    def post(self, path: str, values: dict[str, Any] | None = None, *, script: bool = False) -> "Page":
        """A POST with the mark of the session."""
        if "csrftoken" not in self.client.cookies:
            self.client.get("/account/")
        mark = self.client.cookies["csrftoken"].value if "csrftoken" in self.client.cookies else ""
        headers = _headers(script, "dialog") | {"X-CSRFToken": mark}
        return Page(self.client.post(path, values or {}, headers=headers))


class Page:
    """An answer, and what stands in it."""

    def __init__(self, response: HttpResponse) -> None:
        self.response = response
        self.status = response.status_code
        self.source = response.getvalue().decode()
        self.root = html.fromstring(self.source) if self.source.strip() else html.Element("html")

    @property
    def text(self) -> str:
        """What a person reads."""
        return words(self.root)

    def find(self, path: str) -> list[Any]:
        """Elements by XPath."""
        found: list[Any] = self.root.xpath(path)
        return found

    def one(self, path: str) -> Any:
        """The only element at an XPath."""
        (found,) = self.find(path)
        return found

    def choice(self, name: str, value: str) -> str:
        """What is said beside a radio button, and whether it can be chosen: "off: …"."""
        box = self.one(f'//input[@name="{name}"][@value="{value}"]')
        return ("off: " if box.get("disabled") is not None else "") + words(box.getparent())

    def checked(self, name: str) -> list[str]:
        """The values that are ticked."""
        return [box.get("value", "on") for box in self.find(f'//input[@name="{name}"][@checked]')]

    def offer(self, key: str) -> Any:
        """The button of an action."""
        return self.one(f'//*[@id="offer-{key}"]')

    def why_not(self, key: str) -> str:
        """The reason a button gives for being off, "" when it is on. The reason must be on the page."""
        button = self.offer(key)
        if button.get("aria-disabled") != "true":
            return ""
        assert button.get("disabled") is None, "a disabled button cannot be reached to hear why"
        assert button.getparent().tag != "form"
        assert not button.get("href")
        assert not button.get("hx-get")
        reason = self.one(f'//*[@id="{button.get("aria-describedby")}"]')
        return words(reason)


def words(element: Any) -> str:
    """What a person reads in an element, with single spaces between its parts, none inside quotes and before colons."""
    text = " ".join(" ".join(element.itertext()).split())
    return text.replace("“ ", "“").replace(" ”", "”").replace(" :", ":")


def _headers(script: bool, target: str) -> dict[str, str]:
    return {"HX-Request": "true", "HX-Target": target} if script else {}


def machine_page(machine: VirtualMachine) -> str:
    """The address of a machine's page."""
    return f"/machines/{machine.uuid}/"


def of_snapshot(snapshot: VMSnapshot, action: str) -> str:
    """The address of an action on a VM snapshot."""
    return f"/snapshots/{snapshot.uuid}/{action}/"
