"""The studio over HTTP: what scripts ask for comes back, and strangers get nothing."""

from __future__ import annotations

import io
import random
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_pages import names
from studio_client import Client, served

from musegen.data.bundled import bundled

pytest.importorskip("starlette", reason="the extra studio is not installed")
pytest.importorskip("uvicorn", reason="the extra studio is not installed")

HYMN = bundled("chorales") / "bwv253.mid"
SMALL = {"model": "chorale", "bars": 1}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio") / "saved"


@pytest.fixture(scope="module")
def client(out: Path) -> Iterator[Client]:
    with served(out) as client:
        yield client


@pytest.fixture(scope="module")
def hymn(client: Client) -> str:
    (id_,) = client.pieces(f"/api/open?model=chorale&name={HYMN.name}", HYMN.read_bytes())
    return id_


def notes_in(content: bytes) -> set[tuple[str, int, float, float]]:
    import pretty_midi

    midi = pretty_midi.PrettyMIDI(io.BytesIO(content))
    return {(i.name, n.pitch, round(n.start, 3), round(n.end, 3)) for i in midi.instruments for n in i.notes}


def downbeats(content: bytes) -> list[float]:
    import pretty_midi

    return [round(float(s), 3) for s in pretty_midi.PrettyMIDI(io.BytesIO(content)).get_downbeats()]


def file_of(client: Client, id_: str) -> bytes:
    return client.ask("GET", f"/api/pieces/{id_}/file").body


# What comes back


def test_models_and_what_they_can_do(client: Client) -> None:
    found = {row["name"]: row["about"] for row in client.ask("GET", "/api/models").json["models"]}
    assert {"band", "chorale", "notes", "pop"} <= found.keys()
    assert "chorales" in found["chorale"]
    about = client.ask("GET", "/api/models/chorale").json
    assert "infill" in about["can"]
    assert {"option", "type", "default", "meaning", "owner", "value"} == about["options"][0].keys()
    assert client.ask("GET", "/api/models/none").status == 404


def test_generated_pieces_are_those_of_the_command_line(client: Client) -> None:
    import musegen

    ids = client.pieces("/api/generate", {**SMALL, "n": 2, "seed": 3, "options": {"temperature": 0.9, "tempo": 90}})
    model = musegen.load("chorale", device="cpu")
    wanted = model.pieces(model.sample(2, 3, n_steps=8, temperature=0.9), tempo=90)
    for id_, piece in zip(ids, wanted, strict=True):
        assert file_of(client, id_) == piece._midi_file().content()  # type: ignore[attr-defined]
        found = client.ask("GET", f"/api/pieces/{id_}").json
        assert found["figure"]["about"].startswith("1 bar of 4/4")
        assert found["made"]["seed"] == 3
    # The options of one request are its own.
    again = client.pieces("/api/generate", {**SMALL, "n": 2, "seed": 3})
    plain = model.pieces(model.sample(2, 3, n_steps=8))
    assert [file_of(client, id_) for id_ in again] == [p._midi_file().content() for p in plain]  # type: ignore[attr-defined]


