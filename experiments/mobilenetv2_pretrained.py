"""MobileNetV2 with frozen convolutions on EuroSAT (report section 2.1, figures 17 and 18).

Claims: test accuracy, macro precision, recall and F1 0.94.
Repeat: mlflow run . -e mobilenetv2-pretrained
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published, Transfer
from tp1.recipe import Adam

experiment = Experiment(
    name="mobilenetv2-pretrained",
    section="2.1",
    summary="MobileNetV2, its convolutions frozen, its last layer replaced.",
    summary_pt="MobileNetV2 com as convoluções congeladas e a última camada substituída.",
    model=Transfer("mobilenet_v2, frozen", trunks=("mobilenet_v2",), side=1, head="linear"),
    # The ImageNet weights were trained at 224 pixels. Adam at 1e-3, because the single dense layer learns slowly.
    config=TrainConfig(dataset="eurosat", weights="imagenet", image_size=224, optimizer=Adam(1e-3), dropout=0.2),
    published=Published(test_report=report("mobilenetv2-pretrained")),
    figures=(17, 18),
    minutes=6,
)
