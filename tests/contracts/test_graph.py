"""Graphs as data: every family's graph agrees with its networks and players; the drawing shows all of it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from musegen.contracts.family import build
from musegen.contracts.graph import Edge, Graph, Node
from musegen.plugins import registry

FAMILIES = sorted(registry().families)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_agrees_with_networks_and_players(name: str) -> None:
    family_class, domain_class = registry().family(name), registry().domain("toy")
    config = family_class.Config()
    family = build(family_class, config, domain_class(domain_class.Config()))
    learning = {n for n, module in family.named_children() if list(module.parameters())}
    players = {player: entry.networks for player, entry in family.players.items()}
    family_class.graph(config).check(learning, players)
    moved = {n for networks in players.values() for n in networks}
    assert moved == learning  # nothing is left out of training


@pytest.mark.parametrize("name", FAMILIES)
def test_the_drawing_shows_every_node_and_edge(name: str) -> None:
    graph = registry().family(name).graph(registry().family(name).Config())
    svg, text = graph.svg("Title & more"), graph.text()
    root = ElementTree.fromstring(svg)  # well-formed
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for node in graph.nodes:
        assert node.name in shown
        assert node.meaning in shown
        assert node.name in text
    for edge in graph.edges:
        assert edge.law in shown
        assert edge.law in text
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(set(circles)) == len(graph.nodes)  # none on top of another
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(30 <= x <= width - 30 and 30 <= y <= height - 30 for x, y in circles)


X, Z = Node("x", "observed", "data"), Node("z", "latent", "code")


@pytest.mark.parametrize(
    ("graph", "networks", "message"),
    [
        (Graph((X, Z), (Edge("z", "y", "generative", "", ("decoder",)),)), ["decoder"], "names no node"),
        (Graph((X, X), ()), [], "share a name"),
        (Graph((X, Z), (Edge("z", "x", "generative", "", ("decoder",)),)), ["decoder", "encoder"], "without an edge"),
        (Graph((X, Z), (Edge("z", "x", "generative", "", ("decoder",)),)), [], "without a network"),
        (
            Graph((X, Z), (Edge("z", "x", "generative", "", ()), Edge("x", "z", "generative", "", ()))),
            [],
            "cycle",
        ),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused(graph: Graph, networks: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graph.check(networks, {})
