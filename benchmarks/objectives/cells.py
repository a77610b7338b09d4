"""What is compared: every combination of prediction, loss and variance, and which of them the paper has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from diffcodec.config import ModelConfig, PredictionKind, VarianceKind
from diffcodec.errors import ConfigError
from diffcodec.training.config import LossKind, TrainingConfig

PREDICTIONS: tuple[PredictionKind, ...] = ("mean", "eps", "x0", "v")
LOSSES: tuple[LossKind, ...] = ("vlb", "simple")
VARIANCES: tuple[VarianceKind, ...] = ("learned", "fixedsmall", "fixedlarge")
"""In the order of the paper's Table 2."""

PAPER_OBJECTIVES = {
    "L, learned diagonal variance": ("vlb", "learned"),
    "L, fixed isotropic variance": ("vlb", "fixedlarge"),
    "L_simple": ("simple", "fixedlarge"),
    "plain squared error": ("simple", "fixedlarge"),
}
"""Loss and variance of the rows of Table 2; its fixed variance is beta_t, as in the paper's code for CIFAR-10."""


@dataclass(frozen=True)
class Cell:
    """One combination."""

    prediction: PredictionKind
    loss: LossKind
    variance: VarianceKind

    @property
    def name(self) -> str:
        """As results are filed."""
        return f"{self.prediction} {self.loss} {self.variance}"

    def model(self, base: ModelConfig) -> ModelConfig:
        """The model that is trained, or measured, from one that says all the rest."""
        return replace(base, prediction=self.prediction, variance=self.variance)

    def training(self, base: TrainingConfig) -> TrainingConfig:
        """How it is trained: always at the schedule's timesteps, as in the paper."""
        return replace(base, loss=self.loss, time="discrete")


def all_cells() -> list[Cell]:
    """Every combination, in the order of the table."""
    return [Cell(prediction, loss, variance) for prediction in PREDICTIONS for loss in LOSSES for variance in VARIANCES]


def chosen_cells(only: Sequence[str]) -> list[Cell]:
    """The cells that have all words of one of the choices, such as `eps` or `v,simple`; all if there is none.

    Raises:
        ConfigError: if a choice is of no cell.
    """
    chosen: set[Cell] = set()
    for choice in only:
        words = set(choice.replace(",", " ").split())
        found = [cell for cell in all_cells() if words and words <= set(cell.name.split())]
        if not found:
            raise ConfigError(
                f"--only {choice}: no such cell; expected some of {', '.join((*PREDICTIONS, *LOSSES, *VARIANCES))}, "
                "joined by commas"
            )
        chosen.update(found)
    return [cell for cell in all_cells() if not only or cell in chosen]


def by_training(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in groups that one training serves: the squared error does not depend on which fixed variance."""
    groups: dict[Cell, list[Cell]] = {}
    for cell in cells:
        is_shared = cell.loss == "simple" and cell.variance == "fixedlarge"
        groups.setdefault(replace(cell, variance="fixedsmall") if is_shared else cell, []).append(cell)
    return list(groups.values())


def paper_row(cell: Cell, reported: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the paper reports of a combination.

    Args:
        cell: the combination.
        reported: object of benchmarks/reported/ddpm-table1.json.
    """
    for row in reported["points"]:
        if row["prediction"] == cell.prediction and PAPER_OBJECTIVES[row["objective"]] == (cell.loss, cell.variance):
            found: Mapping[str, Any] = row
            return found
    return None
