"""What an operator may change, how it is refused when misspelt, and the key of the pseudonyms."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from promolake import settings
from promolake.core.errors import EnvironmentProblem, SettingsError
from promolake.settings import Engine, Settings, load, pseudonym_key, writable_home

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration file in force; it does not exist yet."""
    monkeypatch.setenv("PROMOLAKE_CONF", str(tmp_path))
    for name in ("PROMOLAKE_HOME", "PROMOLAKE_KAFKA__BOOTSTRAP", "PROMOLAKE_PSEUDONYM_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / settings.FILE


def test_without_a_file_every_setting_has_its_default(conf: Path) -> None:
    assert load(Path("somewhere")).engine == Engine()
    assert load(Path("somewhere")).home == Path.cwd() / "somewhere"
    assert load().home == Path.cwd() / ".promolake"


def test_the_shipped_file_names_every_key_and_says_the_defaults(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load(Path("/home"))
    monkeypatch.setenv("PROMOLAKE_CONF", str(REPOSITORY / "conf"))
    assert load(Path("/home")) == defaults
    shipped = (REPOSITORY / "conf" / settings.FILE).read_text()
    for section, field in Settings.model_fields.items():
        if section != "home":
            assert f"\n{section}:" in shipped
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"\n  {key}: " in shipped, f"{section}.{key}"


def test_variables_go_before_the_file_and_the_file_before_the_defaults(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf.write_text("kafka: {bootstrap: 'file:1', partitions: 7}\nengine: {trigger: 5 seconds}\nqueries: {site: [traffic_*]}\n")
    monkeypatch.setenv("PROMOLAKE_KAFKA__BOOTSTRAP", "variable:2")
    monkeypatch.setenv("PROMOLAKE_HOME", "/var/lake")
    loaded = load()
    assert (loaded.kafka.bootstrap, loaded.kafka.partitions, loaded.kafka.patience_seconds) == ("variable:2", 7, 600)
    assert (loaded.engine.trigger, loaded.engine.join_trigger) == ("5 seconds", "30 seconds")
    assert loaded.queries == {"site": ("traffic_*",)}
    assert loaded.home == Path("/var/lake")
    assert load(Path("/given")).home == Path("/given")


@pytest.mark.parametrize("size", ["2g", "4G", "1500m", "1500M", "2097152k"])
def test_memory_is_said_as_java_and_spark_both_read_it(conf: Path, size: str) -> None:
    conf.write_text(f"engine: {{driver_memory: {size}}}\n")
    assert load().engine.driver_memory == size


def test_what_is_loaded_cannot_be_changed(conf: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().kafka.bootstrap = "elsewhere:1"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kafka: {bootstrp: 'a:1'}", "kafka.bootstrp: Extra inputs are not permitted"),
        ("kafak: {}", "kafak: Extra inputs are not permitted"),
        ("kafka: {partitions: none}", "kafka.partitions: Input should be a valid integer"),
        ("engine: {max_offsets: 0}", "engine.max_offsets: Input should be greater than or equal to 1"),
        ("engine: {driver_memory: plenty}", "engine.driver_memory: String should match pattern '^[1-9][0-9]*[kKmMgG]$'"),
        ("kafka: [", "cannot be read: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_key(conf: Path, text: str, named: str) -> None:
    conf.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(conf) in str(refused.value)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["PROMOLAKE_KAFKA__BOOTSTRP", "PROMOLAKE_KAFAK__BOOTSTRAP", "PROMOLAKE_BOOTSTRAP", "PROMOLAKE_HOMME"])
def test_a_variable_that_names_no_setting_is_refused(conf: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "a:1")
    with pytest.raises(SettingsError, match=f"The variable {name} names no setting"):
        load()


def test_a_variable_with_a_wrong_value_is_refused_with_its_key(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOLAKE_ENGINE__CORES", "many")
    with pytest.raises(SettingsError, match=r"engine\.cores: Input should be a valid integer"):
        load()


def test_a_home_that_cannot_be_made_is_one_sentence(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem) as refused:
        writable_home(load(tmp_path / "file" / "home"))
    assert str(refused.value) == f"The home {tmp_path}/file/home cannot be written: Not a directory. Choose another with --home."


def test_a_home_is_made_and_nothing_is_left_by_the_probe(conf: Path, tmp_path: Path) -> None:
    assert writable_home(load(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


# --- the key of the pseudonyms ---------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_for_its_owner_alone(conf: Path, tmp_path: Path) -> None:
    key = pseudonym_key(load(tmp_path / "home")).get_secret_value()
    file = tmp_path / "home" / "secrets" / "pseudonym.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(bytes.fromhex(key)) == 32
    assert pseudonym_key(load(tmp_path / "home")).get_secret_value() == key
    assert pseudonym_key(load(tmp_path / "another")).get_secret_value() != key


def test_jobs_of_a_new_home_that_begin_at_once_agree_on_its_key(conf: Path, tmp_path: Path) -> None:
    for n in range(20):
        together = threading.Barrier(8)

        def begin(_: int, home: Path = tmp_path / str(n), together: threading.Barrier = together) -> str:
            writable_home(load(home))
            together.wait(20)
            return pseudonym_key(load(home)).get_secret_value()

        with ThreadPoolExecutor(8) as jobs:
            assert len({*jobs.map(begin, range(8))}) == 1
        assert [file.name for file in (tmp_path / str(n) / "secrets").iterdir()] == ["pseudonym.key"]


def test_the_configured_file_goes_before_the_variable_and_that_before_a_key_of_the_home(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, file = tmp_path / "home", tmp_path / "given.key"
    file.write_text("from the file\n")
    monkeypatch.setenv("PROMOLAKE_PSEUDONYM_KEY", "from the variable")
    assert pseudonym_key(load(home)).get_secret_value() == "from the variable"
    monkeypatch.setenv("PROMOLAKE_PRIVACY__KEY_FILE", str(file))
    assert pseudonym_key(load(home)).get_secret_value() == "from the file"
    assert not home.exists()


def test_a_key_file_that_cannot_be_read_or_is_empty_is_refused(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOLAKE_PRIVACY__KEY_FILE", str(tmp_path / "none.key"))
    with pytest.raises(SettingsError, match=r"none\.key cannot be read: No such file or directory\. Correct privacy\.key_file\."):
        pseudonym_key(load(tmp_path / "home"))
    (tmp_path / "none.key").write_text("\n")
    with pytest.raises(SettingsError, match=r"none\.key is empty\."):
        pseudonym_key(load(tmp_path / "home"))
    monkeypatch.delenv("PROMOLAKE_PRIVACY__KEY_FILE")
    made = tmp_path / "home" / "secrets" / "pseudonym.key"
    made.parent.mkdir(parents=True)
    made.write_text("")  # as a full disk leaves it
    with pytest.raises(SettingsError, match=r"pseudonym\.key is empty\."):
        pseudonym_key(load(tmp_path / "home"))


def test_the_key_is_shown_nowhere(conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOLAKE_PSEUDONYM_KEY", "very secret")
    key = pseudonym_key(load(tmp_path))
    assert "very secret" not in f"{key!r} {key} {load(tmp_path)!r}"
