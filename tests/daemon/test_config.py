"""The configuration: every problem at once, nothing guessed, no secret shown."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import config, config_people, config_read, config_rules
from daemon.chat import access, roles
from daemon.config import (
    Agent,
    Config,
    ConfigError,
    Log,
    McpServer,
    Model,
    Price,
    Secret,
    Telegram,
)
from executor.isolation.layer import Capability
from executor.isolation.stack import ORDER
from executor.settings import Limits, Settings

MINIMAL = """
[telegram]
token = { env = "T" }
[model]
name = "m"
"""

TOKEN = "12345678:AAHsecretsecretsecretsecretsecret00"


def problems(text: str) -> list[str]:
    """What `parse` finds wrong with `text`."""
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    return caught.value.problems


def only_problem(text: str) -> str:
    (one,) = problems(text)
    return one


# --- What is right ---


def test_a_minimal_file_gets_the_defaults() -> None:
    """Only the token and the model's name have no default."""
    found = config.parse(MINIMAL)

    assert found == Config(telegram=Telegram(token=Secret(env="T")), model=Model(name="m"))
    assert found.executor == Settings()


def test_values_of_every_kind_are_taken() -> None:
    """Strings, numbers, arrays, nested tables and whole numbers where seconds may be broken."""
    found = config.parse(
        'state_dir = "/x"\nshutdown_grace = 3\n'
        + MINIMAL.replace("[model]", "allowed_users = [1, 2]\nallowed_chats = [-100]\n[model]")
        + 'api_key = { credential = "key" }\n'
        + '[executor]\nstack = ["rlimit"]\n[executor.limits]\npids = 9\n'
    )

    assert found.state_dir == Path("/x")
    assert found.shutdown_grace == 3.0
    assert isinstance(found.shutdown_grace, float)
    assert found.telegram.allowed_users == (1, 2)
    assert found.telegram.allowed_chats == (-100,)
    assert found.model.api_key == Secret(credential="key")
    assert found.executor.stack == ("rlimit",)
    assert found.executor.limits == Limits(pids=9)


def test_addresses_lose_their_final_slash() -> None:
    """So that paths can be added to them without a thought."""
    found = config.parse(MINIMAL + 'base_url = "http://127.0.0.1:8080/v1/"\n')

    assert found.model.base_url == "http://127.0.0.1:8080/v1"


# --- The example ---


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every key of a configuration with its value, as the file would hold it."""
    if not attrs.has(type(value)) or isinstance(value, Secret):
        plain = list(value) if isinstance(value, tuple) else value
        return {path: str(plain) if isinstance(plain, Path) else plain}
    found: dict[str, Any] = {}
    for attribute in attrs.fields(type(value)):
        below = f"{path}.{attribute.name}" if path else attribute.name
        found |= leaves(getattr(value, attribute.name), below)
    return found


def document_leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() <= {"env", "file", "credential"}:
        return {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= document_leaves(inner, f"{path}.{key}" if path else key)
    return found


def test_the_example_holds_every_key_with_its_default() -> None:
    """A key that is missing from the example, or has another default there, is found here."""
    required = {"telegram.token", "model.name"}
    default = Config(telegram=Telegram(token=Secret(env="X")), model=Model(name="m"))
    document = document_leaves(tomllib.loads(config.example()))
    expected = leaves(default)

    unset = {key for key, value in expected.items() if value is None}
    assert document.keys() == expected.keys() - unset
    for key in document.keys() - required:
        assert document[key] == expected[key], key
    for key in unset:  # no value in TOML says "none": these stand there as comments
        assert re.search(rf"^# {key.rpartition('.')[2]} = ", config.example(), re.MULTILINE)


def test_the_example_loads_as_it_is_once_the_token_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing that an owner does with it works."""
    path = tmp_path / "config.toml"
    path.write_text(config.example())
    loaded = config.load(path)
    assert config.secret_problems(loaded)

    monkeypatch.setenv("FAMULUS_TELEGRAM_TOKEN", TOKEN)
    assert config.secret_problems(loaded) == []


