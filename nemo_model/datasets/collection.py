# SPDX-License-Identifier: Apache-2.0
"""What every set of labelled objects is: a list, and a count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from nemo_model.datasets.common import DatasetError
from nemo_model.datasets.views import check_views, is_wanted


class Posed(Protocol):
    """An object whose azimuth is known."""

    @property
    def azimuth(self) -> float:
        """Radians; 0 sees the object's front."""
        ...


T = TypeVar("T", bound=Posed)


@dataclass
class ObjectSet(Generic[T]):
    """Labelled objects in the order of their data set.

    `skipped` counts, by reason, the labels that give no object.
    """

    objects: list[T] = field(init=False, default_factory=list, repr=False)
    skipped: Counter[str] = field(init=False, default_factory=Counter)

    def __iter__(self) -> Iterator[T]:
        return iter(self.objects)

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> T:
        return self.objects[index]

    def _finish(self, views: str, what: str) -> None:
        """Keep the objects seen from `views`. Raises DatasetError, naming `what`, if none is left.

        Called by the loaders when all is read.
        """
        check_views(views)
        found = self.objects
        self.objects = [item for item in found if is_wanted(item.azimuth, views)]
        if len(self.objects) < len(found):
            self.skipped[f"not among the {views} views"] += len(found) - len(self.objects)
        if not self.objects:
            raise DatasetError(f"{what}; skipped: {dict(self.skipped)}")
