"""MobileNetV2 from random weights on EuroSAT (report section 2.1, figures 13 and 14).

Claims: test accuracy, macro precision, recall and F1 0.95.
Repeat: mlflow run . -e mobilenetv2-scratch
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published
from tp1.models.networks import mobilenet_v2
from tp1.recipe import Adam

experiment = Experiment(
    name="mobilenetv2-scratch",
    section="2.1",
    summary="torchvision's MobileNetV2 from random weights.",
    summary_pt="A MobileNetV2 da torchvision, a partir de pesos aleatórios.",
    model=mobilenet_v2,
    # At EuroSAT's 64 pixels (last maps 2x2) and without augmentation, validation accuracy stopped at 0.90.
    # Depthwise convolutions are slower in bfloat16 on the CPU: 260 ms a step, against 179 in float32 (docs/LOG.md).
    config=TrainConfig(
        dataset="eurosat", image_size=96, augment="flip-crop", optimizer=Adam(1e-3), dropout=0.2, precision="fp32"
    ),
    published=Published(test_report=report("mobilenetv2-scratch")),
    figures=(13, 14),
    minutes=55,
)