def test_sound_is_heard_and_comes_in_parts(client: Client) -> None:
    import soundfile

    (id_,) = client.pieces("/api/generate", SMALL)
    whole = client.ask("GET", f"/api/pieces/{id_}/sound?format=wav")
    clip, rate_hz = soundfile.read(io.BytesIO(whole.body))
    assert np.abs(clip).max() > 0.05
    assert len(clip) / rate_hz > 1
    part = client.ask("GET", f"/api/pieces/{id_}/sound?format=wav", headers={"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, whole.body[100:200])
    assert client.ask("GET", f"/api/pieces/{id_}/sound?format=au").status == 400
    # A player sets no headers.
    address = f"/api/pieces/{id_}/sound?format=mp3&token={client.token}"
    assert client.ask("GET", address, token=False).headers["content-type"] == "audio/mpeg"


def test_notes_are_edited_and_all_else_stays(client: Client, hymn: str) -> None:
    score = client.ask("GET", f"/api/pieces/{hymn}").json["score"]
    assert [voice["name"] for voice in score["voices"]] == ["Soprano", "Alto", "Tenor", "Bass"]
    voice, first, last, pitch, velocity = score["notes"][0]
    moved = [voice, first, last, pitch + 1, velocity]
    edited = client.ask("POST", "/api/edit", {"piece": hymn, "remove": [score["notes"][0]], "add": [moved]}).json
    assert edited["id"] != hymn
    assert (edited["name"], edited["made"]["request"], edited["made"]["edits"]) == ("bwv253", "open", 1)
    assert moved in edited["score"]["notes"]
    assert file_of(client, hymn) == HYMN.read_bytes()
    own, found = notes_in(HYMN.read_bytes()), notes_in(file_of(client, edited["id"]))
    assert (len(own - found), len(found - own)) == (1, 1)
    (voiced,) = client.pieces("/api/accompany", {"model": "chorale", "piece": edited["id"], "tracks": ["Soprano"]})
    assert found < notes_in(file_of(client, voiced))
    for wrong in ({"add": [[9, 0, 1, 60, 90]]}, {"remove": [[0, 1, 2, 3, 4]]}, {"add": [[0, 1, 2]]}, {"add": "x"}):
        answer = client.ask("POST", "/api/edit", {"piece": hymn, **wrong})
        assert answer.status == 400
        assert "unexpected" not in answer.json["error"]


def test_a_voice_is_heard_by_itself(client: Client, hymn: str) -> None:
    import soundfile

    def stem(**values: object) -> np.ndarray:
        query = "&".join(f"{name}={value}" for name, value in values.items())
        answer = client.ask("GET", f"/api/pieces/{hymn}/stem?{query}")
        assert answer.status == 200, answer.body
        clip, rate_hz = soundfile.read(io.BytesIO(answer.body))
        assert rate_hz == 44_100
        return np.asarray(clip)

    bass, later = stem(voice=3, first=0, last=4), stem(voice=3, first=4, last=8)
    assert np.abs(bass).max() > 0.02
    whole = stem(voice=3, first=0, last=8)
    together = np.zeros((max(len(whole), 4 * 44_100 + len(later)), 2))
    together[: len(bass)] += bass
    together[4 * 44_100 : 4 * 44_100 + len(later)] += later
    np.testing.assert_allclose(together[: len(whole)], whole, atol=2e-3)
    assert len(stem(voice=3, first=1000, last=1001)) == 0
    for wrong in ("voice=9", "voice=x", "first=2&last=1", "first=nan", "last=61", "other=1"):
        assert client.ask("GET", f"/api/pieces/{hymn}/stem?{wrong}").status == 400, wrong


def test_a_piece_has_a_picture(client: Client, hymn: str) -> None:
    answer = client.ask("GET", f"/api/pieces/{hymn}/picture")
    assert (answer.headers["content-type"], answer.body[1:4]) == ("image/png", b"PNG")


def test_sound_that_nobody_waits_for_is_not_rendered(tmp_path: Path) -> None:
    import musegen
    from musegen.errors import BadInput
    from musegen.studio.desk import Desk
    from musegen.studio.shelf import Models, Pieces
    from musegen.studio.work import Work

    model = musegen.load("chorale", device="cpu")
    (piece,) = model.pieces(model.sample(1, n_steps=8))
    with Work() as work:
        desk = Desk(Models({}, None), Pieces(tmp_path, None), tmp_path, work)  # type: ignore[arg-type]
        kept = desk.pieces.add(piece, "a", {"request": "generate", "model": "chorale"})
        asked: list[bool] = []
        for _ in range(2):
            with pytest.raises(BadInput, match="cancelled"):
                desk.sound(kept, "wav", lambda: asked.append(True) or len(asked) < 2)  # type: ignore[func-returns-value]
        assert not kept.file.with_name("sound.wav").exists()
        with pytest.raises(BadInput, match="cancelled"):
            desk.stem(kept, {}, lambda: False)
        assert desk.sound(kept, "wav").stat().st_size > 1000
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(BadInput, match="cancelled"):
            desk.save({"pieces": [kept.id]}, lambda: False)
        assert sorted(tmp_path.rglob("*")) == before
        assert desk.save({"pieces": [kept.id]}, lambda: True)["folder"] == "piece"


def test_a_piece_that_left_memory_is_the_same(client: Client, hymn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from musegen.studio.shelf import Pieces

    (own,) = client.pieces("/api/generate", {**SMALL, "n": 1})
    score = client.ask("GET", f"/api/pieces/{own}").json["score"]
    edited = client.ask("POST", "/api/edit", {"piece": own, "remove": [score["notes"][0]]}).json["id"]

    def seen() -> list[Any]:
        scores = [client.ask("GET", f"/api/pieces/{id_}").json["score"] for id_ in (own, edited, hymn)]
        sound = client.ask("GET", f"/api/pieces/{own}/stem?voice=0&first=0&last=2").body
        return [*scores, sound[sound.index(b"data") :]]  # what comes before has the time

    before, remember, loaded = seen(), Pieces._remember, []

    def forgetful(self: Pieces, id: str, piece: Any) -> None:
        loaded.append(id)
        remember(self, id, piece)
        self._pieces.clear()

    monkeypatch.setattr(Pieces, "_remember", forgetful)
    client.pieces("/api/generate", SMALL)  # which puts all others out of memory
    loaded.clear()
    assert seen() == before
    assert {own, edited, hymn} <= set(loaded)


def test_a_file_that_is_opened_stays_as_it_is(client: Client, hymn: str) -> None:
    assert file_of(client, hymn) == HYMN.read_bytes()
    own = notes_in(HYMN.read_bytes())
    (longer,) = client.pieces("/api/continue", {"model": "chorale", "piece": hymn, "bars": 1})
    (beside,) = client.pieces("/api/accompany", {"model": "chorale", "piece": hymn, "tracks": ["Soprano"]})
    for id_ in (longer, beside):
        assert own < notes_in(file_of(client, id_))


def test_what_is_outside_of_the_region_stays(client: Client, hymn: str) -> None:
    own = notes_in(HYMN.read_bytes())
    job = client.job("/api/infill", {"model": "chorale", "piece": hymn, "bars": "3-4", "tracks": ["Alto"], "n": 2})
    assert job["state"] == "done"
    for id_ in job["pieces"]:
        found = notes_in(file_of(client, id_))
        gone = own - found
        assert gone
        assert {name for name, *_ in gone} == {"Alto"}
    # Of an own piece the same tracks go on; and what was written anew can be written anew.
    (own_piece,) = client.pieces("/api/generate", {**SMALL, "bars": 4})
    (other,) = client.pieces("/api/regenerate", {"model": "chorale", "piece": own_piece, "bars": "2", "seed": 5})
    (again,) = client.pieces("/api/regenerate", {"model": "chorale", "piece": other, "bars": "2", "seed": 6})
    begin, end = downbeats(file_of(client, own_piece))[1:3]

    def elsewhere(content: bytes) -> set[tuple[str, int, float]]:
        return {(name, pitch, start) for name, pitch, start, _ in notes_in(content) if not begin <= start < end}

    for id_ in (other, again):
        found = client.ask("GET", f"/api/pieces/{id_}").json["figure"]
        assert [layer["name"] for layer in found["layers"]] == ["Soprano", "Alto", "Tenor", "Bass"]
        before, after = notes_in(file_of(client, own_piece)), notes_in(file_of(client, id_))
        assert before != after
        assert elsewhere(file_of(client, own_piece)) == elsewhere(file_of(client, id_))


def test_what_a_user_should_know_comes_as_notes_without_places(client: Client, hymn: str) -> None:
    job = client.job("/api/accompany", {"model": "chorale", "piece": hymn, "tracks": ["Soprano"]})
    assert any(note.startswith("bwv253.mid: its own notes for Alto") for note in job["notes"])
    failed = client.job("/api/infill", {"model": "chorale", "piece": hymn, "bars": "90-99"})
    assert failed["state"] == "failed"
    assert "bwv253.mid has bars 1 to" in failed["error"]
    assert "/tmp" not in str(failed) + str(job)


def test_saved_pieces_have_a_page_and_replace_nothing(client: Client, out: Path) -> None:
    ids = client.pieces("/api/generate", {**SMALL, "n": 2})
    first, second = (
        client.ask("POST", "/api/save", {"pieces": ids, "folder": "../My song", "audio": "ogg"}).json for _ in range(2)
    )
    assert (first["folder"], second["folder"]) == ("My song", "My song 2")
    assert first["files"] == ["01 chorale.mid", "01 chorale.ogg", "02 chorale.mid", "02 chorale.ogg", "index.html"]
    assert sorted(p.name for p in out.iterdir()) == ["My song", "My song 2"]
    assert (out / "My song/01 chorale.mid").read_bytes() == file_of(client, ids[0])
    assert names(out / "My song") == ["01 chorale", "02 chorale"]
    assert "studio: generate" in (out / "My song/index.html").read_text()


def test_work_can_be_watched_and_cancelled(client: Client) -> None:
    job = client.ask("POST", "/api/generate", {"model": "chorale", "n": 16, "bars": 128}).json
    waiting = client.ask("POST", "/api/generate", {"model": "chorale", "n": 16, "bars": 128}).json
    while client.ask("GET", f"/api/jobs/{job['id']}").json["progress"]["total"] < 2:
        pass
    for one in (waiting, job):
        assert client.ask("DELETE", f"/api/jobs/{one['id']}").status == 200
        assert client.ask("GET", f"/api/jobs/{one['id']}?wait=20").json["state"] == "cancelled"
    assert client.pieces("/api/generate", SMALL)


def test_every_address_is_described(client: Client) -> None:
    from musegen.studio.requests import REQUESTS

    found = client.ask("GET", "/api/openapi.json").json
    routes = {(route.path, method) for route in _routes(client) for method in (route.methods or ()) if method != "HEAD"}
    described = {(path, method.upper()) for path, methods in found["paths"].items() for method in methods}
    assert described == routes - {("/", "GET"), ("/page/{name}", "GET")}
    for name in REQUESTS.keys() - {"decode", "encode"}:
        schema = found["paths"][f"/api/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["n"] == {
            "type": "integer",
            "default": 1,
            "minimum": 1,
            "maximum": 16,
            "description": "how many pieces",
        }
    for reference in re.findall(r'"#/components/schemas/(\w+)"', client.ask("GET", "/api/openapi.json").body.decode()):
        assert reference in found["components"]["schemas"]


def _routes(client: Client) -> list:  # type: ignore[type-arg]
    """The addresses of an application like the one that is served."""
    from musegen.studio.api import application
    from musegen.studio.desk import Desk
    from musegen.studio.shelf import Models, Pieces
    from musegen.studio.work import Work

    with Work() as work:
        guard = application(Desk(Models({}, None), Pieces(Path("x"), None), Path("y"), work), "t", frozenset())  # type: ignore[arg-type]
    return guard.app.routes  # type: ignore[attr-defined, no-any-return]


# Strangers


@pytest.mark.parametrize(
    "path", ["/api/models", "/api/openapi.json", "/api/pieces/x", "/api/none", "/page/none", "/page/studio.js/"]
)
def test_without_the_token_nothing_is_said(client: Client, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {client.token}"}):
        assert client.ask("GET", path, headers=headers, token=False).status == 401
    assert client.ask("GET", f"{path}?token=wrong", token=False).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Content-Length": str(1 << 40)}, 413),
    ],
)
def test_pages_of_other_sites_and_large_requests_are_refused(
    client: Client, headers: dict[str, str], status: int
) -> None:
    answer = client.ask("GET", "/api/models", headers=headers)
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_a_large_body_without_its_length_is_refused(client: Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(1 << 20)

    import http.client

    connection = http.client.HTTPConnection(client.host, timeout=60)
    status = None
    try:
        headers = {"Authorization": f"Bearer {client.token}"}
        connection.request("POST", "/api/generate", chunks(), headers, encode_chunked=True)
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):  # the server has closed it before all was sent
        status = 413
    finally:
        connection.close()
    assert status == 413
    assert client.ask("GET", "/api/models").status == 200


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/generate", b"[", "no JSON object"),
        ("/api/generate", b"[1]", "no JSON object"),
        ("/api/generate", b"[" * 200_000, "no JSON object"),
        ("/api/generate", b'{"seed": NaN}', "no JSON object"),
        ("/api/generate", {}, "no model"),
        ("/api/generate", {"model": "../../etc/passwd"}, "no model"),
        ("/api/generate", {"model": "chorale", "n": 1000}, "n=1000 is invalid"),
        ("/api/generate", {"model": "chorale", "bars": -1}, "bars=-1 is invalid"),
        ("/api/generate", {"model": "chorale", "seed": "x"}, "seed=x is invalid"),
        ("/api/generate", {"model": "chorale", "out": "/tmp"}, 'no option "out"'),
        ("/api/infill", {"model": "chorale", "piece": "../x"}, "no piece"),
        ("/api/save", {"pieces": []}, "nothing to save"),
        ("/api/save", {"pieces": ["x"]}, "no piece"),
        ("/api/open?model=chorale&name=x", b"", "with its suffix"),
        ("/api/open?model=chorale&other=x", b"", 'no option "other"'),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(client: Client, path: str, body: object, said: str) -> None:
    answer = client.ask("POST", path, body)
    assert answer.status == 400
    assert said in answer.json["error"]


@pytest.mark.parametrize("options", [{"temperature": -1}, {"tempo": "x"}, {"none": 1}, {"chords": 5}])
def test_bad_options_fail_in_a_sentence(client: Client, options: dict[str, object]) -> None:
    job = client.job("/api/generate", {**SMALL, "options": options})
    assert job["state"] == "failed"
    assert next(iter(options)) in job["error"]
    assert "unexpected" not in job["error"]


def test_methods_and_addresses_that_are_none(client: Client) -> None:
    assert client.ask("GET", "/api/generate").status == 405
    assert client.ask("DELETE", "/api/models").status == 405
    for path in (
        "/api",
        "/page/none.js",
        "/page/%2e%2e%2fapi.py",
        "/page/../api.py",
        "/api/pieces/../../x",
        "/api/jobs/x",
        "/api/pieces/x/file",
        "/api/pieces/%2e%2e/file",
    ):
        assert client.ask("GET", path).status == 404


@pytest.mark.parametrize("content", [b"", b"MThd", b"\0" * 1000, b"<script>", HYMN.read_bytes()[:30]])
def test_a_broken_file_is_a_sentence(client: Client, content: bytes) -> None:
    job = client.job("/api/open?model=chorale&name=../../../x.mid", content)
    assert job["state"] == "failed"
    assert job["error"].startswith("x.mid")
    assert "unexpected" not in job["error"]


def test_random_bytes_stop_nothing(client: Client) -> None:
    """Three hundred senseless requests: plain answers, or a closed connection."""
    draw, host, port = random.Random(0), *client.host.split(":")
    line = f"POST /api/generate HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {client.token}\r\n".encode()
    for _ in range(300):
        content = bytearray(line + b"Content-Length: 24\r\n\r\n" + b'{"model": "x", "n": "1"}')
        for _ in range(draw.randint(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read()
        assert not answer or re.match(rb"HTTP/1.1 (4\d\d|2\d\d) ", answer), answer
    assert client.pieces("/api/generate", SMALL)


@pytest.mark.slow
def test_twenty_clients_at_once(client: Client) -> None:
    found: list[object] = []

    def use(seed: int) -> None:
        try:
            (id_,) = client.pieces("/api/generate", {**SMALL, "seed": seed})
            found.append(len(client.ask("GET", f"/api/pieces/{id_}/sound?format=ogg").body) > 1000)
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 20
