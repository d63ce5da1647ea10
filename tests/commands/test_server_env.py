"""`server-init` writes a server's secrets, for its owner alone."""

import pytest
from dotenv import dotenv_values

from tests.conftest import invoke
from tp1.base.errors import TP1Error
from tp1.commands.server_env import SECRETS, write_server_env


def test_every_secret_is_random_and_long_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / ".env"
    write_server_env(path)
    assert path.stat().st_mode & 0o777 == 0o600
    values = dotenv_values(path)
    assert set(values) == set(SECRETS)
    assert len(set(values.values())) == len(SECRETS)
    assert all(len(value) == 48 and value.isalnum() for value in values.values())
    write_server_env(tmp_path / "second")
    assert not set(values.values()) & set(dotenv_values(tmp_path / "second").values())


def test_a_file_that_is_there_is_left_as_it_is(tmp_path):
    path = tmp_path / ".env"
    path.write_text("TP1_ADMIN_PASSWORD=mine\n")
    with pytest.raises(TP1Error, match="is there already"):
        write_server_env(path)
    assert path.read_text() == "TP1_ADMIN_PASSWORD=mine\n"


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(TP1Error, match=r"cannot write .*: No such file"):
        write_server_env(tmp_path / "none" / ".env")


def test_the_command_shows_no_secret(tmp_path):
    path = tmp_path / ".env"
    result = invoke("server-init", f"to={path}")
    assert result.exit_code == 0
    assert f"Secrets written to {path}" in result.output
    assert not any(value in result.output for value in dotenv_values(path).values())
    again = invoke("server-init", f"to={path}")
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert "Traceback" not in again.output