def test_each_key_of_the_example_says_why() -> None:
    """A comment stands above each key, or above a group of keys of the limits."""
    lines = config.example().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z_]+ = ", line)]

    assert len(keys) > 30
    assert all(
        lines[number - 1].startswith(("#", *"abcdefghijklmnopqrstuvwxyz")) for number in keys
    )


def test_every_key_with_a_range_has_a_rule_and_every_rule_a_key() -> None:
    """A rule for a key that was renamed would silently check nothing."""
    webhook = config.Webhook(url="https://bot.example.org", secret=Secret(env="X"))
    telegram = Telegram(token=Secret(env="X"), webhook=webhook)
    keys = leaves(Config(telegram=telegram, model=Model(name="m"))).keys()

    assert config_rules.RULES.keys() <= keys
    free = {
        *(
            "telegram.token",
            "telegram.webhook.secret",
            "model.api_key",
            "agent.instructions",
            "mcp",
        ),
        *("web.enabled", "web.search_key", "compaction.enabled", "telegram.pairing"),
    }
    assert keys - config_rules.RULES.keys() == free


def test_layers_and_capabilities_are_the_executors() -> None:
    """A name that the executor knows must not be refused here, and the other way round."""
    assert set(config_rules.CAPABILITIES) == {one.value for one in Capability}
    assert set(config_rules.LAYERS) == set(ORDER)


# --- Files ---


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A typo in the path never means running on defaults."""
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        config.load(tmp_path / "confg.toml")

    assert "famulus config example" in str(caught.value)


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    """Reading fails with the system's own reason."""
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """The error says for whom it is unreadable."""
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    path.chmod(0)

    with pytest.raises(ConfigError, match=f"cannot be read by uid {os.geteuid()}"):
        config.load(path)


def test_a_syntax_error_names_its_line() -> None:
    """TOML's own message, with line and column."""
    assert "line 2" in only_problem("a = 1\nb = = 2\n")


def test_bytes_that_are_not_text_name_their_line(tmp_path: Path) -> None:
    """Not a traceback about codecs."""
    path = tmp_path / "config.toml"
    path.write_bytes(b'a = "x"\nb = "\xff"\n')

    with pytest.raises(ConfigError, match=r"not UTF-8 text \(at line 2\)"):
        config.load(path)


def test_a_file_of_the_wrong_kind_is_not_read_whole(tmp_path: Path) -> None:
    """Somebody passes the database instead of the configuration."""
    path = tmp_path / "state.db"
    path.write_bytes(b"\n" * (config.MAX_FILE_BYTES + 1))

    with pytest.raises(ConfigError, match="not a configuration"):
        config.load(path)


# --- What is wrong ---


def test_all_problems_come_at_once() -> None:
    """Shape and rules alike, each with its key's path, in one error."""
    text = """
    state_dir = "relative"
    shutdown_grace = "long"
    [log]
    level = "loud"
    [telegram]
    poll_timout = 5
    poll_timeout = 90
    mode = "push"
    allowed_users = [1, "two", true]
    [model]
    name = "m"
    base_url = "api.example.com"
    [agent]
    zone = "Mars/Olympus"
    [executor]
    require = ["FS", "MAGIC"]
    [executor.limits]
    pids = 0.5
    """
    paths = [problem.split(":")[0] for problem in problems(text)]

    assert paths == [
        "agent.zone",
        "executor.limits.pids",
        "executor.require",
        "log.level",
        "model.base_url",
        "shutdown_grace",
        "state_dir",
        "telegram.allowed_users[1]",
        "telegram.allowed_users[2]",
        "telegram.mode",
        "telegram.poll_timeout",
        "telegram.poll_timout",
        "telegram.token",
    ]


