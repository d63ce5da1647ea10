"""CNNV3: five convolution blocks up to 512 filters, dropout rising to 0.5 (report section 1.4, figures 8 and 9).

Claims: training accuracy 0.88, validation loss 0.6, accuracy 0.80; test accuracy 0.80, macro F1 0.80.
Repeat: mlflow run . -e cnnv3
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published
from tp1.models.networks import cnnv3
from tp1.recipe import Adam

experiment = Experiment(
    name="cnnv3",
    section="1.4",
    summary="Five convolution blocks of 32 to 512 filters; dropout rising from 0.2 to 0.5; weight decay.",
    summary_pt="Cinco blocos de convolução de 32 a 512 filtros; dropout crescente de 0.2 a 0.5; weight decay.",
    model=cnnv3,
    config=TrainConfig(dataset="cifar10", epochs=25, optimizer=Adam(1e-3, weight_decay=1e-4), dropout=0.5),
    published=Published(train_accuracy=0.88, val_loss=0.6, val_accuracy=0.80, test_report=report("cnnv3")),
    figures=(8, 9),
    minutes=12,
)
