"""MLflow: a run of an MLflow server (or of its database or folder) for each run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musegen.contracts.tracker import Tracker
from musegen.errors import BadInput, shown
from musegen.files import write_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from musegen.contracts.piece import Sound

__all__ = ["MLflow"]

WHERE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
REMEMBERED = "mlflow_run_id"
"""A file of the run folder: a run that is resumed goes on as the same run of MLflow."""


class MLflow(Tracker):
    """Options as parameters, scalars as metrics, pictures of samples as artifacts.

    The environment says where they go, as MLflow's own programs have it: ``MLFLOW_TRACKING_URI``, which must be set, and
    ``MLFLOW_EXPERIMENT_NAME``, ``musegen`` if it is not. MLflow holds numbers alone, so sound stays in the run folder.
    """

    name = "mlflow"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        super().__init__(folder, config)
        if not os.environ.get(WHERE):
            raise BadInput(
                f"{WHERE} does not say where MLflow is: set it to the address of a server, such as http://localhost:5000, or to "
                "a database, such as sqlite:///mlflow.db."
            )
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise BadInput(
                "MLflow is not installed: pip install 'musegen[mlflow]', or leave the tracker mlflow out."
            ) from None
        try:
            self.client = MlflowClient()
            self.run_id = self._begun()
        except Exception as error:  # of its many stores each has its own
            raise BadInput(
                f"MLflow at {shown(os.environ[WHERE])} cannot be used ({shown(error)}): correct {WHERE}, or leave the tracker out."
            ) from error

    def _begun(self) -> str:
        """The run that the folder remembers, or a new one."""
        remembered = self.folder / REMEMBERED
        if remembered.is_file():
            run_id = remembered.read_text("utf-8").strip()
            self.client.update_run(run_id, status="RUNNING")
            return run_id
        name = os.environ.get(EXPERIMENT, "musegen")
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        run_id = self.client.create_run(experiment, run_name=self.folder.name).info.run_id
        for option, value in self.config.items():
            self.client.log_param(run_id, option, value)
        write_file(remembered, run_id.encode())
        return run_id

    def scalars(self, kind: str, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.run_id, f"{kind}/{name}", value, step=step)

    def media(self, picture: Image, sounds: Sequence[Sound | None], step: int) -> None:
        self.client.log_image(self.run_id, picture.convert("RGB"), f"samples/step_{step}.png")

    def close(self, done: bool) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if done else "KILLED")