def test_the_error_counts_and_lists_for_a_terminal() -> None:
    """A heading, a line for each problem, and what to do."""
    with pytest.raises(ConfigError) as caught:
        config.parse(
            "[model]\nname = 1\n" + MINIMAL.replace("[model]\n", "")[:-11], source="f.toml"
        )

    heading, *middle, remedy = caught.value.lines()
    assert heading == f"f.toml: {len(middle)} problem{'s' if len(middle) > 1 else ''}"
    assert "famulus config check --config f.toml" in remedy


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("state_dir = 5", "state_dir: expected a string, found 5"),
        ("shutdown_grace = true", "shutdown_grace: expected a number, found true"),
        ("shutdown_grace = nan", "shutdown_grace: expected a number, found nan"),
        ("shutdown_grace = inf", "shutdown_grace: expected a number, found inf"),
        ("shutdown_grace = 0", "shutdown_grace: expected a number above 0, found 0"),
        ('telegram = "x"', "telegram: expected a table, found the string 'x'"),
        ("stat_dir = 1", 'stat_dir: unknown key; did you mean "state_dir"?'),
        (
            'log = { level = ["a"] }',
            "log.level: expected a string, found the array [the string 'a']",
        ),
        ('log = { color = "x" }', "log.color: unknown key; known here: level"),
        ('"a b" = 1', "'a b': unknown key; known here: state_dir, shutdown_grace, log, "),
        ("agent = { max_steps = 1.0 }", "agent.max_steps: expected a whole number, found 1.0"),
        ("agent = { max_steps = 0 }", "agent.max_steps: expected a number of at least 1, found 0"),
        ('agent = { zone = "../x" }', "agent.zone: expected an IANA time zone"),
        ('agent = { zone = "" }', "agent.zone: expected an IANA time zone"),
        (
            'executor = { stack = "best" }',
            'executor.stack: expected "auto" or an array of namespaces',
        ),
        ("executor = { stack = [] }", "executor.stack: expected at least one layer"),
        ("executor = { stack = 1 }", "executor.stack: expected an array, found 1"),
        ('executor = { socket = "x" }', "executor.socket: expected an absolute path"),
        ('executor = { require = "FS" }', "executor.require: expected an array, found the string"),
        ('executor = { user = "Bad Name" }', "executor.user: expected the name of a system user"),
    ],
)
def test_what_was_expected_and_what_was_found(line: str, expected: str) -> None:
    """One wrong key, one sentence that tells a person what to write."""
    found = [p for p in problems(line + "\n" + MINIMAL * ("telegram" not in line)) if expected in p]

    assert found, problems(line)


@pytest.mark.parametrize(
    "url",
    [
        "api.telegram.org",
        "ftp://x",
        "https://",
        "https://user:pw@host",
        "https://host?x=1",
        "https://host#x",
        "https://host:99999",
        "https://ho st",
        "https://[::1",
    ],
)
def test_addresses_that_are_not_plain_are_refused(url: str) -> None:
    """A scheme, a host, perhaps a port and a path: anything else is a mistake here."""
    assert "model.base_url: expected a URL" in only_problem(MINIMAL + f'base_url = "{url}"\n')


WEBHOOK = """
[telegram.webhook]
url = "https://bot.example.org/telegram"
secret = { env = "HOOK" }
[server]
listen = "127.0.0.1:8443"
"""


def webhook(text: str = WEBHOOK, base: str = MINIMAL) -> str:
    return base.replace("[model]", f'mode = "webhook"\n{text}\n[model]')


def test_webhook_mode_is_read() -> None:
    """Where Telegram posts, what it must know, and where we listen."""
    found = config.parse(webhook())
    assert found.telegram.webhook is not None
    assert found.telegram.webhook.url == "https://bot.example.org/telegram"
    assert found.server.listen == "127.0.0.1:8443"
    assert ("telegram.webhook.secret", Secret(env="HOOK")) in list(config.secrets(found))


def test_webhook_mode_needs_its_table() -> None:
    """Without an address for Telegram there is nothing that could come in."""
    assert "telegram.webhook: expected a table with url and secret" in only_problem(webhook(""))


@pytest.mark.parametrize(
    "url",
    [
        "http://bot.example.org/telegram",  # no TLS
        "https://bot.example.org:8444/telegram",  # a port that Telegram does not use
        "https://bot.example.org/health",  # taken
        "https://bot.example.org/{x}",
        "bot.example.org",
        "https://bot.example.org/?token=1",
    ],
)
def test_addresses_that_telegram_would_not_take_are_refused(url: str) -> None:
    """At once, and not when Telegram refuses them."""
    text = webhook(WEBHOOK.replace("https://bot.example.org/telegram", url))
    assert "telegram.webhook.url: expected" in only_problem(text)


