"""Settings come from the environment alone, and a bad one stops the start with one sentence."""

import msgspec
import pytest

from gateway import settings
from gateway.settings import SettingRefused, Settings


def test_no_variable_gives_the_defaults() -> None:
    assert settings.load({"PATH": "/bin"}) == Settings()


def test_variables_replace_defaults() -> None:
    loaded = settings.load(
        {
            "ONESTOP_DATABASE_URL": "postgresql://onestop@db/onestop",
            "ONESTOP_SECOND_STORE_URL": "postgresql://witness@other/witness",
            "ONESTOP_BIND_PORT": "9000",
            "ONESTOP_EMBEDDED_WORKER": "true",
            "ONESTOP_LEGAL_CLOCK": "movable",
        }
    )

    assert (loaded.bind_port, loaded.embedded_worker, loaded.legal_clock) == (9000, True, "movable")
    assert not loaded.on_sqlite


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DATABASE_URL", "mysql://db/onestop", "postgresql://"),
        ("DATABASE_URL", "sqlite://", "sqlite:///path"),
        ("LISTEN_URL", "sqlite:///x", "postgresql://"),
        ("PUBLIC_URL", "http://onestop.example", "https://"),
        ("PUBLIC_URL", "https://onestop.example/portal", "without a path"),
        ("PUBLIC_URL", "https://user:word@onestop.example", "https://"),
        ("PUBLIC_URL", "https://onestop.example:99999", "https://"),
        ("OIDC_ISSUER", "http://192.0.2.1", "https://"),
        ("BIND_PORT", "0", "from 1 to 65535"),
        ("BIND_PORT", "80 ", "from 1 to 65535"),
        ("BIND_PORT", "８０", "from 1 to 65535"),
        ("WORKERS", "65", "from 1 to 64"),
        ("WORKERS", "-1", "from 1 to 64"),
        ("KEY_FOLDER", "", "a folder"),
        ("LOG_ORIGIN", "with space", "onestop.example/log"),
        ("LOG_ORIGIN", "with+plus", "onestop.example/log"),
        ("LEGAL_CLOCK", "frozen", "'fixed' or 'movable'"),
        ("LOG_LEVEL", "INFO", "'info'"),
        ("EMBEDDED_WORKER", "yes", "'true' or 'false'"),
    ],
)
def test_bad_value_is_one_sentence_with_name_found_and_expected(
    variable: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingRefused) as refusal:
        settings.load({f"ONESTOP_{variable}": value})

    sentence = str(refusal.value)
    assert sentence.startswith(f"ONESTOP_{variable} is ")
    assert expected in sentence
    assert "\n" not in sentence


def test_misspelt_variable_stops_the_start() -> None:
    with pytest.raises(SettingRefused, match="ONESTOP_DATABSE_URL is not a setting"):
        settings.load({"ONESTOP_DATABSE_URL": "sqlite:///x"})


@pytest.mark.parametrize("value", ["mysql://me:hunter2@db/x", "hunter2", "postgres:hunter2://x"])
def test_refused_address_does_not_repeat_a_password(value: str) -> None:
    with pytest.raises(SettingRefused) as refusal:
        settings.load({"ONESTOP_DATABASE_URL": value})

    assert "hunter2" not in str(refusal.value)


def test_second_store_beside_the_log_is_refused() -> None:
    with pytest.raises(SettingRefused, match="SECOND_STORE_URL"):
        settings.load({"ONESTOP_SECOND_STORE_URL": "sqlite:///var/onestop.sqlite"})


def test_local_second_store_of_a_shared_database_is_refused() -> None:
    with pytest.raises(SettingRefused, match="SECOND_STORE_URL"):
        settings.load({"ONESTOP_DATABASE_URL": "postgresql://onestop@db/onestop"})


@pytest.mark.parametrize(
    ("public_url", "hosts"),
    [
        ("http://127.0.0.1:8000", {"127.0.0.1:8000"}),
        ("https://Onestop.example", {"onestop.example", "onestop.example:443"}),
        ("https://onestop.example:443", {"onestop.example", "onestop.example:443"}),
        ("https://[2001:db8::1]:8443", {"[2001:db8::1]:8443"}),
    ],
)
def test_allowed_hosts_follow_from_the_public_address(public_url: str, hosts: set[str]) -> None:
    assert settings.load({"ONESTOP_PUBLIC_URL": public_url}).allowed_hosts == hosts


@pytest.mark.parametrize(
    ("database_url", "asked", "runs"),
    [
        ("sqlite:///x", None, True),
        ("sqlite:///x", False, False),
        ("postgresql://x", None, False),
        ("postgresql://x", True, True),
    ],
)
def test_worker_is_embedded_on_sqlite_unless_told(database_url: str, asked: bool | None, runs: bool) -> None:
    assert Settings(database_url=database_url, embedded_worker=asked).runs_worker is runs


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().bind_port = 1  # type: ignore[misc] # the assignment under test


def test_every_field_has_a_rule() -> None:
    for field in msgspec.structs.fields(Settings):
        with pytest.raises(SettingRefused, match=f"ONESTOP_{field.name.upper()} is "):
            settings.load({f"ONESTOP_{field.name.upper()}": "\x00"})
