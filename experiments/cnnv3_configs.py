"""CNNV3 with four configurations of learning rate, dropout and weight decay (report section 1.5, table 2).

Table 2 gives one dropout rate each: it is used in all blocks alike, where ``cnnv3`` itself has rising rates.
Claims: validation accuracy 0.8313, 0.8223, 0.7848 and 0.7069, in this order.
Repeat: mlflow run . -e cnnv3-configs -P seeds=0,1
"""

from dataclasses import replace

from experiments.cnnv3 import experiment as cnnv3
from tp1.experiment import Published, Study
from tp1.models.networks import cnnv3_one_rate

TABLE = (  # learning rate, dropout, weight decay, published result
    (1e-3, 0.3, 1e-4, Published(val_accuracy=0.8313, remark="good balance, least overfitting")),
    (5e-4, 0.4, 5e-4, Published(val_accuracy=0.8223, remark="overfitting well controlled, slight underfitting")),
    (1e-4, 0.3, 1e-4, Published(val_accuracy=0.7848, remark="underfitting, learning rate too low")),
    (1e-4, 0.5, 5e-4, Published(val_accuracy=0.7069, remark="strong underfitting, too much regularisation")),
)

experiment = Study.of(
    replace(cnnv3, model=cnnv3_one_rate),
    name="cnnv3-configs",
    section="1.5",
    summary="CNNV3 with four configurations of learning rate, dropout and weight decay.",
    summary_pt="A CNNV3 com quatro configurações de taxa de aprendizagem, dropout e weight decay.",
    configurations=[
        (cnnv3.config.changed(learning_rate=rate, dropout=dropout, weight_decay=decay), published)
        for rate, dropout, decay, published in TABLE
    ],
)
