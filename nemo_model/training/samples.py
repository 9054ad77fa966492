# SPDX-License-Identifier: Apache-2.0
"""From an annotated photo to one training sample: an augmented crop and what it shows.

Sample i of a run depends on the seed and on i alone, so a resumed run sees what an uninterrupted
one would, with any number of loader processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from nemo_model.camera import FIRST_CELL, STRIDE, Camera, CropCamera, crop_camera
from nemo_model.datasets.pascal3d import Pascal3DObject
from nemo_model.errors import NemoError
from nemo_model.mesh import Mesh
from nemo_model.meshes.meshset import MeshSet
from nemo_model.pose import angles_from_rotation, transform
from nemo_model.raster import rasterize, silhouette, visible_vertices
from nemo_model.training.config import TrainConfig
from nemo_model.training.occluders import paste_occluders, photo_patch
from nemo_model.training.parts import Parts, Shown, both_ways, whole
from nemo_model.training.photometric import degrade
from nemo_model.training.rivals import RIVALS, rival_poses
from nemo_model.training.view import View, jittered_box, rolled_crop, view_of

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

LEAST_VISIBLE = 0.1
"""Share of the silhouette that must be left to see for a box of the visible part."""

MOST_NEIGHBOURS = 2
MOST_HIDDEN = 0.7
"""Share of the silhouette that a neighbour may hide; one that hides more stands behind."""


@dataclass(frozen=True)
class Sample:
    """One training sample; h, w are the feature map's size, P = 1 + RIVALS.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        vertex: (N,) int64, visible vertices, -1 pads.
        uv: (N, 2) float32, where they project, in cells.
        clutter: (h, w) bool, cells that show anything but the object.
        corner: (P, h, w, 3) int64, vertices of the face each cell sees; the first pose is true.
        weight: (P, h, w, 3) float32, their barycentric weights, zero where nothing is seen.
        part: which of the run's meshes it shows; vertices are rows of their joint bank.
        angles: (3,) azimuth, elevation, in-plane rotation in the crop's camera, radians.
    """

    image: Image
    vertex: npt.NDArray[np.int64]
    uv: npt.NDArray[np.float32]
    clutter: npt.NDArray[np.bool_]
    corner: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    part: int = 0
    angles: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))


@dataclass(frozen=True)
class Picture:
    """What the network sees and what is true of it, whatever is learned from it.

    Attributes:
        image: (H, W, 3) uint8 RGB, the augmented crop.
        crop: its camera.
        T: (4, 4) the object, mirrored left to right if `mirrored`, to the crop's camera.
        hidden: (H, W) bool, pixels on which something else, or the image's edge, hides the object.
        boxed: whether the crop was made of a box of the whole object.
        at: number of the object.
        mirrored: whether the photo was.
        shape: (H, W) bool, the object's silhouette as if nothing hid it.
        H: (3, 3) pixel of the photo, mirrored if `mirrored`, to pixel of the crop.
    """

    image: Image
    crop: CropCamera
    T: Array
    hidden: npt.NDArray[np.bool_]
    boxed: bool
    at: int
    mirrored: bool
    shape: npt.NDArray[np.bool_]
    H: Array


class SampleMaker:
    """Makes samples from a set of objects held in memory.

    mesh, outline: of the category; parts: the meshes that are trained, by default that one.
    """

    def __init__(
        self,
        objects: Sequence[Pascal3DObject],
        images: Sequence[Image],
        cads: dict[int, Mesh],
        mesh: Mesh,
        outline: Array,
        photos: Sequence[Image],
        config: TrainConfig,
        parts: Parts | None = None,
    ) -> None:
        self.objects, self.images, self.cads = objects, images, cads
        self._shapes = both_ways(cads)
        self.mesh, self.outline = mesh, outline
        self.parts = parts or Parts(whole(config.category, mesh, outline))
        self.photos, self.config = photos, config
        azimuth = np.array([o.azimuth for o in objects])
        self.probability = view_weights(azimuth, config.azimuth_bins, config.balance)
        if len(self.parts.meshes.meshes) > 1:
            part = np.array([self.parts.shown(o.cad_index, False).part for o in objects])
            weight = self.probability * (1.0 / np.bincount(part))[part] ** config.subtype_balance
            self.probability = weight / weight.sum()

    @property
    def meshes(self) -> MeshSet:
        """Those that are trained."""
        return self.parts.meshes

    def __call__(self, index: int) -> Sample:
        """Return sample number `index` of the run."""
        rng = np.random.default_rng([self.config.seed, index])
        picture = self.eased(index).picture(rng)
        item, hidden = self.objects[picture.at], picture.hidden
        shown = self.parts.shown(item.cad_index, picture.mirrored)
        if self.config.silhouettes:  # beside the object one sees past it
            hidden = hidden | ~picture.shape
        return self._targets(
            picture.image, picture.crop, picture.T, hidden, picture.boxed, shown, rng
        )

    def eased(self, index: int) -> SampleMaker:
        """The maker of sample `index`: early in a run that begins easily, one that spoils less."""
        step = index // self.config.batch
        if step >= self.config.ease:
            return self
        maker = copy(self)
        augment = self.config.augment.eased(step / self.config.ease)
        maker.config = self.config.model_copy(update={"augment": augment})
        return maker

    def picture(self, rng: np.random.Generator) -> Picture:
        """Draw an object and show it as the augmentation has it."""
        while True:
            at = int(rng.choice(len(self.objects), p=self.probability))
            try:
                return self._picture(at, rng)
            except NemoError:  # a cut that left nothing of the box: draw again
                continue

    def _picture(self, at: int, rng: np.random.Generator) -> Picture:
        config, augment = self.config, self.config.augment
        mirrored = rng.random() < augment.flip
        view = view_of(self.objects[at], self.images[at], mirrored)
        box, seen = jittered_box(view, augment, rng)
        partly = rng.random() < augment.visible_box
        crop = rolled_crop(view, box, config, rng, 2 if partly else 1)
        T = transform(crop.R_crop_cam, np.zeros(3)) @ view.T_cam_obj
        shape = self._silhouette(at, mirrored, T, crop)
        image, cut = self._composed(view, crop, seen, shape, rng)
        hidden = cut
        for _ in range(MOST_NEIGHBOURS):
            if rng.random() >= augment.neighbour:
                break
            image, beside = self._with_neighbour(image, crop, shape, rng)
            hidden = hidden | beside
        if rng.random() < augment.occluded:
            share = rng.uniform(*augment.hidden_share)
            image, pasted = paste_occluders(
                image, shape, share, self.photos, self.images, augment.object_occluder, rng
            )
            hidden = hidden | pasted
        H = crop.H_crop_image
        if partly:
            image, crop, T, hidden = self._closer(image, crop, T, shape, hidden, rng)
            H = crop.H_crop_image @ H
            shape = self._silhouette(at, mirrored, T, crop)
        boxed = not (partly or cut.any())
        image = degrade(image, augment, rng, self.photos)
        return Picture(image, crop, T, hidden, boxed, at, mirrored, shape, H)

    def _silhouette(
        self, at: int, mirrored: bool, T: Array, crop: CropCamera
    ) -> npt.NDArray[np.bool_]:
        """Mask (H, W) of object number `at`; of the category's cuboid where it has no CAD model."""
        item = self.objects[at]
        cad = self._shapes.get((item.cad_index, mirrored))
        mesh = self.mesh if cad is None else item.shape(cad)
        return silhouette(mesh, T, crop.K, crop.width, crop.height)

    def _closer(
        self,
        image: Image,
        crop: CropCamera,
        T: Array,
        shape: npt.NDArray[np.bool_],
        hidden: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Image, CropCamera, Array, npt.NDArray[np.bool_]]:
        """A crop of that crop around what is left to see, as a detector would box it."""
        config, augment = self.config, self.config.augment
        visible = shape & ~hidden
        if np.count_nonzero(visible) < LEAST_VISIBLE * np.count_nonzero(shape):
            visible = shape
        rows, cols = np.nonzero(visible)
        if not len(rows):
            raise NemoError("nothing of the object lies in the crop")
        box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], dtype=float)
        box += np.tile(box[2:] - box[:2], 2) * rng.normal(0.0, augment.box_jitter, 4)
        camera = Camera(crop.K, crop.width, crop.height)
        fill = rng.uniform(*augment.fill)
        near = crop_camera(camera, box, config.width, config.height, fill)
        size = (near.width, near.height)
        there = cv2.warpPerspective(
            hidden.astype(np.uint8), near.H_crop_image, size, flags=cv2.INTER_NEAREST
        )
        turned = transform(near.R_crop_cam, np.zeros(3)) @ T
        return near.warp(image), near, turned, there > 0

    def _composed(
        self,
        view: View,
        crop: CropCamera,
        seen: npt.NDArray[np.uint8],
        shape: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Image, npt.NDArray[np.bool_]]:
        """The crop with something around it, and the mask of what an image edge cut away."""
        augment, size = self.config.augment, (crop.width, crop.height)
        image = crop.warp(view.image)
        inside = cv2.warpPerspective(seen, crop.H_crop_image, size, flags=cv2.INTER_NEAREST)
        if rng.random() < augment.photo_padding:
            alpha = (inside == 1).astype(np.float32)
            if rng.random() < augment.silhouette:
                grow = 2 * int(rng.integers(2, 8)) + 1
                grown = cv2.dilate(shape.astype(np.uint8), np.ones((grow, grow), np.uint8))
                alpha *= cv2.GaussianBlur(grown.astype(np.float32), (0, 0), rng.uniform(0.7, 2.5))
            around = photo_patch(self.photos, *size, rng)
            alpha = alpha[..., None]
            image = np.asarray(alpha * image + (1.0 - alpha) * around, dtype=np.uint8)
        cut = inside == 2
        if cut.any():
            image[cut] = 128
        return image, np.asarray(cut)

    def _with_neighbour(
        self,
        image: Image,
        crop: CropCamera,
        shape: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[Image, npt.NDArray[np.bool_]]:
        """Put another object, cut out by its CAD, before or behind this one, as in traffic.

        Returns the image and what the neighbour hides (H, W).
        """
        at = int(rng.integers(len(self.objects)))
        view = view_of(self.objects[at], self.images[at], rng.random() < 0.5)
        crop = rolled_crop(view, view.box, self.config, rng, crop.width // self.config.width)
        T = transform(crop.R_crop_cam, np.zeros(3)) @ view.T_cam_obj
        size = (crop.width, crop.height)
        mask = self._silhouette(at, view.mirrored, T, crop).astype(np.uint8)
        grow = rng.uniform(0.6, 1.35)
        dx = float(rng.choice([-1.0, 1.0])) * rng.uniform(0.2, 0.85) * crop.width
        dy = rng.uniform(-0.15, 0.1) * crop.height
        centre = np.array([crop.width, crop.height]) / 2
        shift = centre * (1.0 - grow) + np.array([dx, dy])
        move = np.array([[grow, 0.0, shift[0]], [0.0, grow, shift[1]]])
        picture = np.asarray(cv2.warpAffine(crop.warp(view.image), move, size), dtype=np.uint8)
        there = cv2.warpAffine(mask, move, size, flags=cv2.INTER_NEAREST) > 0
        in_front = rng.random() < 0.5 and (
            np.count_nonzero(there & shape) < MOST_HIDDEN * np.count_nonzero(shape)
        )
        if not in_front:
            there &= ~shape
        image[there] = picture[there]
        return image, np.asarray(there & in_front)

    def _targets(
        self,
        image: Image,
        crop: CropCamera,
        T: Array,
        hidden: npt.NDArray[np.bool_],
        boxed: bool,
        shown: Shown,
        rng: np.random.Generator,
    ) -> Sample:
        config, mesh, rows = self.config, shown.mesh, shown.rows
        K, (h, w) = crop.map_K(), crop.map_size
        visible, uv = visible_vertices(mesh, T, K, w, h)
        pixel = np.nan_to_num(np.round(uv * STRIDE + FIRST_CELL)).astype(int)
        pixel = np.clip(pixel, 0, [crop.width - 1, crop.height - 1])
        visible &= ~hidden[pixel[:, 1], pixel[:, 0]]
        chosen = rng.permutation(np.nonzero(visible)[0])[: config.picks]
        vertex = np.full(config.picks, -1, dtype=np.int64)
        vertex[: len(chosen)] = rows[chosen]
        at = np.zeros((config.picks, 2), dtype=np.float32)
        at[: len(chosen)] = uv[chosen]
        corner = np.zeros((1 + RIVALS, h, w, 3), dtype=np.int64)
        weight = np.zeros((1 + RIVALS, h, w, 3), dtype=np.float32)
        rivals = rival_poses(T, shown.outline, K, boxed, rng, config.symmetry)
        for p, pose in enumerate([T, *rivals]):
            points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
            face, bary, _ = rasterize(points, mesh.faces, K, w, h)
            corner[p] = rows[mesh.faces[np.maximum(face, 0)]]
            weight[p] = bary
        covered = weight[0].sum(axis=2) > 0
        first = int(FIRST_CELL)  # the share around each cell's centre, not of its block of pixels
        share = cv2.blur(hidden.astype(np.float32), (9, 9))[first::STRIDE, first::STRIDE]
        clutter = ~covered | (share > 0.6)
        angles = np.array(angles_from_rotation(T[:3, :3]), dtype=np.float32)
        return Sample(image, vertex, at, clutter, corner, weight, shown.part, angles)


def view_weights(azimuth: Array, bins: int, balance: float) -> Array:
    """Return the probability (N,) of drawing each object.

    With balance 1 every azimuth bin is drawn as often as every other (a mirrored bin counts
    with it, as flipping shows one as the other), with 0 every object.
    """
    folded = np.abs(np.arctan2(np.sin(azimuth), np.cos(azimuth)))
    at = np.minimum((folded / np.pi * (bins // 2)).astype(int), bins // 2 - 1)
    count = np.bincount(at, minlength=bins // 2)
    weight = np.asarray(1.0 / count[at]) ** balance
    return np.asarray(weight / weight.sum())