@pytest.mark.parametrize(
    "listen", ["8080", "localhost:8080", "127.0.0.1", "127.0.0.1:x", "::1:8080", "[127.0.0.1]:80"]
)
def test_where_to_listen_is_an_address_and_a_port(listen: str) -> None:
    """A name could be anything, and a port alone would be everywhere."""
    text = webhook(WEBHOOK.replace("127.0.0.1:8443", listen))
    assert "server.listen: expected an address and a port" in only_problem(text)


@pytest.mark.parametrize(
    ("listen", "open_to_all"),
    [("0.0.0.0:8443", True), ("[::]:8443", True), ("[::1]:8443", False), ("127.0.0.1:1", False)],
)
def test_listening_for_other_machines_is_warned_of(listen: str, open_to_all: bool) -> None:
    """What they send would travel in clear; a proxy with TLS belongs in front."""
    found = config.parse(webhook(WEBHOOK.replace("127.0.0.1:8443", listen)))
    assert any("speaks TLS" in warning for warning in config.warnings(found)) is open_to_all


def test_paths_too_long_for_sockets_are_refused() -> None:
    """At once, and not at the first connection."""
    long = "/" + "x" * 107
    text = f'state_dir = "{long}"\n{MINIMAL}[executor]\nsocket = "{long}"\n'

    assert [problem.split(",")[0] for problem in problems(text)] == [
        "executor.socket: expected a path of at most 107 bytes",
        "state_dir: expected a path of at most 94 bytes",
    ]


# --- Secrets are references ---


@pytest.mark.parametrize(
    "token",
    [
        f'"{TOKEN}"',
        f'{{ value = "{TOKEN}" }}',
        f'{{ env = "A", file = "{TOKEN}" }}',
        f'["{TOKEN}"]',
        "{}",
        '{ env = "" }',
        '{ file = "token.txt" }',
        '{ credential = "../token" }',
        "{ env = 5 }",
    ],
)
def test_a_secret_in_place_of_a_reference_is_not_repeated(token: str) -> None:
    """The error shows how to write it, and nothing of what was written."""
    problem = only_problem(MINIMAL.replace('{ env = "T" }', token))

    assert problem.startswith("telegram.token: expected ")
    assert TOKEN not in problem


def test_a_token_in_another_place_is_not_repeated_either() -> None:
    """People paste the token into the address."""
    text = MINIMAL.replace("[model]", f'api_base_url = "bot{TOKEN}"\n[model]')

    assert TOKEN not in only_problem(text)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner, max_size=3)))
def test_a_token_is_never_shown_whatever_its_shape(found: Any) -> None:
    """The secret's hook refuses anything without quoting it."""
    document = {"telegram": {"token": found}, "model": {"name": "m"}}
    result = config_read.read(document)

    assert isinstance(result, list)
    assert len(result) == 1
    assert result[0].endswith("a secret itself does not belong in this file")


