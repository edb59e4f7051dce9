"""torchaudio, also beside a torch without CUDA.

The registry's wheel of torchaudio carries one compiled extension, linked against CUDA, and imports it first of all: beside a
CPU-only torch that fails with an OSError (``libc10_cuda.so``). What is used here, filter banks and resampling, is plain torch
and needs no extension. Where the real one does not load, a stand-in says that there is none, as builds of torchaudio without it do.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any

from musegen.errors import BadInput

__all__ = ["torchaudio"]

EXTENSION = "torchaudio._extension"


@cache
def torchaudio() -> Any:
    """The package.

    Raises:
        BadInput: it is not installed, or does not work with this torch.
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError as error:
        if error.name == "torchaudio":
            raise BadInput("The audio domain needs torchaudio: pip install torchaudio.") from None
        reason: Exception = error
    except (ImportError, OSError, RuntimeError) as error:  # no CUDA libraries, or another CUDA than torch's
        reason = error
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]  # half imported
    sys.modules[EXTENSION] = _no_extension()
    try:
        return importlib.import_module("torchaudio")
    except Exception:
        sys.modules.pop(EXTENSION, None)
        raise BadInput(
            f"torchaudio does not work with this torch ({str(reason).splitlines()[0]}): install the two anew, together."
        ) from None


def _no_extension() -> ModuleType:
    """What torchaudio's other modules import from its extension, all of it absent."""
    stand_in: Any = ModuleType(EXTENSION)
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stand_in._IS_ALIGN_AVAILABLE = False
    # Forced alignment would fail when it is called, and nobody here does.
    stand_in.fail_if_no_align = lambda function: function
    return stand_in
