"""LandNet on EuroSAT: MobileNetV2 from ImageNet weights. Repeat: mlflow run . -e landnet"""

from tp1.config import TrainConfig
from tp1.experiment import Experiment
from tp1.models.networks import mobilenet_v2
from tp1.recipe import Adam, Linear

experiment = Experiment(
    name="landnet",
    summary="Beyond the report: MobileNetV2 from ImageNet weights, all layers trained further.",
    summary_pt="Para além do relatório: MobileNetV2 com pesos da ImageNet, todas as camadas treinadas.",
    model=mobilenet_v2,
    # Land seen from above has no up. Depthwise convolutions are slower in bfloat16 on the CPU (docs/LOG.md).
    config=TrainConfig(
        dataset="eurosat",
        weights="imagenet",
        image_size=96,
        epochs=6,
        optimizer=Adam(1e-3),
        schedule=Linear(warmup=0.1),
        dropout=0.2,
        label_smoothing=0.1,
        augment="flip-rotate",
        tta="flip",
        precision="fp32",
    ),
    minutes=15,
)
