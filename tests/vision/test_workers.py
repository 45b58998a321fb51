"""Work is dealt out to threads and comes back in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import skimage.data

from risa_ray.vision.detection import DetectorPool
from risa_ray.vision.workers import Workers


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("jobs", [0, 1, 7])
def test_results_come_in_the_order_of_the_jobs(threads: int, jobs: int) -> None:
    assert Workers(threads).map(lambda job: 2 * job, list(range(jobs))) == [2 * job for job in range(jobs)]


def test_as_many_jobs_as_threads_run_at_a_time() -> None:
    together = threading.Barrier(3, timeout=20)
    assert len(Workers(3).map(lambda job: together.wait(), [1, 2, 3])) == 3


def test_the_first_error_is_raised_when_all_jobs_have_ended() -> None:
    ended = list[int]()

    def work(job: int) -> None:
        ended.append(job)
        if job:
            raise ValueError(f"job {job}")

    with pytest.raises(ValueError, match="job 1"):
        Workers(2).map(work, [0, 1, 2, 3])
    assert sorted(ended) == [0, 1, 2, 3]


def test_a_pool_gives_each_picture_to_the_detector_that_its_key_names() -> None:
    portrait = np.asarray(skimage.data.astronaut())[:256].copy()
    pool = DetectorPool("cpu", max_batch=2, threads=2)
    keys = [("mtcnn", 40), ("haar", 60), ("mtcnn", 250), ("mtcnn", 40), ("haar", 60)]
    found = pool.detect(keys, [portrait] * 5)
    assert [len(faces) for faces in found] == [1, 1, 0, 1, 1]
    assert [faces.landmarks is not None for faces in found] == [True, False, True, True, False]
    refined = pool.refine(keys[:2], [portrait] * 2, [found[0].boxes, found[1].boxes])
    assert [len(faces) for faces in refined] == [1, 1]
