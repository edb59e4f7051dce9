"""Conformance checks, which the author of a plugin runs on a domain or a family.

In a test file, with pytest (which this package does not import):

    from musegen.testing import checks

    @pytest.mark.parametrize("check", checks(MyDomain), ids=str)
    def test_conformance(check):
        check()

Each check raises ``AssertionError`` with one sentence: what is wrong, and what the contract wants. What a check needs and a
domain does not have (labels, a second data set, autoregressive networks) makes it skip, with the reason. ``conformance``
runs all of them and reports; ``musegen plugin check NAME`` prints that.
"""

from musegen.testing.checks import Check, Outcome, checks, conformance

__all__ = ["Check", "Outcome", "checks", "conformance"]
