# SPDX-License-Identifier: Apache-2.0
"""Evaluation on several processes: each takes every N-th image, the results keep their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from nemo_model.errors import NemoError
from nemo_model.evaluation.evaluate import PoseEstimator, Result, evaluate
from nemo_model.evaluation.samples import Sample


def evaluate_parallel(
    load: Callable[[], PoseEstimator], samples: Sequence[Sample], protocol: str, processes: int
) -> Iterator[Result]:
    """What evaluate() yields, in its order.

    Args:
        load: makes the estimator of one process; can be pickled, as can the samples.
        processes: at least 1, each with an estimator of its own.

    Raises:
        NemoError: as evaluate() does, or where a process ends without results.
    """
    if processes < 1:
        raise NemoError(f"--processes {processes}: must be at least 1")
    context = get_context("spawn")  # a forked copy of a loaded onnxruntime may hang
    images = list(dict.fromkeys(sample.image_path for sample in samples))
    owner = {path: number % processes for number, path in enumerate(images)}
    owners = [owner[sample.image_path] for sample in samples]  # an image's objects go together
    workers, ends = [], []
    for number in range(min(processes, len(images))):
        end, other = context.Pipe(duplex=False)
        own = [one for one, by in zip(samples, owners, strict=True) if by == number]
        arguments = (other, load, own, protocol)
        worker = context.Process(target=_work, args=arguments, daemon=True)
        worker.start()
        other.close()
        workers.append(worker)
        ends.append(end)
    try:
        for number in owners:
            yield _received(ends[number], number)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()


def _received(end: Connection, number: int) -> Result:
    try:
        found = end.recv()
    except EOFError as error:
        raise NemoError(f"process {number} of the evaluation ended without a result") from error
    if isinstance(found, Result):
        return found
    raise NemoError(str(found))


def _work(
    out: Connection, load: Callable[[], PoseEstimator], samples: Sequence[Sample], protocol: str
) -> None:
    try:
        for result in evaluate(load(), samples, protocol):
            out.send(result)
    except NemoError as error:
        out.send(str(error))
