"""CNN base: three convolution layers of 8, 32 and 16 filters on CIFAR-10 (report section 1.2, figures 3 to 6).

Claims: training accuracy 0.69, validation accuracy 0.616, test accuracy 0.58 after 25 epochs.
Repeat: mlflow run . -e cnn-base
"""

from experiments.published import report
from tp1.config import TrainConfig
from tp1.experiment import Experiment, Published
from tp1.models.networks import cnn_base
from tp1.recipe import Adam

experiment = Experiment(
    name="cnn-base",
    section="1.2",
    summary="Three convolution layers of 8, 32 and 16 filters, and a dense layer.",
    summary_pt="Três camadas de convolução de 8, 32 e 16 filtros, e uma camada densa.",
    model=cnn_base,
    config=TrainConfig(dataset="cifar10", epochs=25, optimizer=Adam(1e-3)),
    published=Published(train_accuracy=0.69, val_accuracy=0.616, test_report=report("cnn-base")),
    figures=(3, 4, 5, 6),
    note="The report gives the filters alone; no padding, average pooling and a layer of 64 are chosen by its figures.",
    note_pt="O relatório só dá os filtros; a falta de padding, o average pooling e uma camada de 64 foram escolhidos "
    "pelos seus valores.",
    minutes=2,
)
