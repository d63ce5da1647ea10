"""CNNV2: 16-32-64-128 filters with batch norm, and dropout in the dense layers (report section 1.3, figure 7).

Claims: after 25 epochs training loss 0.1583, accuracy 0.9444; validation loss 1.0673, accuracy 0.7504.
Repeat: mlflow run . -e cnnv2
"""

from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published
from tp1.models.networks import cnnv2
from tp1.recipe import Adam

experiment = Experiment(
    name="cnnv2",
    section="1.3",
    summary="Four convolution layers of 16 to 128 filters with batch norm; dropout 0.4 in the dense layers.",
    summary_pt="Quatro camadas de convolução de 16 a 128 filtros com batch norm; dropout 0.4 nas camadas densas.",
    model=cnnv2,
    config=TrainConfig(dataset="cifar10", epochs=25, optimizer=Adam(1e-3), dropout=0.4),
    published=Published(train_loss=0.1583, train_accuracy=0.9444, val_loss=1.0673, val_accuracy=0.7504),
    figures=(7,),
    minutes=5,
)
