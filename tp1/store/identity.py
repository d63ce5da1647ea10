"""What a run is, however it was spelled: the one place that decides whether two runs are the same configuration.

``compare``, ``report``, ``promote`` and ``seeds=`` all use it.
"""

from dataclasses import dataclass

from tp1.config import HYPERPARAMETERS, TrainConfig, differences, hyperparameters
from tp1.store.runs import TrackedRun

# Spelled in several ways: the digests of the data and of the weights, and the pixels, say which they are.
SPELLED = ("dataset", "weights", "image_size")


@dataclass(frozen=True)
class Identity:
    """Resolved values: two runs with the same identity differ in their seed, their place and their machine alone.

    Attributes:
        experiment, configuration: Tags of the run.
        dataset: The data set's name.
        data_digest, split_digest: Of the files' content, and of the names in each part.
        image_size: Pixels per side that the network sees, as tracked.
        weights: The digest of the weights that it started from; as spelled where no digest was tracked.
        others: The other hyperparameters, in the order of :data:`~tp1.config.HYPERPARAMETERS`.
    """

    experiment: str
    configuration: str
    dataset: str
    data_digest: str
    split_digest: str
    image_size: object
    weights: str
    others: tuple[object, ...]


def identity(run: TrackedRun) -> Identity:
    """The identity of a run."""
    values = hyperparameters(run.params)
    spelled = str(values["weights"])
    return Identity(
        experiment=run.experiment,
        configuration=run.configuration,
        dataset=run.dataset,
        data_digest=run.data_digest,
        split_digest=run.split_digest,
        image_size=values["image_size"],
        weights=run.params.get("weights_digest", spelled) if have_digest(spelled) else spelled,
        others=tuple(values[name] for name in HYPERPARAMETERS if name not in SPELLED),
    )


def sources_of(weights: str) -> list[str]:
    """The sources that the parameter ``weights`` names."""
    return [source.strip() for source in weights.split(",")]


def have_digest(weights: str) -> bool:
    """Whether a digest tells the weights apart: untrained ones are drawn from the seed, and differ with it."""
    return "none" not in sources_of(weights)


def differing(config: TrainConfig, run: TrackedRun) -> dict[str, str | float | None]:
    """The run's hyperparameters that differ from ``config``, as tracked.

    An ``image_size`` of None in ``config`` is the data set's own.
    """
    return differences(config, run.params, run.image_side or None)
