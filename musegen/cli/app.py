"""The application, to which the other modules add their commands."""

from __future__ import annotations

from cyclopts import App, Group, Parameter

__all__ = ["DATA", "LOOK", "MAKE", "PLUGINS", "TRAIN", "app", "data_app", "plugin_app"]


def _version() -> str:
    from importlib.metadata import version

    return f"musegen {version('musegen')}"


MAKE = Group("Make music, pictures and sound", sort_key=1)
TRAIN = Group("Train", sort_key=2)
LOOK = Group("Look at models", sort_key=3)
DATA = Group("Look at data", sort_key=4)
PLUGINS = Group("Families, domains and plugins", sort_key=5)

app = App(
    name="musegen",
    help="Deep generative models for music, pictures and sound: every family on every domain.",
    help_epilogue="Every command also takes --plugin FILE, a Python file with a domain, a family, a measure or a command of your "
    "own (repeatable; see docs/plugins.md), and --debug, which shows where an error comes from.",
    version=_version,
    help_format="plaintext",  # reading Markdown takes a third of the time of --help
    result_action="return_value",
    default_parameter=Parameter(json_list=False, json_dict=False),  # a name may begin with a bracket
    group_commands=Group("Other", sort_key=6),
)
app.register_install_completion_command(add_to_startup=False)
data_app = App(name="data", help="Look at data, and prepare them.", result_action="return_value", group=DATA)
app.command(data_app)
plugin_app = App(name="plugin", help="Write a plugin, and check one.", result_action="return_value", group=PLUGINS)
app.command(plugin_app)
