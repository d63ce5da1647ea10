"""TP1: an MLflow-tracked experiment platform for image classification.

Data flows one way::

    experiment -> data -> model -> training -> evaluation -> tracking
"""

__version__ = "0.1.0"