def test_missing_secrets_are_told_with_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once, like every other problem."""
    monkeypatch.delenv("T", raising=False)
    loaded = config.parse(MINIMAL + 'api_key = { file = "/nowhere/key" }\n')

    with pytest.raises(ConfigError) as caught:
        config.require_secrets(loaded, source="f.toml")

    first, second = caught.value.problems
    assert first.startswith("telegram.token: the environment variable T is not set")
    assert second.startswith("model.api_key: the secret file /nowhere/key cannot be opened")


def test_the_summary_counts_who_is_allowed() -> None:
    """One user is not "1 users"."""
    found = config.parse(MINIMAL.replace("[telegram]", "[telegram]\nallowed_users = [7]"))
    assert ("allowed", "1 user, 0 chats") in config.summary(found)


def test_the_summary_has_references_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """`config check` prints it."""
    monkeypatch.setenv("T", TOKEN)
    text = str(config.summary(config.parse(MINIMAL)))

    assert "env T" in text
    assert TOKEN not in text


# --- Models ---


def test_a_provider_brings_its_address() -> None:
    """Which one that is written down replaces."""
    found = config.parse(MINIMAL + 'provider = "openrouter"\n')
    assert found.model.base_url == "https://openrouter.ai/api/v1"
    own = config.parse(MINIMAL + 'provider = "vllm"\nbase_url = "http://127.0.0.1:9/v1"\n')
    assert own.model.base_url == "http://127.0.0.1:9/v1"
    with pytest.raises(ConfigError, match=r"model\.provider: expected one of"):
        config.parse(MINIMAL + 'provider = "opneai"\n')


FALLBACK = '[[model.fallback]]\nprovider = "libertai"\nname = "n"\n'


def test_models_that_stand_in_are_tables() -> None:
    """In their order, each with a provider, a key and wishes of its own."""
    text = MINIMAL + FALLBACK + 'api_key = { env = "K" }\ntemperature = 0.5\n' + FALLBACK
    first, second = config.parse(text).model.fallback
    assert first.base_url == "https://api.libertai.io/v1"
    assert (first.temperature, second.temperature) == (0.5, None)
    problems = config.secret_problems(config.parse(text))
    assert problems[-1].startswith("model.fallback[0].api_key: ")
    assert ("fallback", "n at https://api.libertai.io/v1") in config.summary(config.parse(text))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('images = "maybe"', 'model.fallback: expected one of "auto", "yes", "no" as images of'),
        ("context_window = 100", "model.fallback: expected 0, or at least 16384 tokens as context"),
        ("max_attempts = 3", r"model.fallback\[0\].max_attempts: unknown key"),
        ("temperature = true", r"model.fallback\[0\].temperature: expected a number"),
    ],
)
def test_a_model_that_stands_in_is_held_to_the_same_rules(line: str, problem: str) -> None:
    """What the daemon would only find out when it is needed is found at the start."""
    with pytest.raises(ConfigError, match=problem):
        config.parse(MINIMAL + FALLBACK + line + "\n")


def test_a_key_that_a_provider_wants_is_missed() -> None:
    """Of the model and of each that stands in; a server of one's own may want none."""
    text = MINIMAL.replace("[model]", "allowed_users = [1]\n[model]") + FALLBACK
    first, second = config.warnings(config.parse(text))
    assert first.startswith("model.api_key is not set: api.openai.com will refuse")
    assert second.startswith("model.fallback[0].api_key is not set: api.libertai.io will")
    own = text.replace("[[model", 'base_url = "http://127.0.0.1:1"\n[[model')
    assert len(config.warnings(config.parse(own))) == 1


# --- Warnings ---


def test_nobody_allowed_is_a_warning_not_an_error() -> None:
    """A bot that answers nobody is safe, and surely not meant."""
    (warning,) = config.warnings(config.parse(MINIMAL + 'api_key = { env = "K" }\n'))

    assert "nobody will be answered" in warning


def test_unencrypted_addresses_elsewhere_are_a_warning() -> None:
    """On this machine http is fine."""
    text = MINIMAL.replace("[model]", "allowed_users = [1]\n[model]")
    near = config.parse(text + 'base_url = "http://127.0.0.1:1"\n')
    far = config.parse(text + 'base_url = "http://10.0.0.1:1"\n')

    assert config.warnings(near) == []
    assert "model.base_url is http" in config.warnings(far)[0]


WEB = (
    MINIMAL.replace("[model]", "allowed_users = [1]\n[model]") + 'base_url = "http://127.0.0.1:1"\n'
)


@pytest.mark.parametrize("opened", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0", "::1", "::/0"])
def test_opening_this_machine_to_the_web_tools_is_a_warning(opened: str) -> None:
    """A device of one's own network is what the key is for."""
    (warning,) = config.warnings(config.parse(f'{WEB}[web]\nallow_private = ["{opened}"]\n'))
    assert f"web.allow_private has {opened}" in warning
    fine = config.parse(f'{WEB}[web]\nallow_private = ["192.168.1.10", "fd00::/8"]\n')
    assert config.warnings(fine) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('allow_private = ["192.168.1.10/24"]', "addresses or networks"),
        ('allow_private = ["printer.local"]', "addresses or networks"),
        ('search = "altavista"', "searxng"),
        ('search_url = "search.test"', "a URL"),
        ("max_bytes = 0", "at least 1"),
        ("timeout = 0", "above 0"),
    ],
)
def test_the_webs_keys_are_checked(line: str, expected: str) -> None:
    """A typing error in a network opens nothing, and in an engine's name finds nothing."""
    problem = only_problem(f"{MINIMAL}[web]\n{line}\n")
    assert problem.startswith("web.")
    assert expected in problem


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ('search = "searxng"', "web.search_url"),
        ('search = "brave"', "web.search_key"),
        ('search = "libertai"', "web.search_key"),
    ],
)
def test_a_search_engine_without_what_it_needs_is_a_warning(lines: str, missing: str) -> None:
    """It would refuse every search."""
    (warning,) = config.warnings(config.parse(f"{WEB}[web]\n{lines}\n"))
    assert f"{missing} is not set" in warning


