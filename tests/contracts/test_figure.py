"""Drawings of pieces hold nothing but numbers, colours and texts."""

from __future__ import annotations

import pytest

from musegen.contracts.figure import Figure, Layer
from musegen.errors import BadInput


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": "red"},
        {"colour": '#123456"/><script>'},
        {"path": 'M0 0"/>'},
        {"path": "url(x)"},
        {"image": "data:x"},
        {"image": "abc\n"},
    ],
)
def test_what_a_layer_cannot_be(wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="of a layer is invalid"):
        Layer(**{"name": "a", "colour": "#123456", **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": float("nan")},
        {"ground": "M0 0'"},
        {"rules": "<"},
        {"times": [(0, 0), (5, 3), (4, 4)]},
        {"times": [(0, 1), (1, 0)]},
    ],
)
def test_what_a_figure_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Figure(**{"width": 8, "height": 4, "layers": [], "about": "", **wrong})  # type: ignore[arg-type]
