"""Cached features that somebody has changed or removed are not taken, but computed again."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import invoke, write_folder
from tests.support.generated_cases import quick
from tests.support.hostile_files import mutated
from tp1.base.digests import digest
from tp1.data.dataset import load_data
from tp1.models.classifier import Preparation
from tp1.models.transfer import Trunk
from tp1.models.weights import IMAGENET_MEAN, IMAGENET_STD
from tp1.training.features import FeatureEntry


@pytest.fixture
def features(tmp_path) -> FeatureEntry:
    """Those of two classes of five images."""
    small = write_folder(tmp_path / "small", per_class=5, side=8, classes="ab")
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


@pytest.mark.parametrize("fault", ["removed", "emptied", "doubled"])
def test_features_that_are_removed_while_they_are_read_are_computed_again(features, fault):
    features.ensure()
    wanted = features.read(slice(0, 10))
    if fault == "removed":
        assert "freed" in invoke("cache", "--clear").output
    else:
        content = (features.path / "features.bin").read_bytes()
        (features.path / "features.bin").write_bytes({"emptied": b"", "doubled": content[:2560] + content}[fault])
    assert np.array_equal(features.read(slice(0, 10)), wanted)
