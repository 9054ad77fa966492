# SPDX-License-Identifier: Apache-2.0
"""From an image, its intrinsics and a box to the object's metric pose: the three-line interface.

estimator = Estimator.load("models/car")
estimate = estimator.estimate(image, K, box)
print(estimate.T_cam_obj, estimate.score)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nemo_model.bundle import Bundle
from nemo_model.camera import Camera, CropCamera, crop_camera
from nemo_model.checks import (
    box_in_map,
    check_fit,
    checked_prior,
    given_translation,
    image_size,
    known_size,
    whole_sides,
)
from nemo_model.confidence import probabilities, scaled
from nemo_model.covariance import PLAIN, pose_covariance
from nemo_model.errors import NemoError
from nemo_model.estimate import Estimate, Given, Observation
from nemo_model.evidence import View, background_scores, evidence
from nemo_model.features import FeatureExtractor
from nemo_model.mesh import Mesh
from nemo_model.meshes.meshset import index_of
from nemo_model.meshes.neural import NeuralSubtype
from nemo_model.mirror import DOUBT, Look, mirrored_cells, search_both
from nemo_model.pose import transform
from nemo_model.raster import rasterize
from nemo_model.solver import Solution, SolverConfig, SolverModel, solve_cold, solve_warm
from nemo_model.subtypes import likeliest
from nemo_model.symmetry import Symmetry
from nemo_model.together import compete
from nemo_model.viewpoint import Viewpoint
from nemo_model.visible_boxes import solve_cold_visible, trusted_sides

__all__ = ["BOXES", "Estimate", "Estimator", "Given", "Observation"]

Array = npt.NDArray[np.float64]

BOXES = ("whole", "visible")


class Estimator:
    """One category's model, ready to run. Not for several threads at once.

    Attributes:
        bundle: what it was loaded from.
        mesh: in object units; with a known size, stretched to it.
        size: (3,) extents along the object's x, y, z, metres.
        metres_per_unit: from the size prior, or the known size.
        size_sigma: relative standard deviation of the size.
        mirror: whether a doubtful global search looks at the mirror image too.
        variants: one estimator per mesh of the bundle, of which the likeliest answers; self first.
    """

    def __init__(
        self,
        bundle: Bundle,
        extractor: FeatureExtractor,
        *,
        size_m: npt.ArrayLike | None = None,
        config: SolverConfig | None = None,
        cold: Callable[..., Solution] = solve_cold,
        even_views: bool = False,
        boxes: str = "whole",
        mirror: bool | None = None,
    ) -> None:
        check_fit(bundle, extractor)
        if boxes not in BOXES:
            raise NemoError(f"boxes: {boxes!r} is none of {', '.join(BOXES)}")
        self.even_views, self.boxes = even_views, boxes
        self.bundle, self.extractor = bundle, extractor
        self.cold = cold if boxes == "whole" else solve_cold_visible
        self.mirror = bundle.card.mirror if mirror is None else mirror
        self.metres_per_unit = bundle.metres_per_unit
        self.size_sigma = bundle.card.size.sigma
        self._build(bundle.meshes[0], size_m, config)
        self.variants = [self, *(copy(self) for _ in bundle.more)]
        for variant, each in zip(self.variants[1:], bundle.more, strict=True):
            variant._build(each, size_m, config)

    def _build(
        self, each: NeuralSubtype, size_m: npt.ArrayLike | None, config: SolverConfig | None
    ) -> None:
        self.subtype, self.mesh, outline = each.subtype, each.mesh, each.outline
        if size_m is not None:
            stretch = known_size(size_m) / (each.mesh.extent * self.metres_per_unit)
            self.mesh = Mesh(each.mesh.vertices * stretch, each.mesh.faces)
            outline, self.size_sigma = outline * stretch, 0.0
        self.size = self.mesh.extent * self.metres_per_unit
        clutter = self.bundle.clutter
        self.solver = SolverModel.build(self.mesh, each.features, clutter, outline, config)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
        size_m: npt.ArrayLike | None = None,
        config: SolverConfig | None = None,
        cold: Callable[..., Solution] = solve_cold,
        even_views: bool = False,
        boxes: str = "whole",
        mirror: bool | None = None,
    ) -> Estimator:
        """Load a bundle.

        Args:
            path: the bundle's folder.
            threads: CPU threads of the backbone; the solver uses one.
            providers: of onnxruntime; by default CUDA where it runs, else the CPU.
            size_m: (3,) true extents along the object's x, y, z in metres (for a car width,
                length, height), where they are known; else the category's prior.
            config: of the solver.
            cold: the global search; nemo_model.reference has the paper's to compare with.
            even_views: score for objects seen from all sides equally often; by default for views
                as in the photos of the calibration, which may prefer the front.
            boxes: "whole" where boxes enclose the whole object, hidden parts too; "visible" where
                they may end at what hides it, as most detectors' do. Costs five searches for one.
            mirror: whether a doubtful global search looks at the mirror image too (see mirror.py);
                by default where the card says that left and right look alike.

        Raises:
            BundleError: when the bundle is incomplete, altered or inconsistent.
            NemoError: for a size that is not positive, or boxes of another kind.
        """
        bundle = Bundle.load(path)
        extractor = FeatureExtractor(bundle.onnx_path, threads, providers)
        return cls(
            bundle, extractor, size_m=size_m, config=config, cold=cold, even_views=even_views,
            boxes=boxes, mirror=mirror,
        )  # fmt: skip

    @property
    def symmetry(self) -> Symmetry:
        """Turns that leave the object as it is, from the bundle."""
        return self.bundle.symmetry

    @property
    def category(self) -> str:
        return self.bundle.card.category

    def estimate(
        self,
        image: npt.NDArray[np.uint8],
        K: npt.ArrayLike,
        box: npt.ArrayLike,
        *,
        prior: Array | None = None,
        given: Given | None = None,
    ) -> Estimate:
        """Estimate the pose of the object in a box.

        Args:
            image: (H, W, 3) uint8 RGB, without lens distortion.
            K: intrinsics (3, 3), pixels.
            box: x1, y1, x2, y2 in pixels.
            prior: T_cam_obj (4, 4) in metres to start from (warm); else a global search (cold).
            given: centre and distance, for the paper's protocol with 3 degrees of freedom.

        Raises:
            NemoError: for a wrong image, an uncalibrated camera, a bad box, prior or given.
        """
        return self.solve(self.observe(image, K, box), prior=prior, given=given)

    def estimate_together(
        self, image: npt.NDArray[np.uint8], K: npt.ArrayLike, boxes: Sequence[npt.ArrayLike]
    ) -> list[Estimate]:
        """Estimate several objects of one image, those that overlap in competition (together.py).

        Arguments and errors as in `estimate`; one estimate per box, in their order. One box that
        is refused refuses all: check them first, or estimate one by one.
        """
        seen = self.observe_many(image, K, boxes)
        alone = [self.solve(one) for one in seen]
        settled = compete(
            seen, alone, lambda _, one: self.solve(one), lambda _, *one: self.gains(*one)
        )
        return [each.estimate for each in settled]

    def gains(self, seen: Observation, estimate: Estimate) -> Array:
        """By how much an estimate explains each cell (h, w) better than the background does.

        In cosines; minus infinity where it does not cover the cell.
        """
        subtypes = [each.subtype for each in self.variants]
        each = self.variants[index_of(subtypes, estimate.subtype)]
        T = seen.crop.R_crop_cam @ estimate.T_cam_obj[:3]
        points = each.mesh.vertices @ T[:, :3].T + T[:, 3] / self.metres_per_unit
        height, width = seen.crop.map_size
        face, weights, _ = rasterize(points, each.mesh.faces, seen.crop.map_K(), width, height)
        theta = each.solver.table.features[each.mesh.faces[np.maximum(face, 0)]]
        similarity = np.einsum("hwk,hwkc,hwc->hw", weights, theta, seen.features)
        return np.where(
            face >= 0, similarity - background_scores(each.solver, seen.features), -np.inf
        )

    def observe(
        self, image: npt.NDArray[np.uint8], K: npt.ArrayLike, box: npt.ArrayLike
    ) -> Observation:
        """Run the backbone on the object in a box: the costly half, needed once per box and image.

        Arguments and errors as in `estimate`.
        """
        return self.observe_many(image, K, [box])[0]

    def observe_many(
        self, image: npt.NDArray[np.uint8], K: npt.ArrayLike, boxes: Sequence[npt.ArrayLike]
    ) -> list[Observation]:
        """Run the backbone on several boxes of one image, in one batch.

        The milliseconds of an observation are its share of the batch's.
        """
        start = time.perf_counter()
        camera = Camera(np.asarray(K, dtype=np.float64), *image_size(image))
        card = self.bundle.card
        crops = [crop_camera(camera, box, card.width, card.height, card.fill) for box in boxes]
        if not crops:
            return []
        pixels = np.stack([crop.warp(image) for crop in crops])
        cropped = time.perf_counter()
        features, contexts = self.extractor.look(pixels)
        end = time.perf_counter()
        stages = {
            "crop": 1e3 * (cropped - start) / len(crops),
            "features": 1e3 * (end - cropped) / len(crops),
        }
        return [
            Observation(camera, crop, np.asarray(box, float), one, stages, picture, context=context)
            for crop, box, one, context, picture in zip(
                crops, boxes, features, contexts, pixels, strict=True
            )
        ]

    def solve(
        self,
        seen: Observation,
        *,
        prior: Array | None = None,
        given: Given | None = None,
        trust_box: bool = True,
    ) -> Estimate:
        """Find the pose in an observation; several times from several priors, if need be.

        trust_box: False where the box is only a guess of where to look; from a prior the pose is
        then found by the image alone.

        Raises:
            NemoError: for a bad prior or given.
        """
        start = time.perf_counter()
        tried = self.variants
        if given is not None and given.subtype is not None:
            tried = [tried[index_of([each.subtype for each in tried], given.subtype)]]
        found = [each._solve(seen, prior, given, trust_box) for each in tried]
        place = likeliest([solution for _, solution in found])
        mirroring = 0.0
        doubtful = prior is None and found[place][1].relative_margin < DOUBT
        if self.mirror and doubtful and seen.pixels is not None:
            mirror, mirroring = self._mirror_image(seen, seen.pixels)
            pairs = zip(tried, found, strict=True)
            found = [each._again(seen, mirror, *one) for each, one in pairs]
            place = likeliest([solution for _, solution in found])
        view, solution = found[place]
        solved = time.perf_counter() - mirroring
        mode = "cold" if prior is None else "warm"
        viewpoint = self.viewpoint(seen)
        result = tried[place]._estimate(solution, view, seen.crop, mode, viewpoint)
        end = time.perf_counter()
        milliseconds = {
            **seen.milliseconds,
            "features": seen.milliseconds.get("features", 0.0) + 1e3 * mirroring,
            "solve": 1e3 * (solved - start),
            "total": sum(seen.milliseconds.values()) + 1e3 * (end - start),
        }
        return replace(result, milliseconds=milliseconds)

    def viewpoint(self, seen: Observation) -> Viewpoint | None:
        """What the crop as a whole says of the rotation; None where the bundle has no prior."""
        reader = self.bundle.reader
        return None if reader is None or seen.context is None else reader(seen.context)

    def _mirror_image(
        self, seen: Observation, pixels: npt.NDArray[np.uint8]
    ) -> tuple[Observation, float]:
        """The observation of the crop's mirror image, and the seconds that it took."""
        start = time.perf_counter()
        found, context = self.extractor.look(np.ascontiguousarray(pixels[None, :, ::-1]))
        features = found[0]
        if seen.taken is not None:
            taken = mirrored_cells(seen.taken, float(seen.crop.map_K()[0, 2]))
            features = np.where(taken[..., None], np.float32(0.0), features)
        mirror = replace(seen, features=features, context=context[0])
        return mirror, time.perf_counter() - start

    def _solve(
        self, seen: Observation, prior: Array | None, given: Given | None, trust_box: bool
    ) -> tuple[View, Solution]:
        crop = seen.crop
        K, box_map = crop.map_K(), box_in_map(seen.box, crop)
        reliable = whole_sides(seen.box, seen.camera)
        given_t = None if given is None else given_translation(given, seen.camera, crop)
        features = seen.features
        if seen.taken is not None:  # a cell without a feature speaks for nothing
            features = np.where(seen.taken[..., None], np.float32(0.0), features)
        where = (self.solver, features, K)
        if prior is None:
            solution = self.cold(*where, box_map, given_t, reliable, self.viewpoint(seen))
        else:
            T = crop.R_crop_cam @ checked_prior(prior)[:3]
            if T[2, 3] <= 0.0:
                raise NemoError("prior: the object is behind a camera that looks at the box")
            R, t = T[:, :3], T[:, 3] / self.metres_per_unit
            if not trust_box:
                reliable = (False, False, False, False)
            elif self.boxes == "visible":
                reliable = trusted_sides(self.solver, R, t, K, box_map, reliable)
            solution = solve_warm(*where, R, t, box_map, given_t, reliable, self.viewpoint(seen))
        view = View(features, K, box_map, reliable, given is not None)
        return self._trusting(view, solution), solution

    def _again(
        self, seen: Observation, mirror: Observation, view: View, first: Solution
    ) -> tuple[View, Solution]:
        """The global search once more, in the mirror image as well."""
        given_t, box_map = first.t if view.fixed else None, box_in_map(seen.box, seen.crop)
        view = view._replace(reliable=whole_sides(seen.box, seen.camera))
        look = Look(view.features, view.K, box_map, given_t, view.reliable, self.viewpoint(seen))
        solution = search_both(
            self.solver, self.cold, first, look, mirror.features, self.viewpoint(mirror)
        )
        return self._trusting(view, solution), solution

    def _trusting(self, view: View, solution: Solution) -> View:
        """The view with the sides of the box that end where the pose found says so."""
        if self.boxes != "visible" or view.box is None:
            return view
        found = (solution.R, solution.t, view.K, view.box, view.reliable)
        return view._replace(reliable=trusted_sides(self.solver, *found))

    def _estimate(
        self,
        solution: Solution,
        view: View,
        crop: CropCamera,
        mode: str,
        viewpoint: Viewpoint | None,
    ) -> Estimate:
        R_cam_crop = crop.R_crop_cam.T
        position = R_cam_crop @ solution.t * self.metres_per_unit
        values = evidence(self.solver, view, solution, crop.scale, self.symmetry, viewpoint)
        calibration = self.bundle.card.calibration
        right, precise = probabilities(calibration, values, self.even_views)
        found = solution.energy > 0.0
        return Estimate(
            T_cam_obj=transform(R_cam_crop @ solution.R, position),
            covariance=pose_covariance(
                solution.hessian,
                solution.R,
                solution.t,
                R_cam_crop,
                self.metres_per_unit,
                self.size_sigma,
                PLAIN if calibration is None else calibration.spread,
                None if calibration is None else scaled(calibration, values),
            ),
            score=right if found else 0.0,
            score_10=precise if found else 0.0,
            visible_fraction=solution.visible_fraction,
            occlusion=solution.occlusion,
            energy=solution.energy,
            margin=solution.margin,
            size=self.size,
            crop=crop,
            category=self.category,
            mode=mode,
            statistics=values,
            milliseconds={},
            subtype=self.subtype,
            solution=solution,
            leaning=solution.leaning,
        )
