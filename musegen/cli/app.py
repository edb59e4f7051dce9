"""The application, to which the other modules add their commands."""

from __future__ import annotations

from cyclopts import App

__all__ = ["app", "data_app", "plugin_app"]


def _version() -> str:
    from importlib.metadata import version

    return f"musegen {version('musegen')}"


app = App(
    name="musegen",
    help="Deep generative models for music and images: every family on every domain.",
    help_epilogue="Every command also takes --plugin FILE, a Python file with a domain, a family or a measure of your own "
    "(repeatable; see docs/plugins.md), and --debug, which shows where an error comes from.",
    version=_version,
    result_action="return_value",
)
data_app = App(name="data", help="Build packed stores, and look at them.", result_action="return_value")
app.command(data_app)
plugin_app = App(name="plugin", help="Write a plugin, and check one.", result_action="return_value")
app.command(plugin_app)
