"""The two formats: how a part is traced, written, and run again for the comparison."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from musegen.errors import BadInput
from musegen.exporting.parts import Part

__all__ = ["SUFFIXES", "Format", "check_installed", "written"]

Format = Literal["onnx", "torch"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
BATCH = "batch"

Runner = Callable[[Mapping[str, Tensor]], Tensor]
"""Runs what was written on other inputs."""


def check_installed(to: Format) -> None:
    """Refuse ONNX where its packages are not installed.

    Raises:
        BadInput: they are not.
    """
    if to == "torch":
        return
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"ONNX needs {error.name}, which is not installed: pip install 'musegen[export]', or export for torch."
        ) from None


def written(part: Part, to: Format) -> tuple[bytes, Runner]:
    """A part in a format, and what runs it; any number of examples may go through it at once.

    Raises:
        Exception: torch cannot trace the part.
    """
    inputs = tuple(part.inputs.values())
    batch = torch.export.Dim(BATCH, min=1)
    with _quiet():
        program = torch.export.export(part.module, inputs, dynamic_shapes=(tuple({0: batch} for _ in inputs),))
        return _onnx(program, part) if to == "onnx" else _torch(program)


def _torch(program: Any) -> tuple[bytes, Runner]:
    content, module = io.BytesIO(), program.module()
    program.example_inputs = None  # which torch would pickle
    torch.export.save(program, content)
    return content.getvalue(), lambda inputs: module(*inputs.values())


def _onnx(program: Any, part: Part) -> tuple[bytes, Runner]:
    import onnxruntime

    made = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=list(part.inputs), output_names=[part.output]
    )
    assert made is not None
    proto = made.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del proto.graph.value_info[:]  # shapes between the layers, which name the batch as torch does
    content = proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        outputs: Sequence[Any] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(outputs[0])

    return content, run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about packages that nobody asked for, and about its own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
