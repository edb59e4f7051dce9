"""The studio: a server on this machine through which a page and scripts make pieces, hear them and have parts written anew.

``work.py`` does one thing at a time, in the order asked for; ``shelf.py`` keeps models and pieces; ``requests.py`` says what can be
asked for, and ``desk.py`` does it. None of these knows of HTTP. ``api.py`` is the interface, ``guard.py`` decides who may use it,
and ``openapi.py`` describes it; ``page/`` is what a browser gets. These need the extra ``studio`` (Starlette and uvicorn).
"""
