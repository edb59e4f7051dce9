"""Distributions as a stranger would install them, and plugins as he would write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DOMAIN = """
from musegen.plugins import Offer, hookimpl

def _domain():
    from toy import ToyDomain

    class Grooves(ToyDomain):
        name = "grooves"
        summary = "drum grooves"

    return Grooves

@hookimpl
def musegen_domains():
    return [Offer("grooves", "drum grooves", _domain)]
"""

FAMILY = """
from musegen.plugins import Offer, hookimpl

def _family():
    from musegen.families.vae import VAE

    class Mine(VAE):
        name = "mine"
        title = "a family of mine"

    return Mine

@hookimpl
def musegen_families():
    return [Offer("mine", "a family of mine", _family)]
"""

MEASURE = """
from musegen.plugins import Measure, hookimpl

def _load():
    def brightness(samples, reference):
        return {"mean": samples.mean(), "distance": abs(float(samples.mean() - reference.mean()))}
    return brightness

@hookimpl
def musegen_measures():
    return [Measure("brightness", "mean of all cells", _load)]
"""


def install(
    site: Path, name: str, modules: Mapping[str, str], points: Mapping[str, str] | str, version: str = "0.3"
) -> None:
    """A distribution in a folder that is, or will be, on ``sys.path``.

    Args:
        modules: source by name of the module.
        points: entry points in our group, or the whole text of ``entry_points.txt``.
    """
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if not isinstance(points, str):
        points = "[musegen]\n" + "".join(f"{point} = {module}\n" for point, module in points.items())
    (info / "entry_points.txt").write_text(points)
    for module, source in modules.items():
        (site / f"{module}.py").write_text(source)
