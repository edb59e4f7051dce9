"""Samples as HTML: a page that stands alone, and parts of it for notebooks.

What is written is also well-formed XML, but for the script. Texts are escaped, drawings are made from checked data, and a policy in
the page lets nothing run or load but its own script and the files beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path

from musegen.album.record import Album, Sample, file_of
from musegen.contracts.figure import Figure, Layer
from musegen.reporting import plain

__all__ = ["article", "page", "style"]

PLAYED_AT_ONCE = 24
"""Of more sounds in a page only those that are played are opened."""


def page(album: Album) -> str:
    """The page of an album, which lies beside the files."""
    samples, script = album.samples, _file("page.js")
    policy = (
        "default-src 'none'; img-src 'self' file: data:; media-src 'self' file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    )
    preload = "metadata" if len(samples) <= PLAYED_AT_ONCE else "none"
    more = f"<p>{album.more:,} more are in the folder.</p>" if album.more else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="{policy}"/>
<title>{_text(album.title)}</title>
<style>
{_file("page.css")}{style(samples)}</style>
</head>
<body>
<h1>{_text(album.title)}</h1>
<button id="all" type="button" hidden="">Play all, or pause</button>
<main class="musegen">
<div class="samples">
{"".join(article(sample, preload=preload) for sample in samples)}</div>
</main>
{more}
<script>{script}</script>
</body>
</html>
"""


def style(samples: Sequence[Sample]) -> str:
    """The style sheet of articles within something of the class ``musegen``.

    A check box hides its layer by style alone, also where no script may run.
    """
    n_layers = max((len(sample.figure.layers) for sample in samples if sample.figure), default=0)
    off = (
        f".sample:has(input[value='{i}']:not(:checked)) [data-layer='{i}'] {{ display: none; }}"
        for i in range(n_layers)
    )
    return ".musegen {\n" + _file("samples.css") + "\n".join(off) + "\n}\n"


def article(sample: Sample, *, preload: str = "metadata", sound: str = "") -> str:
    """One sample.

    Args:
        preload: how much of its sound is opened with the page: ``metadata`` or ``none``.
        sound: where it is, if not in the sample's own file.
    """
    name, figure = _text(sample.name), sample.figure
    about = [*([figure.about] if figure else []), *([] if sample.seconds is None else [_minutes(sample.seconds)])]
    parts = [f"<h2>{name}</h2>"]
    if about:
        parts.append(f"<p>{_text(' · '.join(about))}</p>")
    if figure:
        parts.append(_drawing(figure, sample.name))
    elif sample.picture:
        parts.append(f'<img src="{escape(sample.picture)}" alt="Picture of {name}" loading="lazy"/>')
    if sound := sound or sample.sound:
        parts.append(
            f'<audio controls="" preload="{preload}" src="{escape(sound)}" aria-label="Sound of {name}"></audio>'
        )
    if sample.files:
        links = (f'<a href="{escape(file)}">{_text(file_of(file))}</a>' for file in sample.files)
        parts.append(f"<p>{' '.join(links)}</p>")
    if sample.seed is not None:
        parts.append(f"<p>Seed {sample.seed}</p>")
    if sample.command:
        parts.append(f"<p><code>{_text(sample.command)}</code></p>")
    body = "\n".join(parts)
    return f'<article class="sample">\n{body}\n</article>\n'


def _drawing(figure: Figure, name: str) -> str:
    """A figure, and check boxes for its layers if there are several."""
    names = ", ".join(layer.name for layer in figure.layers)
    marks = "".join(
        f'<span style="left:{100 * x / figure.width:.4g}%">{_text(text)}</span>' for x, text in figure.marks
    )
    times = f' data-times="{escape(json.dumps(figure.times))}"' if len(figure.times) > 1 else ""
    layers = "".join(_layer(layer, i, figure) for i, layer in enumerate(figure.layers))
    boxes = "".join(
        f'<label><input type="checkbox" checked="" value="{i}"/> '
        f'<i style="background:{layer.colour}"></i>{_text(layer.name)}</label> '
        for i, layer in enumerate(figure.layers)
    )
    toggles = f'<fieldset class="layers"><legend>Show</legend>{boxes}</fieldset>' if len(figure.layers) > 1 else ""
    return f"""<div class="figure"{times}>
<div class="marks" aria-hidden="true">{marks}</div>
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {figure.width:g} {figure.height:g}" preserveAspectRatio="none" role="img" \
aria-label="{_text(f"Drawing of {name}: {figure.about}. {names}.")}">
<path class="ground" d="{figure.ground}"/><path class="rules" d="{figure.rules}"/>
{layers}</svg>
</div>
{toggles}"""


def _layer(layer: Layer, i: int, figure: Figure) -> str:
    if layer.image:
        return (
            f'<image data-layer="{i}" width="{figure.width:g}" height="{figure.height:g}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{layer.image}"/>\n'
        )
    drawn = f"stroke:{layer.colour};stroke-width:{layer.line:g}" if layer.line else f"fill:{layer.colour}"
    return f'<path data-layer="{i}" style="{drawn}" d="{layer.path}"/>\n'


def _text(text: str) -> str:
    return escape(plain(text))


def _minutes(seconds: float) -> str:
    """``"1:05"``."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


@cache
def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")