PRICED = '[[prices]]\nmodel = "m*"\ninput = 1\noutput = 2.5\n'


def test_a_budget_in_money_without_a_price_is_a_warning() -> None:
    """It refuses every message, which is safe and surely not meant."""
    text = MINIMAL.replace("[model]", "allowed_users = [1]\n[model]")
    text += 'base_url = "http://127.0.0.1:1"\n[budget]\nuser_day_money = 0.5\n'
    (warning,) = config.warnings(config.parse(text))
    assert "'m' has no price" in warning
    assert config.warnings(config.parse(text + PRICED)) == []


def test_a_model_that_stands_in_without_a_price_is_a_warning() -> None:
    """What it costs is then a guess."""
    text = MINIMAL.replace("[model]", "allowed_users = [1]\n[model]")
    text += 'base_url = "http://127.0.0.1:1"\n[[model.fallback]]\nname = "n"\n'
    text += 'base_url = "http://127.0.0.1:1"\n' + PRICED
    assert config.warnings(config.parse(text)) == []
    (warning,) = config.warnings(config.parse(text + "[budget]\nuser_day_money = 1\n"))
    assert warning.startswith("model.fallback[0]: 'n' has no price in [[prices]]")


def test_no_limit_for_a_day_is_a_warning() -> None:
    """A bill may run away then."""
    text = MINIMAL.replace("[model]", "allowed_users = [1]\n[model]")
    text += 'base_url = "http://127.0.0.1:1"\n[budget]\nuser_day_tokens = 0\n'
    assert config.warnings(config.parse(text)) == []
    (warning,) = config.warnings(config.parse(text + "agent_day_tokens = 0\n"))
    assert "no budget limits a day" in warning


def test_prices_are_tables_in_their_order() -> None:
    """The first that fits a model's name counts."""
    first, second = config.parse(MINIMAL + PRICED + PRICED.replace("m*", "n")).prices
    assert first == Price(model="m*", input=1.0, output=2.5)
    assert (second.model, second.cached, second.currency) == ("n", None, "USD")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PRICED.replace("1", "-1"), "prices: expected prices of at least 0"),
        (PRICED + PRICED + 'currency = "EUR"\n', "prices: expected the same currency in all"),
        (PRICED.replace("m*", ""), "prices: expected the name of a model in each"),
        ('[[prices]]\nmodel = "m"\ninput = 1.0\n', "prices[0].output: missing"),
        ("[budget]\nturn_tokens = -1\n", "budget.turn_tokens: expected a number of at least 0"),
        ("context_window = 100\n", "model.context_window: expected 0, or at least 16384 tokens"),
        ("[compaction]\nshare = 1.0\n", "compaction.share: expected from 0.2 to 0.9"),
    ],
)
def test_money_that_makes_no_sense_is_refused(text: str, problem: str) -> None:
    """Like every other value."""
    with pytest.raises(ConfigError) as caught:
        config.parse(MINIMAL + text)
    (found,) = caught.value.problems
    assert found.startswith(problem)


def test_the_classes_can_be_made_in_code() -> None:
    """The demo and the tests make a configuration without a file."""
    made = Config(
        state_dir=Path("/tmp/x"),
        log=Log(level="debug"),
        telegram=Telegram(token=Secret.of(TOKEN), allowed_users=(1,)),
        model=Model(name="m", api_key=None),
        agent=Agent(max_steps=3),
    )

    assert made.telegram.token.reveal() == TOKEN
    assert TOKEN not in repr(made)


