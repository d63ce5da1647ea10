"""Files as nobody should make them: images, folders, the cache's entries, weights and models.

585 generated cases, beside those that are listed: each ends in one clear line, in the same result as the undamaged
file's, or in the cache's being made anew. None hangs, runs code, or takes memory by what a file declares.
"""

# ruff: noqa: PT017 - a damaged file may also be read, so an error is looked at where there is one

import json
import os
import pickle
import shutil
import socket
import struct
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from torch import nn

from tests.conftest import PROJECT, all_runs, coloured_images, invoke, write_folder
from tests.test_hostile_parameters import quick
from tp1.base.digests import digest, from_tag
from tp1.base.errors import TP1Error
from tp1.commands.reference import read_record
from tp1.data.cache import entries, load_images
from tp1.data.dataset import load_data
from tp1.data.image_files import find_images, read_batches
from tp1.data.sources import Cifar10, ImageFolder, bombs_refused, find_source, read_image
from tp1.models.build import get_weights
from tp1.models.classifier import Preparation
from tp1.models.transfer import Trunk
from tp1.models.weights import IMAGENET_MEAN, IMAGENET_STD, Weights, load_features
from tp1.registry.predictor import load_predictor
from tp1.training.features import FeatureEntry

GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"", b"\0" * 1000, b"[" * 100_000, b"{" * 10, b'{"format": 2}', b"9" * 5000, b"\xff\xfe", b"null"]
    ),
)


@pytest.fixture
def small(tmp_path) -> Path:
    """Two classes of five images."""
    return write_folder(tmp_path / "small", per_class=5, side=8, classes="ab")


def is_clear(error: TP1Error) -> bool:
    return str(error).isprintable() and str(error) != ""


def predicted_from(*paths: Path):
    with bombs_refused():
        (batch,) = read_batches(find_images(paths), (8, 8, 3), 32)
    return batch


# Images


def mutated(whole: bytes) -> st.SearchStrategy[bytes]:
    """A file cut short, with other bytes in it, or with another's behind it."""
    places = st.integers(0, len(whole) - 1)
    flips = st.lists(st.tuples(places, st.integers(1, 255)), min_size=1, max_size=8)

    def flip(changes: list[tuple[int, int]]) -> bytes:
        content = bytearray(whole)
        for place, value in changes:
            content[place] ^= value
        return bytes(content)

    return st.one_of(
        places.map(lambda place: whole[:place]), flips.map(flip), GARBAGE, GARBAGE.map(lambda rest: whole[:40] + rest)
    )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_image_is_named_or_read(small, tmp_path, suffix):
    target = small / "a" / f"x.{suffix}"
    Image.fromarray(coloured_images(0, 1, 8, seed=1)[0]).save(target)
    whole = target.read_bytes()

    @quick(50)
    @given(mutated(whole))
    def check(content):
        target.write_bytes(content)
        batch = predicted_from(target)
        try:
            assert load_data(str(small)).pixels.shape == (11, 8, 8, 3)
            assert len(batch.found) == 1
        except TP1Error as error:
            assert is_clear(error)
            # Flipped bytes may also have made it an image of another size, which prediction takes.
            assert "cannot read image" in str(error) or "differ in size" in str(error)
            assert len(batch.unreadable) == ("cannot read image" in str(error))

    check()


def make_special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.symlink_to(
            {"endless device": "/dev/zero", "loop": path.name, "nowhere": "gone", "folder above": ".."}[kind]
        )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "endless device", "loop", "nowhere", "folder above"])
