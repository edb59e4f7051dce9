"""Graphical models as data: nodes with roles, edges with kinds and the network that carries them.

A graph is not decoration: ``Graph.check`` holds it against the networks and players of its family, and
``musegen explain`` draws it. Roles keep apart what papers write with one letter (in Hu et al. 2017 the indicator y is
real/fake or source/target, not a class label).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Literal

__all__ = ["Edge", "Graph", "Node"]

Role = Literal["observed", "latent", "noise", "label", "code", "generated", "indicator", "feature"]
Kind = Literal["generative", "inference", "deterministic", "adversarial", "prior"]


@dataclass(frozen=True)
class Node:
    """A variable.

    Args:
        name: the paper's symbol.
        role: what it is; ``indicator`` is real/fake or source/target, ``generated`` a sample x̃ of the model.
        meaning: a few words.
    """

    name: str
    role: Role
    meaning: str


@dataclass(frozen=True)
class Edge:
    """``source`` → ``target``; ``networks`` are the names of the networks that compute it (none for a fixed law)."""

    source: str
    target: str
    kind: Kind
    law: str
    networks: tuple[str, ...] = ()


_KIND_STYLE = {
    "generative": ("#1f4e79", ""),
    "inference": ("#2e7d32", "6 4"),
    "deterministic": ("#555555", ""),
    "adversarial": ("#b71c1c", "2 3"),
    "prior": ("#6a1b9a", "8 3"),
}
_FILL = {
    "observed": "#d9d9d9",
    "latent": "#ffffff",
    "noise": "#ffffff",
    "label": "#fff3cd",
    "code": "#e3f2fd",
    "generated": "#f1f8e9",
    "indicator": "#fdecea",
    "feature": "#f3e5f5",
}


@dataclass(frozen=True)
class Graph:
    """The graphical model of a family."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def check(self, networks: Iterable[str], players: dict[str, tuple[str, ...]]) -> None:
        """Hold the graph against its family.

        Raises:
            ValueError: an edge names an unknown node or network, a network or a player's network has no edge, two
                nodes share a name, or the generative edges form a cycle.
        """
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError(f"two nodes share a name: {names}")
        networks, drawn = set(networks), {n for edge in self.edges for n in edge.networks}
        for edge in self.edges:
            for end in (edge.source, edge.target):
                if end not in names:
                    raise ValueError(f"edge {edge.source} → {edge.target} names no node {end!r}")
        if drawn != networks:
            raise ValueError(
                f"networks without an edge: {networks - drawn}; edges without a network: {drawn - networks}"
            )
        moved = {n for player in players.values() for n in player}
        if not moved <= networks:
            raise ValueError(f"players move networks that do not exist: {moved - networks}")
        self._check_acyclic({"generative", "prior"})

    def _check_acyclic(self, kinds: set[str]) -> None:
        remaining = [(e.source, e.target) for e in self.edges if e.kind in kinds]
        while remaining:
            targets = {target for _, target in remaining}
            kept = [(source, target) for source, target in remaining if source in targets]
            if len(kept) == len(remaining):
                raise ValueError(f"the generative edges form a cycle: {kept}")
            remaining = kept

    def text(self) -> str:
        """The graph as lines: variables, then edges."""
        width = max(len(node.name) for node in self.nodes)
        lines = [f"  {node.name:<{width}}  {node.role:<10} {node.meaning}" for node in self.nodes]
        arrows = {
            "generative": "──▶",
            "inference": "╌╌▶",
            "deterministic": "──▶",
            "adversarial": "··▶",
            "prior": "──▶",
        }
        lines.append("")
        for e in self.edges:
            by = f"   [{', '.join(e.networks)}]" if e.networks else ""
            lines.append(f"  {e.source:>{width}} {arrows[e.kind]} {e.target:<{width}}  {e.kind:<13} {e.law}{by}")
        return "\n".join(lines)

    def _layers(self) -> list[list[str]]:
        """Columns of nodes: longest path along the edges in their listed order, cycles cut at the edge that closes them."""
        depth = {node.name: 0 for node in self.nodes}
        above: dict[str, set[str]] = {node.name: set() for node in self.nodes}
        for edge in self.edges:
            if edge.target in above[edge.source] or edge.source == edge.target:
                continue  # this edge goes back to an earlier column, as inference does
            for name in [edge.target, *(n for n, ups in above.items() if edge.target in ups)]:
                above[name] |= {edge.source} | above[edge.source]
        for _ in self.nodes:
            for edge in self.edges:
                if edge.source in above[edge.target]:
                    depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)
        columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
        for name, d in depth.items():
            columns[d].append(name)
        return columns

    def svg(self, title: str = "") -> str:
        """The graph as a standalone SVG: circles for variables (shaded: observed), curves for edges, a legend."""
        columns, gap_x, gap_y, radius = self._layers(), 230, 130, 30
        rows = max(len(column) for column in columns)
        column = {name: i for i, names in enumerate(columns) for name in names}
        spans = [abs(column[e.source] - column[e.target]) for e in self.edges]
        # An edge over several columns swings around the nodes between them, above or below.
        margin = 60 * max(0, max(spans, default=0) - 1)
        width, height = gap_x * len(columns) + 60, gap_y * rows + 130 + 2 * margin
        at: dict[str, tuple[float, float]] = {}
        for i, names in enumerate(columns):
            for j, name in enumerate(names):
                at[name] = (gap_x * i + 130, 60 + margin + gap_y * (j + (rows - len(names)) / 2 + 0.5))
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" '
            f'height="{height:.0f}" font-family="sans-serif" font-size="13">',
            f'<rect width="{width}" height="{height:.0f}" fill="white"/>',
            f'<text x="20" y="28" font-size="17" font-weight="bold">{escape(title)}</text>',
        ]
        seen: dict[frozenset[str], int] = {}
        for edge, span in zip(self.edges, spans, strict=True):
            pair = frozenset((edge.source, edge.target))
            seen[pair] = seen.get(pair, 0) + 1
            bend = (40 if seen[pair] % 2 else 90) + 120 * max(0, span - 1)
            out.append(self._svg_edge(edge, at, radius, bend))
        for node in self.nodes:
            x, y = at[node.name]
            out.append(
                f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{_FILL[node.role]}" stroke="#333" stroke-width="1.6"/>'
                f'<text x="{x}" y="{y + 6}" text-anchor="middle" font-size="18" font-style="italic">{escape(node.name)}</text>'
                f'<text x="{x}" y="{y + radius + 16}" text-anchor="middle" fill="#444">{escape(node.meaning)}</text>'
            )
        kinds = [k for k in _KIND_STYLE if any(e.kind == k for e in self.edges)]
        for i, kind in enumerate(kinds):
            colour, dash = _KIND_STYLE[kind]
            x, y = 20 + 135 * i, height - 18
            out.append(
                f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
                f'{_arrowhead(x + 34, y, 1, 0, colour)}<text x="{x + 40}" y="{y + 4}">{kind}</text>'
            )
        return "\n".join([*out, "</svg>\n"])

    @staticmethod
    def _svg_edge(edge: Edge, at: dict[str, tuple[float, float]], radius: int, bend: float) -> str:
        (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
        dx, dy = x2 - x1, y2 - y1
        length = max((dx * dx + dy * dy) ** 0.5, 1.0)
        nx, ny = dy / length, -dx / length  # left normal: an edge and its reverse bend apart
        cx, cy = (x1 + x2) / 2 + nx * bend, (y1 + y2) / 2 + ny * bend

        def rim(x: float, y: float) -> tuple[float, float]:
            d = max(((cx - x) ** 2 + (cy - y) ** 2) ** 0.5, 1.0)
            return x + (cx - x) / d * radius, y + (cy - y) / d * radius

        (sx, sy), (tx, ty) = rim(x1, y1), rim(x2, y2)
        colour, dash = _KIND_STYLE[edge.kind]
        lx, ly = (x1 + 2 * cx + x2) / 4, (y1 + 2 * cy + y2) / 4
        length = max(((tx - cx) ** 2 + (ty - cy) ** 2) ** 0.5, 1.0)
        label = f'x="{lx:.1f}" y="{ly - 7:.1f}" text-anchor="middle"'
        return (
            f'<path d="M{sx:.1f},{sy:.1f} Q{cx:.1f},{cy:.1f} {tx:.1f},{ty:.1f}" fill="none" stroke="{colour}" '
            f'stroke-width="1.8" stroke-dasharray="{dash}"/>{_arrowhead(tx, ty, (tx - cx) / length, (ty - cy) / length, colour)}'
            # The white outline keeps the label readable where it crosses a line.
            f'<text {label} stroke="white" stroke-width="4" aria-hidden="true">{escape(edge.law)}</text>'
            f'<text {label} fill="{colour}">{escape(edge.law)}</text>'
        )


def _arrowhead(x: float, y: float, dx: float, dy: float, colour: str) -> str:
    """A triangle whose tip is at (x, y) and that points along the unit vector (dx, dy)."""
    back, half = 10.0, 4.5
    corners = [(x, y)] + [(x - back * dx + side * half * dy, y - back * dy - side * half * dx) for side in (1, -1)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'
