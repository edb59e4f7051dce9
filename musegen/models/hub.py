"""Models on the Hugging Face Hub: one safetensors file and a card, put there and fetched by the library ``huggingface_hub``."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.errors import BadInput, shown

if TYPE_CHECKING:
    from musegen.models.model import Model

__all__ = ["ADDRESS", "card", "fetched", "push"]

ADDRESS = "hf://"
FILE = "model.safetensors"
REPOSITORY = r"[\w.-]{1,96}/[\w.-]{1,96}"


def fetched(address: str) -> Path:
    """The model file at an address, in the cache of ``huggingface_hub``; fetched if it is not there yet, or has changed.

    Args:
        address: ``hf://owner/name``, or of a branch, a tag or a commit ``hf://owner/name@revision``.

    Raises:
        BadInput: the address is invalid, the extra is not installed, or nothing can be fetched.
    """
    match = re.fullmatch(rf"{ADDRESS}({REPOSITORY})(?:@([\w./-]{{1,96}}))?", address)
    if match is None:
        raise BadInput(f"{shown(address)} is invalid: write hf://owner/name, or hf://owner/name@revision.")
    hub = _library()
    try:
        # The library reads the address of the hub when it is imported; a program may set it later.
        endpoint = os.environ.get("HF_ENDPOINT")
        return Path(hub.hf_hub_download(match[1], FILE, revision=match[2], endpoint=endpoint, library_name="musegen"))
    except Exception as error:  # of the network, of the hub, of the disk: the library has a class for each
        raise BadInput(
            f"{address} cannot be fetched ({_first_line(error)}): see that it is the address of a model of musegen, which has a "
            f"file {FILE}, and that you may read it (hf auth login)."
        ) from error


def push(
    model: Model, repository: str, *, private: bool = False, half: bool = False, message: str = "", licence: str = ""
) -> str:
    """Put a model there, with a card; returns its address. See ``Model.push_to_hub``."""
    if not re.fullmatch(REPOSITORY, repository):
        raise BadInput(f"{shown(repository)} is no repository: write owner/name.")
    api = _library().HfApi(library_name="musegen")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / FILE, half)
        (Path(folder) / "README.md").write_text(card(model, repository, licence), "utf-8")
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=message or "A model of musegen, and its card"
            )
        except Exception as error:
            raise BadInput(
                f"{repository} cannot be written ({_first_line(error)}): see that you are logged in (hf auth login) and may write "
                "there."
            ) from error
    return ADDRESS + repository


def card(model: Model, repository: str = "", licence: str = "") -> str:
    """What a model is, in Markdown, as the card of a repository: what it was made of, how it is used, how good it is.

    Args:
        repository: owner/name, for the lines that load it.
        licence: its identifier, such as ``mit``; empty: the card says that its author has to say.

    >>> import musegen
    >>> from musegen.models.hub import card
    >>> print(card(musegen.load("notes"), "me/notes").splitlines()[1])
    library_name: musegen
    """
    family, domain, config = model.family, model.domain, model.config
    sample = " × ".join(f"{n} {axis}" for axis, n in zip(domain.spec.axes, domain.spec.shape, strict=True))
    n = sum(p.numel() for p in family.parameters())
    where = f"{ADDRESS}{repository}" if repository else FILE
    tags = "\n".join(f"- {tag}" for tag in ("musegen", domain.name, family.name.replace("_", "-")))
    front = ["---", "library_name: musegen", *([f"license: {licence}"] if licence else []), "tags:", tags, "---"]
    options = {name: value for name, value in _own_options(model).items() if value not in (None, [], {})}
    return "\n".join(
        [
            *front,
            "",
            f"# {repository or family.title}",
            "",
            f"{family.title} ({family.paper}) on {domain.name}: {domain.summary}. {n:,} parameters. A sample: {sample}.",
            "",
            "## Use",
            "",
            "```python",
            "import musegen",
            "",
            f'model = musegen.load("{where}")',
            *(['model.write(model.sample(4, seed=0), "out")'] if family.capabilities.sample else []),
            "```",
            "",
            "```bash",
            f"musegen generate {where} -n 4 --out out" if family.capabilities.sample else f"musegen evaluate {where}",
            "```",
            "",
            "## Data and training",
            "",
            *_training(model),
            "",
            "| option | value |",
            "|---|---|",
            *(
                f"| `{name}` | `{json.dumps(value, ensure_ascii=False, default=str)}` |"
                for name, value in options.items()
            ),
            f"| `seed` | `{config['seed']}` |",
            "",
            *_measured(model),
            "## Licence",
            "",
            licence
            or "Whoever puts this model here has to say under which licence it is, and of which data it was made.",
            "",
        ]
    )


def _own_options(model: Model) -> dict[str, Any]:
    """Of family and domain, as they differ from the defaults."""
    found: dict[str, Any] = {}
    for options in (model.family.config, model.domain.config):
        default = type(options)()
        found |= {name: value for name, value in vars(options).items() if value != getattr(default, name)}
    return found


def _training(model: Model) -> list[str]:
    if model.run is None:
        return ["This is a model file, which knows nothing of its training."]
    facts, config = model.run.environment(), model.config
    data, versions = facts["data"], f"musegen {facts['musegen']} and torch {facts['packages'].get('torch')}"
    return [
        f"Data: {data['description']} (SHA-256 {data['sha256'][:16]}…). Trained for {config['steps']} steps of "
        f"{config['batch_size']} examples with {versions}."
    ]


def _measured(model: Model) -> list[str]:
    """What ``musegen evaluate RUN --out RUN/evaluation.json`` left in the run."""
    path = None if model.run is None else model.run.path / "evaluation.json"
    if path is None or not path.is_file():
        return []
    found = json.loads(path.read_text("utf-8"))
    figures = {name: (one["model"], one["floor"]) for name, one in found["metrics"].items()}
    rows = [f"| `{name}` | {_number(ours)} | {_number(floor)} |" for name, (ours, floor) in figures.items()]
    nats = found["log_prob"]
    first = (
        [f"log p {'=' if nats['kind'] == 'exact' else '≥'} {nats['nats']:.2f} nats per held-out example.", ""]
        if nats
        else []
    )
    return ["## Measures", "", *first, "| measure | model | training data |", "|---|---|---|", *rows, ""]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise BadInput("The hub needs huggingface_hub, which is not installed: pip install 'musegen[hub]'.") from None
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return shown((str(error).strip() or type(error).__name__).splitlines()[0])
