"""Secrets by reference: read late, masked at once, refused with cause and remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon import redact
from daemon.secret import MAX_FILE_BYTES, Secret, SecretError

VALUE = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


def secret_file(folder: Path, data: bytes, mode: int = 0o600) -> Secret:
    path = folder / "secret"
    path.write_bytes(data)
    path.chmod(mode)
    return Secret(file=str(path))


def refusal(secret: Secret) -> SecretError:
    with pytest.raises(SecretError) as caught:
        secret.reveal()
    assert caught.value.remedy
    assert VALUE not in str(caught.value)
    return caught.value


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value, and it is masked from then on."""
    monkeypatch.setenv("T", VALUE)

    assert Secret(env="T").reveal() == VALUE
    assert redact.redact(f"x {VALUE} y") == "x [secret] y"


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause names it and the remedy is to set it."""
    monkeypatch.delenv("T", raising=False)

    error = refusal(Secret(env="T"))
    assert error.cause == "the environment variable T is not set"
    assert error.remedy == "set T"


@pytest.mark.parametrize("value", ["", " ", "a b\nc", "tab\there", " lead", "trail ", "nul\x7f"])
def test_values_that_would_break_a_header_are_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line break in a token is an injected header."""
    monkeypatch.setenv("T", value)

    refusal(Secret(env="T"))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_files_final_line_break_is_dropped(tmp_path: Path, end: bytes) -> None:
    """Every editor adds one."""
    assert secret_file(tmp_path, VALUE.encode() + end).reveal() == VALUE


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """A rotated token takes effect at the next reveal."""
    secret = secret_file(tmp_path, b"first-value")
    assert secret.reveal() == "first-value"
    secret_file(tmp_path, b"second-value")
    assert secret.reveal() == "second-value"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o601])
def test_a_file_open_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that cures it."""
    assert "chmod o-rwx" in refusal(secret_file(tmp_path, VALUE.encode(), mode)).remedy


def test_a_file_open_to_its_group_is_accepted(tmp_path: Path) -> None:
    """root:famulus 0640 is how a package installs it."""
    assert secret_file(tmp_path, VALUE.encode(), 0o640).reveal() == VALUE


def test_files_that_are_no_files_are_refused(tmp_path: Path) -> None:
    """A FIFO must not hang the start; a directory is not a secret."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)

    assert "not a regular file" in refusal(Secret(file=str(fifo))).cause
    assert "not a regular file" in refusal(Secret(file=str(tmp_path))).cause


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    """Missing, binary, too large or empty."""
    assert "cannot be opened" in refusal(Secret(file=str(tmp_path / "none"))).cause
    assert "not text" in refusal(secret_file(tmp_path, b"\xff\xfe")).cause
    assert "larger" in refusal(secret_file(tmp_path, b"x" * (MAX_FILE_BYTES + 1))).cause
    assert "empty" in refusal(secret_file(tmp_path, b"\n")).cause


def test_the_text_of_a_broken_file_is_not_in_the_error(tmp_path: Path) -> None:
    """A decoding error would carry the bytes along as its cause."""
    error = refusal(secret_file(tmp_path, VALUE.encode() + b"\xff"))

    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_systemd_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the directory that systemd made; its own mode protects it."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "token").write_text(VALUE)
    (tmp_path / "token").chmod(0o444)

    assert Secret(credential="token").reveal() == VALUE
    assert "LoadCredential=other:" in refusal(Secret(credential="other")).remedy


def test_a_credential_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said as such, not as a missing file."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert "CREDENTIALS_DIRECTORY is not set" in refusal(Secret(credential="token")).cause


def test_a_secret_made_in_the_process_is_not_in_its_repr() -> None:
    """The demo's token is a secret like any other."""
    secret = Secret.of(VALUE)

    assert secret.reveal() == VALUE
    assert VALUE not in f"{secret!r} {secret.describe()}"
