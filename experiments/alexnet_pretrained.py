"""AlexNet with frozen convolutions on EuroSAT (report section 2.1, figures 15 and 16).

Claims: test accuracy, macro precision, recall and F1 0.93.
Repeat: mlflow run . -e alexnet-pretrained
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published, Transfer
from tp1.recipe import Adam

# 224 pixels give the 6x6 maps that the dense layers take: 54.5 million parameters, slow to train.
config = TrainConfig(
    dataset="eurosat", weights="imagenet", image_size=224, epochs=10, batch_size=128, optimizer=Adam(1e-4), dropout=0.5
)
experiment = Experiment(
    name="alexnet-pretrained",
    section="2.1",
    summary="AlexNet, its convolutions frozen, its last layer replaced.",
    summary_pt="AlexNet com as convoluções congeladas e a última camada substituída.",
    model=Transfer("alexnet, frozen", trunks=("alexnet",), side=6, head="alexnet"),
    config=config,
    published=Published(test_report=report("alexnet-pretrained")),
    figures=(15, 16),
    minutes=12,
)
