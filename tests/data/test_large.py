"""Large photographs are decoded straight to what the network needs: memory, cache and model stay small."""

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from tests.conftest import PROJECT, all_runs, coloured_images, invoke
from tp1.base.errors import TP1Error
from tp1.base.folders import folder_size
from tp1.data.cache import LargeImagesError
from tp1.data.cache_folder import cache_dir, entries
from tp1.data.dataset import load_data
from tp1.data.decoding import read_image, read_resized
from tp1.data.image_files import find_images, read_batches


def photographs(root: Path, size: tuple[int, int], count: int = 5, suffix: str = "jpg") -> Path:
    for label, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(coloured_images(label, count, 40, seed=3)):
            Image.fromarray(image).resize(size).save(root / name / f"{number:03d}.{suffix}")
    return root


def test_they_are_resized_when_they_are_decoded(tmp_path):
    root = photographs(tmp_path / "photos", (800, 600))
    data = load_data(str(root), image_size=64)
    assert data.image_shape == (64, 64, 3)
    (entry,) = entries(cache_dir())
    assert entry.name.endswith("-64px")
    assert entry.size < 200_000
    (batch,) = read_batches(find_images([root]), (64, 64, 3), 64)
    np.testing.assert_array_equal(batch.pixels, data.pixels)  # prediction sees what training saw


def test_it_does_not_depend_on_what_the_cache_holds(tmp_path):
    root = photographs(tmp_path / "photos", (400, 300))
    assert load_data(str(root)).image_shape == (300, 400, 3)
    assert load_data(str(root), image_size=64).image_shape == (64, 64, 3)
    assert load_data(str(root)).image_shape == (300, 400, 3)


@pytest.mark.parametrize(("side", "image_size", "found"), [(64, 32, 64), (256, 64, 256), (300, 512, 300), (32, 64, 32)])
def test_images_that_are_not_large_keep_their_size(tmp_path, side, image_size, found):
    """As ever: the network resizes them, so that one cache serves every size."""
    root = photographs(tmp_path / "photos", (side, side), suffix="png")
    assert load_data(str(root), image_size=image_size).image_shape == (found, found, 3)


def test_without_a_size_very_large_ones_are_refused(tmp_path):
    root = photographs(tmp_path / "photos", (1600, 1200))
    with pytest.raises(LargeImagesError, match=r"have 1600x1200 pixels, .* give image_size=PIXELS, such as 224"):
        load_data(str(root))
    assert entries(cache_dir()) == []


def test_a_jpeg_is_decoded_small(tmp_path):
    Image.new("RGB", (4000, 3000), "teal").save(tmp_path / "x.jpg")
    assert read_image(tmp_path / "x.jpg", (64, 64)).size == (500, 375)
    assert read_image(tmp_path / "x.jpg", (224, 224)).size == (1000, 750)
    assert read_image(tmp_path / "x.jpg").size == (4000, 3000)


def test_a_small_decoding_is_the_same_picture(tmp_path):
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "x.jpg", quality=95)
    small = np.asarray(read_resized(tmp_path / "x.jpg", (64, 64))[0]).astype(int)
    whole = np.asarray(read_image(tmp_path / "x.jpg").resize((64, 64), Image.Resampling.BICUBIC))
    assert np.abs(small - whole).mean() < 1


def test_a_photograph_on_its_side_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (1600, 1200))
    image.paste((255, 255, 255), (0, 0, 800, 1200))
    image.save(tmp_path / "x.jpg", exif=exif)
    found = np.asarray(read_resized(tmp_path / "x.jpg", (64, 64))[0])
    assert found[:28].min() > 200
    assert found[36:].max() < 50


@pytest.mark.long
def test_memory_does_not_grow_with_the_photographs(tmp_path):
    """24 photographs of 12 megapixels, 36 MB each when decoded."""
    root = photographs(tmp_path / "photos", (4000, 3000), count=4)
    code = (
        "import resource, sys; from tp1.data.dataset import load_data\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"data = load_data({str(root)!r}, image_size=64)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, data.pixels.nbytes)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    grown, pixels = map(int, answer.stdout.split())
    assert grown < 100_000  # kB
    assert pixels == 8 * 64 * 64 * 3


def test_a_model_of_photographs_takes_the_size_of_the_cache(store, tmp_path):
    root = photographs(tmp_path / "photos", (800, 600), count=8)
    result = invoke("cnn-base", f"dataset={root}", "image_size=32", "epochs=1")
    assert result.exit_code == 0, result.stderr
    (run,) = all_runs()
    (output,) = run.outputs.model_outputs
    info = mlflow.models.get_model_info(f"models:/{output.model_id}")
    assert info.metadata["image_shape"] == [32, 32, 3]
    result = invoke("predict", f"images={root}", f"model=models:/{output.model_id}", "format=csv")
    assert result.exit_code == 0, result.stderr
    assert "16 images were resized to 32x32" in result.stderr


@pytest.mark.long
def test_a_large_example_is_not_kept(store, tmp_path):
    root = photographs(tmp_path / "photos", (500, 500), suffix="png")
    result = invoke("cnn-base", f"dataset={root}", "epochs=1")
    assert result.exit_code == 0, result.stderr
    (output,) = all_runs()[0].outputs.model_outputs
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{output.model_id}", dst_path=str(tmp_path / "model")))
    assert not list(folder.glob("*example*"))
    heavy = sum((folder / name).stat().st_size for name in ("data/model.pt2", "extra_files/weights.safetensors"))
    assert folder_size(folder) - heavy < 1e6
    served = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert served.predict(np.zeros((3, 500, 500, 3), np.uint8)).shape == (3, 2)


def test_mixed_sizes_without_a_size_are_still_refused(tmp_path):
    photographs(tmp_path / "photos", (800, 600))
    Image.new("RGB", (640, 480)).save(tmp_path / "photos" / "b" / "x.jpg")
    with pytest.raises(TP1Error, match=r"differ in size: a/000\.jpg has 800x600 pixels, b/x\.jpg has 640x480"):
        load_data(str(tmp_path / "photos"))