# --- MCP servers ---

SERVERS = """
[mcp.files]
command = ["npx", "-y", "files"]
env = { LEVEL = "warn", KEY = { env = "FILES_KEY" } }
cwd = "/srv"
tools = ["read"]
trust = ["read"]
timeout = 5
[mcp.far-off_2]
url = "https://example.org/mcp"
headers = { Authorization = { file = "/etc/token" } }
trust = "all"
"""


def test_servers_are_tables_with_names_of_the_owners() -> None:
    """Their secrets are references as everywhere, and are found with the others."""
    found = config.parse(MINIMAL + SERVERS)

    assert found.mcp["files"] == McpServer(
        command=("npx", "-y", "files"),
        env={"LEVEL": "warn", "KEY": Secret(env="FILES_KEY")},
        cwd="/srv",
        tools=("read",),
        trust=("read",),
        timeout=5.0,
    )
    assert found.mcp["far-off_2"].trust == "all"
    keys = [key for key, _ in config.secrets(found)]
    assert keys == [
        "telegram.token",
        "mcp.files.env.KEY",
        "mcp.far-off_2.headers.Authorization",
    ]
    assert ("mcp", "files, far-off_2") in config.summary(found)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ('[mcp.x]\nurl = "ftp://x"', "mcp.x.url: expected a URL"),
        (
            "[mcp.x]",
            "mcp.x: expected either command (a program) or url (a server elsewhere), found neither",
        ),
        (
            '[mcp.x]\ncommand = ["a"]\nurl = "http://x"',
            "mcp.x: expected either command (a program) or url (a server elsewhere), found both",
        ),
        ('[mcp.x]\nurl = "http://x"\ncwd = "/"', "mcp.x: cwd means something only with command"),
        ('[mcp.x]\ncommand = ["a"]\nheaders = {}', "mcp.x: headers means something only with url"),
        ("[mcp.x]\ncommand = []", "mcp.x.command: expected a program and its arguments"),
        ('[mcp.x]\ncommand = "npx a"', "mcp.x.command: expected an array, found the string"),
        ('[mcp.x]\ncommand = ["a"]\ncwd = "srv"', "mcp.x.cwd: expected an absolute path"),
        (
            '[mcp.x]\ncommand = ["a"]\ntimeout = 0',
            "mcp.x.timeout: expected a number from 1 to 3600",
        ),
        ('[mcp.x]\ncommand = ["a"]\ntools = []', "mcp.x.tools: expected at least one name"),
        ('[mcp.x]\ncommand = ["a"]\ntrust = "yes"', 'mcp.x.trust: expected "read-only"'),
        (
            '[mcp.x]\ncommand = ["a"]\ntrusts = []',
            'mcp.x.trusts: unknown key; did you mean "trust"?',
        ),
        (
            '[mcp.x]\ncommand = ["a"]\nenv = { "A B" = "" }',
            "mcp.x.env: expected names of environment",
        ),
        ('[mcp.x]\ncommand = ["a"]\nenv = { A = 1 }', "mcp.x.env.A: expected a reference"),
        (
            '[mcp.x]\nurl = "http://x"\nheaders = { A = "a\\nb" }',
            "mcp.x.headers: expected names of HTTP",
        ),
        ('[mcp."X"]\ncommand = ["a"]', "mcp.X: expected a name of a-z, 0-9"),
        ('[mcp.a__b]\ncommand = ["a"]', "mcp.a__b: expected a name of a-z, 0-9"),
        ('[mcp.a_]\ncommand = ["a"]', "mcp.a_: expected a name of a-z, 0-9"),
        (f'[mcp.{"a" * 25}]\ncommand = ["a"]', f"mcp.{'a' * 25}: expected a name of a-z, 0-9"),
        ("[mcp]\nx = 1", "mcp.x: expected a table, found 1"),
    ],
)
def test_what_is_wrong_with_a_server_is_said(server: str, problem: str) -> None:
    """With the path of its key."""
    assert only_problem(MINIMAL + server + "\n").startswith(problem)


