"""An own BentoML service: finds pictures by a sentence, where the generic one would only name the digit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bentoml
from network import Gallery


@bentoml.service
class Search:
    """Answers `{"text": "a handwritten five", "count": 3}` with the pictures that fit best."""

    def __init__(self) -> None:
        self.gallery = Gallery(Path(os.environ["MLOPS_MODEL"]))

    @bentoml.api
    def predict(self, instances: list[Any]) -> list[Any]:
        """One answer for each instance: the digit, and the pictures as rows of the data set with their cosine similarity."""
        answers = []
        for each, found in zip(instances, self.gallery.nearest([each["text"] for each in instances]), strict=True):
            best = found[: each.get("count", 3)]
            answers.append(
                {
                    "label": self.gallery.labels[best[0][0]],
                    "pictures": [{"row": self.gallery.rows[at], "similarity": round(similarity, 4)} for at, similarity in best],
                }
            )
        return answers
