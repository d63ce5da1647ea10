"""EuroSAT, as torchvision downloads it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tp1.base.errors import TP1Error, why
from tp1.data.downloads import alone


def eurosat_folder(data_dir: Path) -> Path:
    """The folder of EuroSAT RGB (Helber et al. 2019), downloaded by torchvision if it is missing.

    It holds 27,000 images of 64x64 pixels in ten class folders.
    """
    folder = data_dir / "eurosat" / "2750"
    if not folder.is_dir():
        from torchvision.datasets import EuroSAT

        try:
            with alone(data_dir), TemporaryDirectory(dir=data_dir, prefix=".eurosat-") as fresh:
                if not folder.is_dir():  # torchvision takes any such folder as complete: rename only then
                    EuroSAT(fresh, download=True)
                    folder.parent.mkdir(exist_ok=True)
                    (Path(fresh) / "eurosat" / "2750").rename(folder)
        except (OSError, RuntimeError) as error:
            raise TP1Error(
                f"EuroSAT is not in {folder} and could not be downloaded ({why(error)}). Put its class folders there, "
                "or name its data directory with data_dir=."
            ) from error
    return folder
