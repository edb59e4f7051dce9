"""Pieces in a page: what commands leave in their folders, what ``musegen album`` makes, and what a notebook shows.

A folder has two files: ``album.json`` is the record, what each sample is and how it was made, and ``index.html`` the page that is
made from it. The page stands alone: no server, no network, no script but its own.
"""
