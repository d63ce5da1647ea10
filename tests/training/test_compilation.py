"""A compiled training step is the same training; what cannot be compiled is said at once."""

import shutil

import pytest
import torch

from tests.support.made_training import CONFIG, part
from tests.training.test_checkpoints import begin
from tp1.base.errors import TP1Error
from tp1.training.loop import train

TRAIN, VAL = part(40, seed=1), part(10, seed=2)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Nothing that was compiled before is found, and nothing is left for others."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    yield
    torch.compiler.reset()


@pytest.mark.long  # 5 seconds, for torch._inductor is large
@pytest.mark.usefixtures("own_cache")
def test_without_a_compiler_one_line_says_so_in_the_first_step():
    import torch._inductor.config as inductor

    state = begin(CONFIG.changed(dropout=0.0))
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(TP1Error) as caught:
        train(state, TRAIN, VAL, CONFIG.changed(compile="default"))
    assert "compile=default: torch cannot compile this network here (" in str(caught.value)
    assert "needs a C++ compiler" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert state.under_way.step == 0


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs a C++ compiler (g++)")
@pytest.mark.usefixtures("own_cache")
def test_a_compiled_step_gives_the_same_losses():
    """120 images in batches of 32: the last one, of 24, is not compiled."""
    found = {}
    for compile_ in ("none", "default"):
        config = CONFIG.changed(batch_size=32, dropout=0.0, augment="flip-crop", compile=compile_)
        state = begin(config)
        names = list(state.classifier.state_dict())
        train(state, TRAIN, VAL, config)
        assert list(state.classifier.state_dict()) == names
        found[compile_] = [(epoch.train_loss, epoch.val_loss) for epoch in state.history]
    torch.testing.assert_close(found["default"], found["none"], rtol=2e-3, atol=2e-3)