def test_what_is_no_file_is_refused_and_never_waited_for(store, small, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(small / "b")  # a socket's path must be short
    make_special(Path("x.png"), kind)
    monkeypatch.chdir(tmp_path)
    result = invoke("eda", f"dataset={small}")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"cannot read {small}/b/x.png" in result.stderr
    assert [run.info.status for run in all_runs()] == ["FAILED"]
    with pytest.raises(Exception, match=r"it is no file|levels|No such file"):
        read_image(small / "b" / "x.png")
    if kind not in ("loop", "nowhere", "folder", "folder above"):
        batch = predicted_from(small / "b" / "x.png", small / "a")
        assert len(batch.found) == 5
        assert [reason for _, reason in batch.unreadable] == ["it is no file"]


def test_links_are_followed_to_images_alone(small, tmp_path):
    """An image may lie elsewhere, as where a data set is made of links; what is none is said without a word of it."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "elsewhere.png")
    (small / "a" / "x.png").symlink_to(tmp_path / "elsewhere.png")
    assert load_data(str(small)).pixels.shape == (11, 8, 8, 3)
    (tmp_path / "secret").write_text("the password is swordfish")
    (small / "a" / "y.png").symlink_to(tmp_path / "secret")
    with pytest.raises(TP1Error, match=r"cannot read image .*/a/y\.png") as error:
        load_data(str(small))
    assert "swordfish" not in str(error.value)
    (small / "a" / "y.png").unlink()
    (small / "c").symlink_to(small)  # a folder that holds itself
    with pytest.raises(TP1Error, match=r"class folder .*/c has no images"):
        load_data(str(small))


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A small file that declares any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


BOMBS = {
    "10,000 pixels": png(10_000, 10_000),
    "the most that PNG declares": png(2**31 - 1, 2**31 - 1),
    "a text": png(8, 8, (b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 80_000_000))),
    "nothing": png(0, 0),
}


@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_is_refused_before_it_is_decoded(small, kind, monkeypatch):
    decoded = []
    load = PngImagePlugin.PngImageFile.load_prepare
    monkeypatch.setattr(
        PngImagePlugin.PngImageFile, "load_prepare", lambda image: (decoded.append(image.size), load(image))
    )
    (small / "b" / "x.png").write_bytes(BOMBS[kind])
    with pytest.raises(TP1Error, match=r"cannot read image .*/b/x\.png: .*\. Mend or remove the file") as error:
        load_data(str(small))
    assert is_clear(error.value)
    assert set(decoded) <= {(8, 8)}
    ((_, reason),) = predicted_from(small / "b" / "x.png", small / "a").unreadable
    assert ("decompression bomb" in reason) == ("pixels" in kind or "most" in kind)


def test_a_long_image_is_resized(tmp_path):
    Image.new("1", (10_000, 500), 1).save(tmp_path / "long.png")
    batch = predicted_from(tmp_path / "long.png")
    assert batch.resized == 1
    assert batch.pixels.min() == 255


@pytest.mark.parametrize("cached", [False, True])
def test_images_that_the_memory_does_not_take_are_refused(small, tmp_path, cached, monkeypatch):
    if cached:
        load_data(str(small))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1900))
    with pytest.raises(TP1Error, match=r"the images in .*/small need 0\.0 GB of memory, .*: make them smaller"):
        load_data(str(small))
    assert bool(entries(tmp_path / "cache")) == cached


def test_few_images_wait_in_memory(small, monkeypatch):
    read = []
    monkeypatch.setattr("tp1.data.sources.read_image", lambda path: (read.append(path), Image.new("RGB", (8, 8)))[1])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for number in range(100):
        shutil.copy(small / "a" / "000.png", small / "a" / f"copy-{number}.png")
    source = ImageFolder("small", small)
    images = source.decode(source.list())
    next(images)
    assert len(read) <= 12
    images.close()


def test_a_name_does_not_make_a_program_run(small, monkeypatch):
    """Pillow would have Ghostscript run a file of PostScript, whatever its name is."""
    monkeypatch.setattr("subprocess.check_call", lambda *args, **kwargs: pytest.fail("a program was run"))
    (small / "b" / "x.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(TP1Error, match=r"cannot read image .*/b/x\.png: cannot identify image file"):
        load_data(str(small))
    assert predicted_from(small / "b" / "x.png", small / "a").unreadable[0][1] == "not an image"


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_any_mode_of_any_format_is_rgb_or_refused(tmp_path, mode, kind):
    path = tmp_path / "x.png"
    try:
        Image.new(mode, (8, 8)).save(path, kind)
    except (OSError, ValueError, KeyError, SystemError):  # the format does not have it
        return
    try:
        image = read_image(path)
    except ValueError as error:
        assert "no fixed range of brightness" in str(error)
    else:
        assert (image.mode, image.size) == ("RGB", (8, 8))


@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535])
def test_any_orientation_is_set_upright_or_left(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").size == ((4, 8) if orientation in (5, 6, 7, 8) else (8, 4))


# Archives


@pytest.mark.parametrize("content", [b"", b"no archive", BOMBS["nothing"]])
def test_an_archive_with_another_checksum_is_not_opened(tmp_path, content, monkeypatch):
    """torchvision verifies an archive before it unpacks it; one that was put there is fetched anew."""
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setattr("tarfile.open", lambda *args, **kwargs: pytest.fail("it was opened"))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    with pytest.raises(TP1Error, match="could not be downloaded"):
        Cifar10(tmp_path).files()


def test_batches_with_another_checksum_are_not_unpickled(tiny_cifar10, monkeypatch):
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    (tiny_cifar10 / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Harmful(tiny_cifar10)))
    with pytest.raises(TP1Error, match="could not be downloaded"):
        Cifar10(tiny_cifar10).list()
    assert not (tiny_cifar10 / "harm").exists()


# Names

LETTERS = st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
FILE_NAMES = st.one_of(
    st.text(LETTERS, min_size=1, max_size=20),
    st.text("\n\r\t\x1b[31m\x9b\u2028\u202e<>&'\"|`*_$ \\", min_size=1, max_size=20),
    st.binary(min_size=1, max_size=20).map(
        lambda name: os.fsdecode(name.replace(b"/", b"").replace(b"\0", b"") or b"x")
    ),
    st.just("n" * 250),
)


def test_images_of_any_name_are_read_and_shown_as_text(small, tmp_path):
    @quick(40)
    @given(FILE_NAMES)
    def check(name):
        path = small / "a" / f"x{name}"[:80]
        path = path.with_name(f"{path.name}.png")
        shutil.copy(small / "b" / "000.png", path)
        try:
            data = load_data(str(small))
            assert sum(map(len, (data.train, data.val, data.test))) == 11
            (entry,) = [entry for entry in entries(tmp_path / "cache") if data.digest in entry.name]
            assert f"a/{path.name}" in json.loads((entry.path / "meta.json").read_text())["names"]
            assert load_data(str(small)).split_digest == data.split_digest
            path.write_bytes(b"")
            with pytest.raises(TP1Error) as error:
                load_data(str(small))
            assert is_clear(error.value)
        finally:
            path.unlink()

    check()


def test_classes_of_any_name_are_taken_or_refused_before_training(small):
    @quick(40)
    @given(
        st.one_of(FILE_NAMES, st.sampled_from(["c" * 201, "accuracy", "é" * 100, "x" * 200])).filter(
            lambda name: name not in (".", "..", "a")
        )
    )
    def check(name):
        name = name if len(os.fsencode(name)) < 255 else name[:60]
        (small / "b").rename(small / name)
        try:
            data = load_data(str(small))
            assert all(letter.isalnum() or letter in "_.- " for letter in name)
            assert name in data.classes
            assert len(f"test/precision/{name}") <= 250
        except TP1Error as error:
            assert is_clear(error)
            assert "class" in str(error)
        finally:
            (small / name).rename(small / "b")

    check()


def test_data_sets_of_any_name_are_taken_or_refused(small, tmp_path):
    @quick(25)
    @given(
        st.one_of(FILE_NAMES, st.sampled_from(["\u00e9" * 120, "$x_{$", "a" * 255])).filter(
            lambda name: name not in (".", "..")
        )
    )
    def check(name):
        name = name if len(os.fsencode(name)) <= 255 else name[:60]
        (tmp_path / "above" / name).parent.mkdir(exist_ok=True)
        small.rename(tmp_path / "above" / name)
        try:
            assert load_data(f"above/{name}").name == name
        except TP1Error as error:
            assert is_clear(error)
            assert "rename the image folder" in str(error)
        finally:
            (tmp_path / "above" / name).rename(small)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path)
        check()


# The cache


def tampered_meta(meta: dict) -> st.SearchStrategy[bytes]:
    """The entry's record with one thing in it changed to something that could pass for one."""
    count, height, width, channels = meta["shape"]
    changes = [
        {"shape": [count, 1, height * width, channels]},
        {"shape": [1, count * height, width, channels]},
        {"shape": [count * 2, height // 2, width, channels]},
        {"shape": [-1, height, width, channels]},
        {"labels": meta["labels"][::-1]},
        {"labels": [99] * count},
        {"labels": meta["labels"][1:]},
        {"names": meta["names"][::-1]},
        {"names": "a" * count},
        {"classes": meta["classes"][::-1]},
        {"is_test": [True] * count},
        {"is_test": "yes"},
        {"pixels_sha256": "0" * 64},
        {"format": "2"},
        {"check": None},
    ]
    return st.sampled_from(changes).map(lambda change: json.dumps(meta | change).encode())


def test_a_cache_that_was_tampered_with_is_made_anew(small, tmp_path):
    source, cache = ImageFolder("small", small), tmp_path / "cache"
    wanted = load_images(source, cache)
    pixels = np.array(wanted.pixels)
    (entry,) = (one.path for one in entries(cache))
    (known,) = (cache / "digests").iterdir()
    files = {path: path.read_bytes() for path in (entry / "meta.json", entry / "pixels.bin", known)}
    meta = json.loads(files[entry / "meta.json"])

    paths = st.sampled_from([b"0" * 16, b"../../../../x/yz", b"../" * 20])  # where a digest stands
    own = {entry / "meta.json": tampered_meta(meta), known: paths}

    def change(path: Path) -> st.SearchStrategy[tuple[Path, bytes | None]]:
        return st.tuples(st.just(path), st.one_of(st.none(), mutated(files[path]), own.get(path, GARBAGE)))

    @quick(80)
    @given(st.sampled_from(list(files)).flatmap(change))
    def check(changed):
        path, content = changed
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        try:
            found = load_images(source, cache)
        except TP1Error as error:  # a folder in the place of a small file
            assert content is None
            assert is_clear(error)
            path.rmdir()
            found = load_images(source, cache)
        assert found.digest == wanted.digest
        assert np.array_equal(found.pixels, pixels)
        assert found.listing.names == wanted.listing.names
        assert found.listing.labels.tolist() == wanted.listing.labels.tolist()
        assert {path: path.read_bytes() for path in files} == files
        assert [one.path for one in entries(cache)] == [entry]

    check()
    assert {path.name for path in tmp_path.iterdir()} == {"small", "cache"}


@pytest.fixture
def features(small, tmp_path) -> FeatureEntry:
    trunk = Trunk("mobilenet_v2", Preparation(32, IMAGENET_MEAN, IMAGENET_STD))
    return FeatureEntry(trunk, "w", load_data(str(small)), tmp_path / "cache")


def test_features_that_were_tampered_with_are_not_taken(features):
    features.ensure()
    files = {path: path.read_bytes() for path in features.path.iterdir()}
    meta = json.loads(files[features.path / "meta.json"])
    short = files[features.path / "features.bin"][:-2]
    fitting = json.dumps(meta | {"key": meta["key"] | {"weights": "v"}}).encode()
    changes = st.one_of(
        *(st.tuples(st.just(path), mutated(content)) for path, content in files.items()),
        st.just((features.path / "meta.json", fitting)),
    )

    @quick(40)
    @given(changes)
    def check(changed):
        path, content = changed
        path.write_bytes(content)
        try:
            assert features._is_whole() == (_loads(content) == meta or content == files[path])
        finally:
            path.write_bytes(files[path])

    check()
    (features.path / "features.bin").write_bytes(short)
    digests = {"sha256": digest(features.path / "features.bin")}
    (features.path / "meta.json").write_text(json.dumps(meta | digests))
    assert not features._is_whole()  # of another size, though its digest is right


def _loads(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


@pytest.mark.parametrize("fault", ["removed", "emptied"])
def test_features_that_are_removed_while_they_are_read_are_computed_again(features, fault):
    features.ensure()
    wanted = features.read(slice(0, 10))
    if fault == "removed":
        assert "freed" in invoke("cache", "--clear").output
    else:
        (features.path / "features.bin").write_bytes(b"")
    assert np.array_equal(features.read(slice(0, 10)), wanted)


# Weights


class Harmful:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "harm"),)


def features_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


STATE = {f"features.{key}": value for key, value in features_net().state_dict().items()}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch has something to say of some of these
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_damaged_weights_are_refused_or_the_same(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(STATE, path)
    whole = path.read_bytes()
    bombs = [struct.pack("<Q", size) + b"{" for size in (2**63, 2**31, 10**8)]
    bombs.append(_safetensors({"features.0.weight": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}))
    bombs.append(_safetensors({"features.0.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}))
    bombs.append(pickle.dumps(Harmful(tmp_path)))
    bombs.append(pickle.dumps({"features.0.weight": Harmful(tmp_path)}))

    @quick(50)
    @given(st.one_of(mutated(whole), st.sampled_from(bombs)))
    def check(content):
        path.write_bytes(content)
        net = features_net()
        try:
            weights = get_weights(str(path), "net")
            load_features(net, weights)
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert all(torch.isfinite(value).all() for value in net.state_dict().values())

    check()
    assert not (tmp_path / "harm").exists()


def _safetensors(header: dict) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 16


WRONG = {
    "NaN": (torch.full((4, 3, 3, 3), float("nan")), "NaN or infinity"),
    "infinity": (torch.full((4, 3, 3, 3), float("inf")), "NaN or infinity"),
    "shape": (torch.zeros(4, 3, 5, 5), "is 4x3x5x5, not 4x3x3x3"),
    "huge": (torch.zeros(1).expand(10**9), "is 1000000000, not 4x3x3x3"),
    "whole numbers": (torch.zeros(4, 3, 3, 3, dtype=torch.int64), "holds int64, not float32"),
    "complex": (torch.zeros(4, 3, 3, 3, dtype=torch.complex64), "holds complex64, not float32"),
    "bool": (torch.zeros(4, 3, 3, 3, dtype=torch.bool), "holds bool, not float32"),
    "sparse": (torch.zeros(4, 3, 3, 3).to_sparse(), "is no state dict"),
    "no numbers": (torch.zeros(4, 3, 3, 3, device="meta"), "is no state dict"),
}


@pytest.mark.parametrize("kind", list(WRONG))
def test_tensors_that_are_not_what_they_should_be_are_named(tmp_path, kind):
    tensor, message = WRONG[kind]
    torch.save({**STATE, "features.0.weight": tensor}, tmp_path / "w.pth")
    before = features_net().state_dict()
    net = features_net()
    with pytest.raises(TP1Error, match=message):
        load_features(net, get_weights(str(tmp_path / "w.pth"), "net"))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "changed",
    [
        {"preparation.shift": None},
        {"preparation.scale": torch.zeros(3)},
        {"preparation.scale": torch.full((3,), float("nan"))},
        {"preparation.shift": torch.zeros(2)},
        {"preparation.shift": torch.zeros(3, dtype=torch.int64)},
    ],
)
def test_a_normalisation_that_is_none_is_refused(tmp_path, changed):
    state = {**STATE, "preparation.scale": torch.ones(3), "preparation.shift": torch.ones(3)} | changed
    torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / "w.pth")
    with pytest.raises(TP1Error, match="damaged normalisation"):
        get_weights(str(tmp_path / "w.pth"), "net")


def test_weights_that_were_read_whole_are_loaded():
    net = features_net()
    load_features(net, Weights("here", STATE, IMAGENET_MEAN, IMAGENET_STD))


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "endless device", "loop"])
@pytest.mark.timeout(60)
def test_weights_that_are_no_file(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_special(Path("w.pth"), kind)
    with pytest.raises(TP1Error, match=r"no weights file w\.pth"):
        get_weights("w.pth", "net")


# Models


class Program(nn.Module):
    def __init__(self, classes: int, value: float = 1.0) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("value", torch.tensor(value))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.value * images.float().mean((1, 2, 3)).unsqueeze(1).expand(-1, self.classes)


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """pt2 programs as training exports them: one of three classes, one of one, and one that answers with NaN."""
    folder = tmp_path_factory.mktemp("programs")
    example = np.zeros((2, 8, 8, 3), np.uint8)
    for name, program in {"three": Program(3), "one": Program(1), "nan": Program(3, float("nan"))}.items():
        mlflow.pytorch.save_model(
            program.eval(), folder / name, serialization_format="pt2", input_example=example, pip_requirements=["torch"]
        )
        shutil.copy(folder / name / "data" / "model.pt2", folder / f"{name}.pt2")
    return folder


def write_model(folder: Path, program: Path, **changed: object) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(program, folder / "model.pt2")
    facts = {"format": 1, "dataset": "small", "classes": list("abc"), "image_shape": [8, 8, 3]}
    facts |= {"sha256": {"model.pt2": digest(folder / "model.pt2")}} | changed
    (folder / "model.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    ("program", "changed", "message"),
    [
        ("three", {"classes": ["a", "b"]}, "does not take the images, or know the classes"),
        ("one", {}, "does not take the images, or know the classes"),
        ("nan", {}, "answers with NaN or infinity"),
        ("three", {"image_shape": [10**9, 10**9, 3]}, "says that it takes images of 1000000000x1000000000 pixels"),
        ("three", {"image_shape": [-8, 8, 3]}, "says that it takes images of 8x-8 pixels"),
        ("three", {"image_shape": [True, True, 3]}, "does not say which classes"),
        ("three", {"image_shape": [9, 9, 3]}, "does not take the images"),
        ("three", {"classes": ["a", "b", None]}, "does not say which classes"),
        ("three", {"sha256": {"model.pt2": 5}}, "has no SHA-256 of model.pt2"),
    ],
)
def test_a_model_that_is_not_what_it_says_is_refused(programs, tmp_path, program, changed, message):
    assert load_predictor(str(write_model(tmp_path / "m", programs / "three.pt2"))).classes == tuple("abc")
    with pytest.raises(TP1Error, match=message):
        load_predictor(str(write_model(tmp_path / "m", programs / f"{program}.pt2", **changed)))


def test_a_damaged_model_is_refused(programs, tmp_path, capfd):
    """Also where its record vouches for it: anybody can write that."""
    folder = write_model(tmp_path / "m", programs / "three.pt2")
    facts = json.loads((folder / "model.json").read_text())
    whole = {path: path.read_bytes() for path in folder.iterdir()}

    program, record = folder / "model.pt2", folder / "model.json"
    flips = st.tuples(st.integers(0, len(whole[program]) - 1), st.integers(1, 255))
    changes = st.one_of(
        st.tuples(st.just(record), mutated(whole[record])),
        st.tuples(st.just(program), mutated(whole[program])),
        flips.map(lambda flip: (program, _flipped(whole[program], *flip))),
    )

    @quick(80)
    @given(changes)
    def check(changed):
        path, content = changed
        path.write_bytes(content)
        if path.name == "model.pt2":
            sha256 = {"model.pt2": digest(path)}
            (folder / "model.json").write_text(json.dumps(facts | {"sha256": sha256}))
        try:
            predictor = load_predictor(str(folder))
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert len(predictor.classes) == 3
        finally:
            assert "Traceback" not in capfd.readouterr().err
            for file, content in whole.items():
                file.write_bytes(content)

    check()


def _flipped(content: bytes, place: int, value: int) -> bytes:
    return content[:place] + bytes([content[place] ^ value]) + content[place + 1 :]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["model.json", "model.pt2"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless device", "loop"])
def test_a_model_whose_files_are_none_is_refused(programs, tmp_path, name, kind):
    folder = write_model(tmp_path / "m", programs / "three.pt2")
    (folder / name).unlink()
    make_special(folder / name, kind)
    with pytest.raises(TP1Error, match=r"cannot read .*/model\.json|lacks its file model\.pt2"):
        load_predictor(str(folder))


def test_predictions_of_files_of_any_name_are_text(programs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m", programs / "three.pt2")
    (tmp_path / "photos").mkdir()
    names = set()

    @quick(40)
    @given(FILE_NAMES)
    def check(name):
        names.add(f"x{name}"[:60] + ".png")

    check()
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name, "PNG")
    for format in ("table", "csv", "json"):
        result = invoke("predict", "images=photos", "model=m", f"format={format}", "gallery=page.html")
        assert result.exit_code == 0, result.stderr
        assert all(letter.isprintable() or letter == "\n" for letter in result.stdout)
        if format == "csv":
            assert len(result.stdout.splitlines()) == len(names) + 1
        if format == "json":
            assert {row["image"].removeprefix("photos/") for row in json.loads(result.stdout)} == names
    os.mkfifo("photos/pipe.png")
    result = invoke("predict", "images=photos", "model=m")
    assert result.exit_code == 1
    assert result.stderr.endswith("could not be read: photos/pipe.png (it is no file). Mend or remove them.\n")


RECORDED = PROJECT / "reference" / "cifar10" / "cnnv3-s0"


def test_a_damaged_record_is_refused_or_the_same(tmp_path):
    """``tp1 import`` takes runs that somebody else has written down."""
    shutil.copytree(RECORDED, tmp_path / "record")
    files = {name: (RECORDED / name).read_bytes() for name in ("run.json", "metrics.json")}
    facts = json.loads(files["run.json"])
    wrong = [{key: value} for key in facts for value in (None, 7, [], {"a": 1}, [[1]], "", "\0", {"a": None})]
    changed = st.sampled_from(wrong).map(lambda change: json.dumps(facts | change).encode())

    @quick(40)
    @given(
        st.one_of(
            changed.map(lambda content: ("run.json", content)),
            *(mutated(content).map(partial(_pair, name)) for name, content in files.items()),
        )
    )
    def check(case):
        name, content = case
        (tmp_path / "record" / name).write_bytes(content)
        try:
            record = read_record(tmp_path / "record")
        except TP1Error as error:
            assert is_clear(error)
        else:
            assert record.run_id != ""
            assert all(type(value) is str for value in (record.params | record.tags).values())
        finally:
            (tmp_path / "record" / name).write_bytes(files[name])

    check()


def _pair(name: str, content: bytes) -> tuple[str, bytes]:
    return name, content


@pytest.mark.parametrize("value", ["{", "[]", "7", "null", '"x"', "[" * 100_000])
def test_recorded_digests_that_are_none_are_said(value):
    with pytest.raises(TP1Error, match=r"the tag tp1\.model_sha256 is damaged"):
        from_tag(value)


def test_a_data_set_below_a_file_or_of_a_name_too_long(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file/x", "x" * 5000, "./" + "x" * 300, "~nobody-of-this-name"):
        with pytest.raises(TP1Error, match="no data set"):
            find_source(name, tmp_path)
