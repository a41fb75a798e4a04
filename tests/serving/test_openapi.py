"""The OpenAPI page tells the truth: schemathesis asks everything that it promises, and much that it does not."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from luthier.registry.specialists import SpecialistStore
from tests.serving.server import running

# What it would find besides are rules that a JSON schema does not say, such as top_logprobs without logprobs.
NOT_CHECKED = "positive_data_acceptance"


def test_errors_are_on_the_page_and_the_validators_own_form_is_not(toy: tuple[SpecialistStore, Path]) -> None:
    with running(toy) as server:
        page = httpx.get(f"{server.url}/openapi.json").json()
        refused = httpx.request("OPTIONS", f"{server.url}/admin/specialists")
    for path, operations in page["paths"].items():
        for operation in operations.values():
            assert {"4XX", "5XX"} <= set(operation["responses"]) and "422" not in operation["responses"], path
    assert refused.status_code == 405 and refused.headers["allow"] == "GET, POST"
    actions = [one["properties"]["action"]["const"] for one in _change(page)["oneOf"]]
    assert {"load", "unload", "canary"} <= set(actions)


def _change(page: dict) -> dict:
    body = page["paths"]["/admin/specialists"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return page["components"]["schemas"][body["$ref"].rpartition("/")[2]] if "$ref" in body else body


@pytest.mark.slow
def test_schemathesis_finds_nothing(toy: tuple[SpecialistStore, Path]) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    assert program.exists(), "it is in the extra `test`"
    with running(toy) as server:
        command = [str(program), "run", f"{server.url}/openapi.json", "--exclude-checks", NOT_CHECKED]
        command += ["--max-examples", "100", "--continue-on-failure", "--no-color", "--seed", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: " in done.stdout
