"""Measures and pictures of models, one file each; none of them knows one family or one domain."""
