"""MIDI files written byte by byte, so that tests do not depend on the library under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from hypothesis import strategies as st


def quantity(n: int) -> bytes:
    """A variable-length quantity."""
    assert n >= 0
    out = [n & 0x7F]
    while n := n >> 7:
        out.append(n & 0x7F | 0x80)
    return bytes(reversed(out))


def chunk(tag: bytes, content: bytes) -> bytes:
    return tag + struct.pack(">I", len(content)) + content


def header(n_tracks: int, division: int = 480, kind: int = 1) -> bytes:
    return chunk(b"MThd", struct.pack(">HHH", kind, n_tracks, division))


END = b"\x00\xff\x2f\x00"


def track(
    notes: Iterable[tuple[int, int, int]], channel: int = 0, program: int = 0, name: str = "", metre: bytes = b""
) -> bytes:
    """A track chunk of (start tick, end tick, pitch)."""
    events = [(start, 1, bytes([0x90 | channel, pitch, 80])) for start, _, pitch in notes]
    events += [(end, 0, bytes([0x80 | channel, pitch, 0])) for _, end, pitch in notes]
    out = b"\x00\xff\x03" + quantity(len(name.encode())) + name.encode() + metre
    out += b"\x00" + bytes([0xC0 | channel, program])
    now = 0
    for tick, _, event in sorted(events):
        out += quantity(tick - now) + event
        now = tick
    return chunk(b"MTrk", out + END)


def midi(tracks: list[bytes], division: int = 480) -> bytes:
    return header(len(tracks), division) + b"".join(tracks)


def piece(n_bars: int = 8, division: int = 480, transpose: int = 0) -> bytes:
    """A little band: drums on every beat, a bass line, piano chords."""
    beat = division
    drums = [(b * beat, b * beat + beat // 4, 36 if b % 2 == 0 else 38) for b in range(4 * n_bars)]
    bass = [(b * beat, (b + 1) * beat, 36 + transpose + b % 5) for b in range(4 * n_bars)]
    chords = [(4 * b * beat, 4 * (b + 1) * beat, p + transpose) for b in range(n_bars) for p in (60, 64, 67)]
    return midi([track(drums, 9), track(bass, 1, 33), track(chords, 0, 0)], division)


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A file that looks like MIDI: right chunks, events right and wrong."""
    kinds = st.one_of(
        st.tuples(
            st.integers(0, 300),
            st.sampled_from([0x80, 0x90, 0xA0, 0xB0, 0xE0]),
            st.integers(0, 127),
            st.integers(0, 127),
        ),
        st.tuples(st.integers(0, 2**28 - 1), st.sampled_from([0xC0, 0xD0]), st.integers(0, 127)),
        st.tuples(
            st.integers(0, 10),
            st.sampled_from([0xFF]),
            st.sampled_from([0x51, 0x58, 0x2F, 0x03, 0x59]),
            st.binary(max_size=6),
        ),
        st.tuples(st.integers(0, 10), st.sampled_from([0xF0, 0xF7]), st.binary(max_size=6)),
        st.binary(min_size=1, max_size=4),
    )
    chunks = []
    for events in draw(st.lists(st.lists(kinds, max_size=12), max_size=3)):
        content = b""
        for event in events:
            if isinstance(event, bytes):
                content += event
                continue
            delta, status, *rest = event
            content += quantity(delta) + bytes([status])
            for part in rest:
                content += quantity(len(part)) + part if isinstance(part, bytes) else bytes([part])
        chunks.append(
            chunk(draw(st.sampled_from([b"MTrk", b"MTrk", b"XFIH"])), content + draw(st.sampled_from([END, b""])))
        )
    n_tracks = draw(st.sampled_from([len(chunks), len(chunks) + 1, 0, 65535]))
    division = draw(st.sampled_from([480, 96, 1, 0, 0x7FFF, 0xE250]))
    kind = draw(st.sampled_from([0, 1, 2, 3]))
    return header(n_tracks, division, kind) + b"".join(chunks)


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A real file with bytes changed, cut out, doubled or inserted."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        length = draw(st.integers(1, 12))
        match draw(st.sampled_from(["change", "cut", "double", "insert", "end"])):
            case "change":
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + length]
            case "double":
                data[at:at] = data[at : at + length]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=length))
            case "end":
                del data[at:]
    return bytes(data)
