"""A caller of the REST API, by token or without, for the tests of this door."""

import json
from typing import Any

from django.http import HttpResponse
from django.test import Client

from snapshots.access import SYSTEM
from snapshots.choices import TokenScope
from snapshots.models import User
from snapshots.services.tenancy import create_token

BASE = "/api/v1/"
PROBLEM = "application/problem+json"


class Caller:
    """Calls addresses below `/api/v1/` as a person (None: as nobody) with a token of this scope."""

    def __init__(self, person: User | None, scope: TokenScope = TokenScope.OPERATE) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.headers: dict[str, str] = {}
        if person is not None:
            _, text = create_token(SYSTEM, user=person, name="test", scope=scope)
            self.headers["Authorization"] = f"Token {text}"

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """One request. `body` is sent as JSON, bytes as they are; a header's underscores become hyphens."""
        address = path if path.startswith("/") or path.startswith("http") else BASE + path
        data = body if isinstance(body, bytes) else (b"" if body is None else json.dumps(body).encode())
        sent = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        content_type = sent.pop("Content-Type", "application/json")
        return self.client.generic(method, address, data, content_type=content_type, headers=sent)

    def get(self, path: str, **headers: str) -> HttpResponse:
        """A GET."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """A POST."""
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """A PATCH."""
        return self.call("PATCH", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """A PUT."""
        return self.call("PUT", path, body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """A DELETE."""
        return self.call("DELETE", path, body, **headers)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The `results` of a list, which must be there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.content
        rows: list[dict[str, Any]] = answer.json()["results"]
        return rows

    def names(self, path: str) -> list[str]:
        """The names in a list, in its order."""
        return [row["name"] for row in self.rows(path)]


def problem(answer: HttpResponse, status: int, code: str) -> dict[str, Any]:
    """Check that the answer is this error in the agreed form, and give its body."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == PROBLEM
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"], body["type"]) == (status, code, f"urn:vmsnap:problem:{code}"), body
    assert body["title"]
    assert body["detail"]
    return body


def accepted(answer: HttpResponse) -> dict[str, Any]:
    """Check that the answer is 202 with a job and its address, and give the job."""
    assert answer.status_code == 202, answer.content
    job: dict[str, Any] = answer.json()
    assert answer["Location"].endswith(f"/api/v1/jobs/{job['id']}/")
    return job
