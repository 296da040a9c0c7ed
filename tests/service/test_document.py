"""The document of the addresses: every example in it is sent, and read as what is answered."""

import re

import pytest

from blemish.service import answers
from serving import refusal

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def operations(document):
    return [(place, method, one) for place, found in document["paths"].items() for method, one in found.items()]


def test_every_example_that_is_sent_is_taken(client, document, images):
    sent = client.post("/v1/models/brick/inspections", content=images[0], headers=PNG).json()
    tried = 0
    for place, method, operation in operations(document):
        address = place.format(model="brick", number=sent["id"])
        if method == "post":
            content = operation["requestBody"]["content"]
            if "image/png" in content:
                options = [{"content": images[0], "headers": PNG}, {"files": {"file": ("part.png", images[0])}}]
            else:
                (example,) = resolved(document, content["application/json"]["schema"])["examples"]
                options = [{"json": example}]
            for one in options:
                answer = client.post(address, **one)
                assert answer.is_success, (address, answer.text)
                assert str(answer.status_code) in operation["responses"]
                tried += 1
        if place.endswith("/events"):
            continue  # it has no end; test_events.py
        for parameter in operation.get("parameters", []):
            for example in [*parameter.get("examples", []), *parameter["schema"].get("examples", [])]:
                if method == "get":
                    answer = client.get(address, params={parameter["name"]: example})
                    assert answer.status_code == 200, (address, parameter["name"], answer.text)
                    tried += 1
    assert tried > 25


def test_every_example_of_an_answer_is_one(document):
    seen = set()
    for _, _, operation in operations(document):
        for told in operation["responses"].values():
            schema = told.get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" not in schema:
                continue
            name = schema["$ref"].rpartition("/")[2]
            for example in resolved(document, schema)["examples"]:
                value = getattr(answers, name).model_validate(example)
                assert set(value.model_dump(mode="json")) == set(example)
            seen.add(name)
    assert {"Inspected", "InspectedPage", "ServedModel", "ServedModels", "Counted", "Fault"} <= seen


def test_what_is_answered_has_the_fields_of_its_example(client, document, images):
    answer = client.post("/v1/models/brick/inspections", content=images[1], headers=PNG).json()
    schemas = document["components"]["schemas"]
    assert set(answer) == set(schemas["Inspected"]["examples"][0])
    model = client.get("/v1/models").json()["models"][0]
    assert set(model) == set(schemas["ServedModel"]["examples"][0])
    assert set(client.get("/v1/counts").json()) == set(schemas["Counted"]["examples"][0])


def test_all_addresses_are_in_it_and_those_of_the_page_are_not(client, document):
    assert "image/png" in document["paths"]["/v1/models/{model}/inspections"]["post"]["requestBody"]["content"]
    assert all(re.match(r"/(v1/|livez|readyz)", place) for place in document["paths"])
    for path in ("/docs", "/redoc"):
        refusal(client.get(path), 404)
