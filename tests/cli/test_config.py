"""Settings: three sources, later wins; a name or a value that cannot be is said, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiercluster.cli.config import SETTINGS, ConfigError, exposed, from_env, from_toml, load
from tiercluster.node.settings import NodeSettings

from .conftest import Run

MiB = 2**20


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return file


def test_without_anything_the_defaults_hold() -> None:
    effective = load(None, {})
    assert effective.settings == NodeSettings()
    assert set(effective.origins.values()) == {"default"}


def test_later_sources_win_and_say_so(tmp_path: Path) -> None:
    file = write(tmp_path, 'id = "a"\nweight = 2\n[hot]\nsize = "1MiB"\n')
    effective = load(
        file,
        {"TIERCLUSTER_ID": "b", "TIERCLUSTER_HOT_SIZE": "2MiB"},
        {"id": "c"},
    )
    assert effective.settings.id == "c"
    assert effective.settings.hot.capacity_bytes == 2 * MiB
    assert effective.settings.weight == 2.0
    assert effective.origins["id"] == "--id"
    assert effective.origins["hot.size"] == "TIERCLUSTER_HOT_SIZE"
    assert effective.origins["weight"] == str(file)
    assert effective.origins["cold.size"] == "default"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_can_be_given_in_toml_and_in_the_environment(name: str) -> None:
    rows = {n: value for n, value, _ in load(None, {}).rows()}
    value = _spelled(rows[name])
    table, dot, key = name.rpartition(".")
    toml = f"[{table}]\n{key} = {value}" if dot else f"{key} = {value}"
    assert from_toml(toml, "f")[name].origin == "f"
    env = "TIERCLUSTER_" + name.replace(".", "_").upper()
    assert from_env({env: value.strip('"')})[name].origin == env


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return '"keys"'
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('lisen = "h:1"', "unknown setting lisen: did you mean listen?"),
        ('[hot]\nsiez = "1MiB"', "unknown setting hot.siez: did you mean hot.size?"),
        ("[detector]\nlease = 1", "unknown setting detector.lease: did you mean detector.lease_s?"),
        ('[hto]\nsize = "1MiB"', "did you mean"),
        ('[hot]\nsize = "64 parsecs"', "hot.size (FILE): '64 parsecs' is no size"),
        ('[hot]\nsize = "1KiB"', "hot: a tier's size must be at least 1MiB"),
        ('listen = "nowhere"', "listen (FILE): 'nowhere' is no address: write HOST:PORT"),
        ('listen = ""', "listen (FILE): '' is no address: write HOST:PORT"),
        ('raft = ""', "raft: an address is needed: HOST:PORT"),
        ("[recovery]\nsuccesses = 0", "recovery: successes must be at least 1"),
        ("[recovery]\nhold_down_s = 0", "recovery: hold_down_s and latch_window_s must be"),
        ("[recovery]\nlatch_window_s = 0", "recovery: hold_down_s and latch_window_s must be"),
        ("[cold]\ndeadline_s = 0", "cold: window_s and deadline_s must be above 0"),
        ("[hot]\nwindow_s = 0", "hot: window_s and deadline_s must be above 0"),
        ("[detector]\nstall_s = 0", "detector: heartbeat_s and stall_s must be above 0"),
        ("id = 3", "id (FILE): a text is needed, not 3"),
        ("replicas = 4", "replicas must be from 1 to 3"),
        ("replicas = 1.5", "replicas (FILE): 1.5 is no whole number"),
        ('weight = "heavy"', "weight (FILE): 'heavy' is no number"),
        ("weight = -1", "weight (FILE): -1 is out of range"),
        (f"weight = {10**400}", "0 is out of range"),
        ("insecure = 1", "insecure (FILE): true or false is needed, not 1"),
        ("[hot]\ntrip_failures = 2.5", "hot.trip_failures (FILE): 2.5 is no whole number"),
        ("[detector]\nlease_s = 9", "detector: needs 2 * heartbeat_s <= lease_s < down_after_s"),
        ('on_quorum_loss = "panic"', "on_quorum_loss must be serve, read_only or fence"),
        ('peers = ["n2"]', "peers (FILE): 'n2' is no peer: write ID=HOST:RAFTPORT"),
        ('peers = ["n1=h:1"]', "peers name every other voter, and n1 is this node itself"),
        ('http = "127.0.0.1:7701"', "http and listen are both 127.0.0.1:7701"),
        ("id = ", "FILE is no TOML"),
    ],
)
def test_what_cannot_be_is_said_with_its_name(tmp_path: Path, text: str, expected: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert expected.replace("FILE", str(file)) in str(caught.value)


def test_a_follower_needs_no_raft_address() -> None:
    environ = {"TIERCLUSTER_RAFT": "", "TIERCLUSTER_JOIN": "127.0.0.1:7701"}
    assert load(None, environ).settings.raft == ""


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 3000, "weight = " + "9" * 5000], ids=["deep", "long"]
)
def test_what_is_too_deep_or_too_long_to_be_read_is_no_toml(text: str) -> None:
    with pytest.raises(ConfigError, match="f is no TOML"):
        from_toml(text, "f")


def test_all_wrong_names_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "lisen = 1\ndatta = 2\n"), {})
    assert len(caught.value.problems) == 2


def test_an_unknown_variable_is_an_error_with_the_closest_name() -> None:
    with pytest.raises(ConfigError, match="TIERCLUSTER_LISEN: did you mean TIERCLUSTER_LISTEN"):
        load(None, {"TIERCLUSTER_LISEN": "h:1"})


def test_variables_of_clients_and_of_kubernetes_are_nobodys_mistake() -> None:
    foreign = {
        "TIERCLUSTER_CLUSTER": "h:1",
        "TIERCLUSTER_NAMESPACE": "x",
        "TIERCLUSTER_PORT": "tcp://10.0.0.1:7701",
        "TIERCLUSTER_PORT_7701_TCP_ADDR": "10.0.0.1",
        "TIERCLUSTER_SERVICE_HOST": "10.0.0.1",
        "OTHER": "x",
    }
    assert load(None, foreign).settings == NodeSettings()


def test_a_tier_may_be_given_as_its_bare_size() -> None:
    assert load(None, {"TIERCLUSTER_COLD": "1GiB"}).settings.cold.capacity_bytes == 2**30
    assert from_toml('cold = "1GiB"', "f")["cold.size"].value == "1GiB"


@pytest.mark.parametrize(
    "peers",
    ['peers = ["n2=h:1", "n3=h:2"]', '[peers]\nn2 = "h:1"\nn3 = "h:2"', 'peers = "n2=h:1,n3=h:2"'],
)
def test_peers_are_a_table_a_list_or_a_text(tmp_path: Path, peers: str) -> None:
    settings = load(write(tmp_path, peers), {}).settings
    assert settings.peers == (("n2", "h:1"), ("n3", "h:2"))


def test_the_raft_port_stands_beside_the_client_port() -> None:
    effective = load(None, {}, {"listen": "127.0.0.1:7710"})
    assert effective.settings.raft == "127.0.0.1:7810"
    assert effective.origins["raft"] == "listen + 100"


@pytest.mark.parametrize(
    ("flags", "open_addresses"),
    [
        ({"listen": "127.0.0.1:1"}, 0),
        ({"listen": "[::1]:1"}, 0),
        ({"listen": "localhost:1"}, 0),
        ({"listen": "0.0.0.0:1"}, 2),
        ({"listen": "cache-1:1", "raft": "127.0.0.1:2"}, 1),
        ({"listen": "10.0.0.1:1", "insecure": True}, 0),
        ({"listen": "10.0.0.1:1", "keys": "dir"}, 0),
    ],
)
def test_off_loopback_needs_keys_or_a_word(flags: dict[str, Any], open_addresses: int) -> None:
    assert len(exposed(load(None, {}, flags).settings)) == open_addresses


def test_config_check_prints_each_setting_with_its_origin(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, '[hot]\nsize = "96MiB"\n')
    document = run("config", "check", str(file), "--json").json
    assert document["hot.size"] == {"value": "96MiB", "origin": str(file)}
    assert document["listen"] == {"value": "127.0.0.1:7701", "origin": "default"}
    assert set(document) == set(SETTINGS)
    assert "96MiB" in run("config", "check", str(file)).out


def test_config_check_of_a_bad_file_is_2_and_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("config", "check", str(write(tmp_path, "lisen = 1")))
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean listen?" in ran.err
    assert ran.err.count("\n") == 1


def test_what_config_check_prints_can_be_written_back(run: Run, tmp_path: Path) -> None:
    document = run("config", "check", str(write(tmp_path, 'peers = ["n2=h:1"]')), "--json").json
    given = {name: entry["value"] for name, entry in document.items() if entry["value"] is not None}
    assert load(None, {}, given).settings == load(tmp_path / "node.toml", {}).settings


PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_page_has_every_setting_with_its_default(name: str) -> None:
    table, _, key = name.rpartition(".")
    tiers = ("hot", "warm", "cold")
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{key}` |"))
    cells = [cell.strip().strip("`") for cell in row.split("|")[1:-1]]
    default = cells[1 + tiers.index(table)] if table in tiers else cells[1 if table else 2]
    value = next(v for n, v, _ in load(None, {}).rows() if n == name)
    assert default == _as_on_the_page(value)


def _as_on_the_page(value: Any) -> str:
    if value in ("", None, []):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def test_the_example_of_the_page_is_a_configuration() -> None:
    example = PAGE.read_text().split("```toml\n")[1].split("```")[0]
    assert from_toml(example, "page")["cold.size"].value == "100GiB"
