# SPDX-License-Identifier: Apache-2.0
"""A bundle's calibration as its card holds it: numbers only, fitted by `nemo calibrate`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

STEEPEST = 50.0
"""No fit of scaled statistics gives a larger number; a damaged card may."""


class Logistic(BaseModel):
    """P = 1 / (1 + exp(-(intercept + sum_k weights_k z_k))), z the scaled statistics."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    weights: dict[str, float]


class Spread(BaseModel):
    """How far a right estimate errs: see covariance.py for the formula."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    curvature: float = Field(default=1.0, gt=0, description="variance / inverse curvature")
    rotation: tuple[float, float, float] = Field(
        default=(0.0, 0.0, 0.0), description="deviations about the object's x, y, z, radians"
    )
    lateral: float = Field(default=0.0, ge=0, description="deviation across, object units")
    depth: float = Field(default=0.0, ge=0, description="deviation along the ray / distance")
    weights: dict[str, float] = Field(
        default_factory=dict, description="of the scaled statistics in the log of the variance"
    )


class Calibration(BaseModel):
    """What turns evidence into probabilities and curvature into a covariance.

    within_30, within_10: P(rotation error < 30, 10 degrees) for views as in the data;
    even_30, even_10: the same for objects seen from all sides equally often.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    means: dict[str, float] = Field(description="statistic -> mean of the fit's data")
    deviations: dict[str, float] = Field(description="statistic -> standard deviation")
    within_30: Logistic
    within_10: Logistic
    even_30: Logistic
    even_10: Logistic
    spread: Spread = Spread()
    data: str = Field(description="what it was fitted on")
    quality: dict[str, Any] = Field(
        default_factory=dict, description="on data that was not used for the fit"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Calibration:
        if set(self.means) != set(self.deviations):
            raise ValueError("means and deviations must name the same statistics")
        if any(value <= 0.0 for value in self.deviations.values()):
            raise ValueError("deviations must be positive")
        models = (self.within_30, self.within_10, self.even_30, self.even_10, self.spread)
        if any(set(model.weights) - set(self.means) for model in models):
            raise ValueError("weights must name statistics that means and deviations name")
        for name in ("within_30", "within_10", "even_30", "even_10"):
            model = getattr(self, name)
            if max(map(abs, (model.intercept, *model.weights.values()))) > STEEPEST:
                raise ValueError(f"{name}: a number beyond {STEEPEST:g} is no fit's")
        return self
