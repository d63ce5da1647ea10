"""Middle fusion of frozen AlexNet and MobileNetV2 on EuroSAT (report section 2.2, figures 19 to 21).

Claims: test accuracy, macro precision, recall and F1 0.95.
Repeat: mlflow run . -e fusion
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published, Transfer
from tp1.recipe import Adam

experiment = Experiment(
    name="fusion",
    section="2.2",
    summary="Features of both frozen networks, MobileNetV2's pooled to AlexNet's size, stacked; a new classifier.",
    summary_pt="Características de ambas as redes congeladas, as da MobileNetV2 reduzidas ao tamanho das da "
    "AlexNet e empilhadas; um classificador novo.",
    model=Transfer("fusion", trunks=("alexnet", "mobilenet_v2"), side=None, head="fusion"),
    # The trunks were trained at 224 pixels, which give 6x6 maps; stacked, all 27,000 images take 3 GB as float16.
    config=TrainConfig(dataset="eurosat", weights="imagenet", image_size=224, optimizer=Adam(1e-4), dropout=0.5),
    published=Published(test_report=report("fusion")),
    figures=(19, 20, 21),
    minutes=30,
)
