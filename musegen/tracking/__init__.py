"""Trackers that come with musegen: MLflow, offered as a plugin's is, and TensorBoard, which is an option of its own.

Light, because listing plugins imports it.
"""

from __future__ import annotations

from typing import Any

from musegen.plugins import Offer, hookimpl

MUSEGEN_API = "1.0"


def _mlflow() -> Any:
    from musegen.tracking.mlflow import MLflow

    return MLflow


@hookimpl
def musegen_trackers() -> list[Offer]:
    return [Offer("mlflow", "MLflow, where MLFLOW_TRACKING_URI says: options, scalars, pictures", _mlflow)]
