"""The OpenAPI description and its page."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern

from snapshots.api import inputs, outputs
from snapshots.api.urls import version_1
from tests.builders import PASSWORD, People


@pytest.fixture
def schema(client: Client) -> Any:
    """The description, as anybody gets it."""
    answer = client.get("/api/schema/?format=json")
    assert answer.status_code == 200
    return answer.json()


def test_the_description_is_valid_and_complete(tmp_path: Path) -> None:
    target = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(target))
    assert target.read_text(encoding="utf-8").startswith("openapi: 3.0")


def test_every_address_is_described(db: None, schema: Any) -> None:
    routes = {
        "/api/v1/" + re.sub(r"<uuid:id>", "{id}", str(entry.pattern))
        for entry in version_1
        if isinstance(entry, URLPattern) and entry.name != "nothing"
    }
    assert set(schema["paths"]) == routes


def test_every_operation_names_its_errors_and_what_it_takes(db: None, schema: Any) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            statuses = set(operation["responses"])
            assert {"400", "401", "403", "404", "429"} <= statuses, (path, method)
            if method != "get":
                assert {"409", "415", "422"} <= statuses, (path, method)
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]


def test_fields_are_named_after_the_contract(db: None, schema: Any) -> None:
    parts = schema["components"]["schemas"]
    assert set(parts["Machine"]["properties"]) == set(outputs.MachineOutput().fields)
    assert set(parts["SnapshotNode"]["properties"]) == set(outputs.SnapshotOutput().fields) | {"children"}
    assert parts["SnapshotNode"]["properties"]["children"]["items"] == {"$ref": "#/components/schemas/SnapshotNode"}
    assert set(parts["RevertInputRequest"]["properties"]) == set(inputs.RevertInput().fields)
    assert parts["RevertInputRequest"]["properties"]["safety_snapshot"]["default"] is True


def test_the_page_has_no_inline_script_or_style(db: None, client: Client) -> None:
    answer = client.get("/api/docs/")
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert "<style" not in text
    assert " style=" not in text
    assert "http" not in re.sub(r"http://testserver", "", text)


def test_the_pages_script_comes_as_a_script(people: People, client: Client) -> None:
    assert client.login(username="alice", password=PASSWORD)
    answer = client.get("/api/docs/?script=")
    assert answer["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle" in answer.content.decode()
