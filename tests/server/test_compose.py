"""What the compose file promises, without an engine to run it."""

import configparser
import re
import subprocess
import sys

import pytest
import yaml

from tests.conftest import PROJECT
from tests.support.compose_file import MissingVariableError, compose_file
from tp1.commands.server_env import SECRETS

DRAWN = {name: f"drawn-{number}" for number, name in enumerate(SECRETS)}
SERVICES = compose_file(DRAWN)["services"]
LASTING = ["tracking", "database", "object-store"]
every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_file_is_what_the_specification_says():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    result = subprocess.run([*command, PROJECT / "docker-compose.yml"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_its_services():
    assert set(SERVICES) == {*LASTING, "bucket", "train"}


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_without_a_secret(name):
    without = {key: value for key, value in DRAWN.items() if key != name}
    with pytest.raises(MissingVariableError, match=f"{name}: run make server-init"):
        compose_file(without)
    with pytest.raises(MissingVariableError):
        compose_file({**DRAWN, name: ""})


def test_every_secret_comes_from_the_environment():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert value is None or value in DRAWN.values(), name
    settings = configparser.ConfigParser()
    settings.read(PROJECT / "deploy" / "auth.ini")
    assert not {"admin_password", "admin_username"} & set(settings["mlflow"])
    assert "://tp1@database" in settings["mlflow"]["database_uri"]  # a name, and no password


def test_secrets_are_no_part_of_a_command_line_or_an_image():
    for service in SERVICES.values():
        shown = yaml.safe_dump({key: value for key, value in service.items() if key != "environment"})
        assert not any(value in shown for value in DRAWN.values())


def test_only_the_tracking_port_is_published_and_on_this_machine_alone():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["tracking"]
    assert SERVICES["tracking"]["ports"] == ["127.0.0.1:5000:5000"]
    moved = compose_file({**DRAWN, "TP1_SERVER_ADDRESS": "10.0.0.5", "TP1_SERVER_PORT": "80"})
    assert moved["services"]["tracking"]["ports"] == ["10.0.0.5:80:5000"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_database_and_objects_are_reached_by_the_server_alone():
    assert compose_file(DRAWN)["networks"]["back"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "back" in service["networks"]} == {*LASTING, "bucket"}
    assert SERVICES["train"]["networks"] == ["front"]
    assert [word for word in SERVICES["object-store"]["command"] if "ip" in word] == [
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0")
    ]


@every_service
def test_a_container_has_no_rights_that_it_does_not_need(name):
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & service.keys()


@every_service
def test_a_container_is_limited_and_says_when_it_starts_again(name):
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert service["restart"] in ({"unless-stopped"} if name in LASTING else {"no", "on-failure:5"})
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_watched_and_stored_in_named_volumes(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    for volume in SERVICES[name].get("volumes", []):
        assert volume.split(":")[0] in compose_file(DRAWN)["volumes"]


def test_images_are_pinned():
    images = [SERVICES["database"]["image"]]
    for path in (PROJECT / "deploy").glob("*.Dockerfile"):
        images += re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+\.\d+", image), image


def test_the_server_of_the_image_is_the_one_that_the_tests_run():
    import mlflow

    pinned = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", requirements("deploy/tracking-requirements.txt"), re.M))
    assert (
        pinned["mlflow"] == dict(re.findall(r"^(\S+)==(\S+)", requirements("requirements-tested.txt"), re.M))["mlflow"]
    )
    assert SERVICES["tracking"]["image"] == f"tp1-tracking:{pinned['mlflow']}"
    assert mlflow.__version__.startswith("3.1")


def requirements(name: str) -> str:
    return (PROJECT / name).read_text()


def test_env_and_backups_are_not_for_git():
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    assert {".env", "backups/"} <= set(ignored)
