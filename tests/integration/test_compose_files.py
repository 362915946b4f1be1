"""The compose files without Docker: what they name must exist, and what they say must agree.

They are read line by line, so that no YAML library is needed for three files of ours.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tiercluster.cli.config import load

COMPOSE = Path(__file__).parents[2] / "compose"
NODES = ("n1", "n2", "n3")


def service(name: str) -> str:
    """The block of one service."""
    text = (COMPOSE / "compose.yaml").read_text()
    match = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    assert match, f"no service {name}"
    return match[1]


def environment(name: str) -> dict[str, str]:
    return dict(re.findall(r"^ +(TIERCLUSTER_\w+): (\S+)$", service(name), re.MULTILINE))


@pytest.mark.parametrize("node", NODES)
def test_every_variable_of_a_node_is_a_setting_of_it(node: str) -> None:
    settings = load(None, environment(node)).settings
    assert settings.id == node
    assert settings.keys is not None


@pytest.mark.parametrize("node", NODES)
def test_a_node_names_all_others_at_the_address_where_they_listen(node: str) -> None:
    peers = dict(re.findall(r'"--peer", "(\w+)=(\S+?)"', service(node)))
    assert peers == {n: environment(n)["TIERCLUSTER_RAFT"] for n in NODES if n != node}


@pytest.mark.parametrize("node", NODES)
def test_the_address_of_the_container_is_the_one_that_the_node_binds(node: str) -> None:
    match = re.search(r"ipv4_address: (\S+)", service(node))
    assert match
    for name in ("LISTEN", "RAFT", "HTTP"):
        assert environment(node)[f"TIERCLUSTER_{name}"].startswith(match[1] + ":")


def test_prometheus_scrapes_the_http_port_of_each_node() -> None:
    text = (COMPOSE / "prometheus.yaml").read_text()
    assert re.findall(r'"([\d.:]+)"', text) == [environment(n)["TIERCLUSTER_HTTP"] for n in NODES]


def test_no_tab_and_no_odd_indentation() -> None:
    for file in COMPOSE.glob("*.yaml"):
        for line in file.read_text().splitlines():
            assert "\t" not in line
            assert (len(line) - len(line.lstrip(" "))) % 2 == 0, (file.name, line)


def test_the_image_is_built_on_a_base_that_can_be_chosen_and_copies_what_is_there() -> None:
    text = (COMPOSE / "Dockerfile").read_text()
    assert text.index("ARG BASE=") < text.index("FROM ${BASE}")
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (COMPOSE.parent / name).exists(), name
