"""Plugins: how families, domains, measures and commands are found, in the tree and on a stranger's machine alike.

A plugin is an installed distribution with an entry point in the group ``musegen`` that names a module, or one file that a
user names. The module implements one or more of the hooks below and returns ``Offer`` objects, whose ``load`` imports the
heavy part only when somebody wants it. musegen's own families and domains arrive by the same road.

Entry points are loaded one by one, so that a broken plugin costs only itself; what is wrong with it stands in ``Found``.
``docs/plugins.md`` says what a plugin may rely on.
"""

from __future__ import annotations

from musegen.plugins.discovery import Registry, registry, use_plugin
from musegen.plugins.hooks import API, GROUP, Command, Found, Measure, Offer, hookimpl
from musegen.plugins.needs import needs, provide

__all__ = [
    "API",
    "GROUP",
    "Command",
    "Found",
    "Measure",
    "Offer",
    "Registry",
    "hookimpl",
    "needs",
    "provide",
    "registry",
    "use_plugin",
]
