"""AirNet on CIFAR-10: a network that learns quickly, in 16 epochs.

Repeat: mlflow run . -e airnet
"""

from tp1.config import TrainConfig
from tp1.experiment import Experiment
from tp1.models.networks import airnet
from tp1.recipe import Linear, Muon

experiment = Experiment(
    name="airnet",
    summary="Beyond the report: a network that learns quickly, with a whitened first layer, trained with Muon.",
    summary_pt="Para além do relatório: uma rede que aprende depressa, com a primeira camada branqueada e Muon.",
    model=airnet,
    config=TrainConfig(
        dataset="cifar10",
        epochs=16,
        batch_size=512,
        optimizer=Muon(0.06, weight_decay=0.1, adam_rate=8e-3),
        schedule=Linear(warmup=0.1),
        label_smoothing=0.1,
        augment="altflip-crop",
        tta="flip-translate",
    ),
    minutes=16,
)