def test_no_message_shows_a_value_of_the_environment_or_a_header() -> None:
    """Who writes a token where a reference belongs does not find it in the journal as well."""
    text = MINIMAL + '[mcp.x]\nurl = "http://x"\nheaders = { "A B" = "s3cret" }\n'
    assert "s3cret" not in only_problem(text)


def test_a_server_that_is_reached_in_clear_is_a_warning() -> None:
    """Unless it is on this machine."""
    near = config.parse(MINIMAL + '[mcp.x]\nurl = "http://127.0.0.1:1/mcp"\n')
    far = config.parse(MINIMAL + '[mcp.x]\nurl = "http://example.org/mcp"\n')
    assert not [each for each in config.warnings(near) if "mcp" in each]
    assert [each for each in config.warnings(far) if each.startswith("mcp.x.url is http")]


# --- People and groups ---


def with_telegram(*lines: str) -> config.Config:
    return config.parse(MINIMAL.replace("[model]", "\n".join([*lines, "[model]"])))


@pytest.mark.parametrize(
    ("lines", "owner"),
    [
        (["allowed_users = [7]"], 7),
        (["owner = 5", "allowed_users = [7]"], 5),
        (["allowed_users = [7, 8]"], None),
        (["allowed_users = [7]", "guests = [8]"], None),
        (["allowed_users = [7]", "allowed_chats = [-1]"], None),
        ([], None),
    ],
)
def test_the_owner_is_who_is_said_to_be_or_who_is_alone(
    lines: list[str], owner: int | None
) -> None:
    """Among several, nobody is the owner by chance."""
    assert with_telegram(*lines).telegram.owner_id == owner


def test_groups_are_tables() -> None:
    """What is left out has its default."""
    found = with_telegram(
        "allowed_chats = [-1, -2]",
        "[[telegram.groups]]",
        'chat = -1\nanswer = "all"\nmembers = "guest"\ncontext = false',
        "[[telegram.groups]]",
        "chat = -2",
    ).telegram.groups
    first, second = found
    assert (first.chat, first.answer, first.members, first.context) == (-1, "all", "guest", False)
    assert (second.answer, second.members, second.context) == ("mention", "user", True)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["owner = -5"], "telegram.owner: expected a user id"),
        (["guests = [-5]"], "telegram.guests: expected user ids"),
        (["owner = 5", "guests = [5]"], "telegram.guests: expected nobody who is a user"),
        (["allowed_users = [5]", "guests = [5]"], "telegram.guests: expected nobody who is"),
        (["pairing = true"], "telegram.pairing: expected telegram.owner"),
        (["pairing = true", "allowed_users = [5]"], "telegram.pairing: expected telegram.owner"),
        (["[[telegram.groups]]", "chat = -1"], "telegram.groups: expected chats of"),
        (
            ["allowed_chats = [-1]", "[[telegram.groups]]", 'chat = -1\nanswer = "loud"'],
            "telegram.groups: expected answer to be one of mention, all, admin-only",
        ),
        (
            ["allowed_chats = [-1]", "[[telegram.groups]]", 'chat = -1\nmembers = "owner"'],
            "telegram.groups: expected members to be one of user, guest",
        ),
        (
            ["allowed_chats = [-1]", *["[[telegram.groups]]\nchat = -1"] * 2],
            "telegram.groups: expected one table for each chat",
        ),
    ],
)
def test_what_people_and_groups_may_not_be(lines: list[str], problem: str) -> None:
    """Each with its key and what is expected in its place."""
    with pytest.raises(ConfigError) as caught:
        with_telegram(*lines)
    assert any(each.startswith(problem) for each in caught.value.problems), caught.value.problems


def test_a_group_without_an_owner_is_warned_of() -> None:
    """Nobody could say whom it is answered."""
    found = config.warnings(with_telegram("allowed_chats = [-1]", "allowed_users = [1]"))
    assert any("telegram.owner is not set" in each for each in found)


def test_policies_and_roles_are_those_of_the_chat() -> None:
    """They are written out twice, since a file is read without the chat's modules."""
    assert config_people.POLICIES == access.POLICIES
    assert set(config_people.MEMBERS) == {roles.USER, roles.GUEST}
