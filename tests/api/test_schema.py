"""The API as its own document says it is: schemathesis makes requests from /openapi.json, good and bad, and checks each
answer's status, media type and body against it. Bounded by examples, not by time."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from swarmd.node.api.app import declared

EXAMPLES = 5
# These end what the other requests need, or wait for something that does not come in a mesh of one.
LEFT_OUT = (
    "/api/v1/events",
    "/api/v1/needs/{need}/wait",
    "/api/v1/agents/{name}",
    "/api/v1/settlement/contracts",
)
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="session")
def document(served: Any) -> dict[str, Any]:
    with served.client(None) as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_reference_is_of_this_very_document(document: dict[str, Any]) -> None:
    assert declared() == document


def test_every_operation_answers_as_documented(served: Any, document: dict[str, Any]) -> None:
    token = served.ask("token.create", name="schema", scopes=["operate", "spend"])["token"]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = served.url
    session = requests.Session()
    checks = [getattr(schemathesis.checks, name) for name in CHECKS]
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path in LEFT_OUT:
            continue
        tried.add((operation.method.upper(), operation.path))

        def check(case: Any) -> None:
            answer = case.call(headers={"Authorization": f"Bearer {token}"}, timeout=20, session=session)
            case.validate_response(answer, checks=checks)

        once = settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        once(given(case=operation.as_strategy())(check))()
    session.close()
    assert len(tried) > 60
