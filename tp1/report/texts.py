"""The fixed texts of the rebuilt report, in English and Portuguese."""

from typing import Any

from tp1.report.comparison import LATE, OVERFITTING_GAP, OVERFITTING_RISE, SLIGHT_GAP, SLIGHT_RISE
from tp1.report.examination_figures import WORDS as DIAGRAM_WORDS
from tp1.report.figures import WORDS

TEXTS: dict[str, dict[str, Any]] = {
    "en": {
        "suffix": "",  # of the fields of an experiment that hold texts in this language
        "title": "The report, rebuilt from tracked runs",
        "lead": (
            "Every table and figure below is made from runs in the tracking store, beside what was published in "
            "Aprendizagem Profunda Aplicada, Trabalho Prático 1 (Gonçalo Bastos and Leonardo Cordeiro, 2024). "
            "Choices are made on validation images; test images are read once, at the end. "
            "Validation figures are of the best validation epoch, whose weights were tested; where a published one is "
            "beside them, the difference is that of the last epoch, as in the report. "
            "Mean ± standard deviation over n seeds."
        ),
        "nearness": (
            "Mean absolute difference between measured and published accuracy: {difference:.4f}, over {count} of the "
            "{printed} accuracies that the report prints (training, validation and test)."
        ),
        "within": "within 2 SD",
        "within_rule": (
            "Within 2 SD: whether the published accuracy lies within our mean ± 2 standard deviations, of the seeds "
            "and of a share of that many images together. Not known: n = 1, and the seeds' part would decide."
        ),
        "answers": {True: "yes", False: "no", None: "not known"},
        "overview": "Overview",
        "overview_figure": "Published (ring) and measured (dot) accuracy. Bars: one standard deviation over seeds.",
        "overview_star": " *: not with the experiment's own parameters; the table says which.",
        "data": "Data",
        "samples": "Random training images of each class.",
        "distribution": "Images per class.",
        "channels": "Mean and standard deviation of the training images' channels, on a scale of 0 to 1.",
        "channel": "channel",
        "mean": "mean",
        "sd": "standard deviation",
        "experiment": "experiment",
        "dataset": "data",
        "metric": "metric",
        "published": "published",
        "measured": "measured",
        "difference": "difference",
        "validation": "validation accuracy",
        "test": "test accuracy",
        "validation_short": "validation",
        "test_short": "test",
        "f1": "macro F1",
        "n": "n",
        "seed": "seed",
        "seeds": "seeds",
        "epoch_time": "s per epoch",
        "parameters": "parameters",
        "remark": "remark",
        "published_remark": "published remark",
        "class": "class",
        "precision": "precision",
        "recall": "recall",
        "curves": "Loss and accuracy by epoch, training and validation; dashed: the best validation epoch.",
        "curves_n": "Loss and accuracy by epoch: mean over seeds, with a band of one standard deviation.",
        "curves_title": "Training",
        "classes_title": "By class",
        "pair": "true → predicted",
        "images": "images",
        "of_true_class": "of the true class",
        "back": "the other way round",
        "pairs": "The most confused pairs of classes.",
        "mistakes_title": "Most confident mistakes",
        "mistakes": (
            "The mistakes on test images that the model is surest of. Under each: what it is taken for, with this "
            "probability, and what it is in truth."
        ),
        "image": "image {index}",
        "in_truth": "in truth {true} ({probability:.3f})",
        "calibration": "Calibration",
        "reliability": (
            "How often the model is right when it is this sure. Expected calibration error (ECE) {error} "
            "(n = {n}, {bins} bins); the diagram is of the first run."
        ),
        "figures": WORDS,
        "diagram": {**DIAGRAM_WORDS, "confidence_short": "confidence", "mean": "mean"},
        "matrix": "Confusion matrix of the test images, seed {seed}.",
        "true": "true",
        "predicted": "predicted",
        "per_class": "Classification report of the test images.",
        "lowest": "The {shown} of {of} classes with the lowest F1; classification_report.csv of the run has all.",
        "compared": (
            "Accuracy and loss by epoch: mean over seeds, with a band of one standard deviation; validation as a line, "
            "training dotted."
        ),
        "epoch": "epoch",
        "accuracy": "accuracy",
        "loss": "loss",
        "share": "share correct",
        "nats": "nats",
        "parts": {"val": "validation", "train": "training", "band": "± 1 SD over seeds"},
        "parallel": "Parameters and validation accuracy: each line is one row.",
        "parallel_most": " The {shown} of {of} parameters with the most values.",
        "runs": "Runs",
        "run": "run",
        "best_epoch": "best epoch",
        "others": "The same experiment in other configurations or on other data:",
        "not_default": "Not the experiment's defaults: {what}.",
        "missing": "Not run yet. This makes it:",
        "missing_some": "Not all configurations were run yet. This runs the others:",
        "repeat": "Repeat it:",
        "sweep": "sweep of",
        "sweeps": "Sweeps",
        "searched": "varied",
        "trials": "trials",
        "finished": "finished",
        "pruned": "stopped early",
        "saved": "epochs saved",
        "best_trial": "best trial",
        "trial": "trial",
        "state": "state",
        "states": {"pruned": "stopped after epoch {epochs}"},
        "sweep_title": (
            "{name} on {dataset}: {trials} trials, {finished} finished, {pruned} stopped early; "
            "{saved:.0%} of their epochs saved."
        ),
        "sweep_best": "Best validation accuracy {accuracy:.4f} (test {test:.4f}), trial {number}: {values}.",
        "made": "How this was made",
        "rule": "Remarks follow a rule. ",
        "machine": "Processors of the runs: ",
        "made_by": "This page was made by ",
        "metrics": {
            "train/accuracy": "training accuracy, last epoch",
            "train/loss": "training loss, last epoch",
            "val/accuracy": "validation accuracy, last epoch",
            "val/loss": "validation loss, last epoch",
            "best/val_accuracy": "validation accuracy, best epoch",
            "best/val_loss": "validation loss, best epoch",
            "test/accuracy": "test accuracy",
            "test/precision_macro": "macro precision",
            "test/recall_macro": "macro recall",
            "test/f1_macro": "macro F1",
        },
        "remarks": {},
        "page": {
            "contents": "Contents",
            "link": "Link to this section",
            "copy": "copy",
            "copied": "copied",
            "filter": "Filter rows, such as: cnnv3 dropout=0.3",
            "show_all": "Show all",
            "hide_all": "Hide all",
            "hide": "Hide this row",
            "shown": "{shown} of {of} rows",
        },
    },
    "pt": {
        "suffix": "_pt",
        "title": "O relatório, reconstruído a partir das experiências registadas",
        "lead": (
            "Cada tabela e figura é feita a partir de experiências registadas, ao lado do que foi publicado em "
            "Aprendizagem Profunda Aplicada, Trabalho Prático 1 (Gonçalo Bastos e Leonardo Cordeiro, 2024). "
            "As escolhas são feitas nas imagens de validação; as de teste são lidas uma só vez, no fim. "
            "A validação é a da melhor época, cujos pesos foram testados; a diferença da publicada é a da última "
            "época, como no relatório. "
            "Média ± desvio padrão sobre n sementes."
        ),
        "nearness": (
            "Diferença absoluta média entre a exatidão medida e a publicada: {difference:.4f}, sobre {count} das "
            "{printed} exatidões que o relatório indica (treino, validação e teste)."
        ),
        "within": "a menos de 2 DP",
        "within_rule": (
            "A menos de 2 DP: se a exatidão publicada está a menos de 2 desvios padrão da nossa média, os das sementes "
            "e de uma proporção de tantas imagens em conjunto. Desconhecido: n = 1, e decidiria a parte das sementes."
        ),
        "answers": {True: "sim", False: "não", None: "desconhecido"},
        "overview": "Resumo",
        "overview_figure": "Exatidão publicada (anel) e medida (ponto). Barras: um desvio padrão sobre as sementes.",
        "overview_star": " *: com outros parâmetros que os da experiência; a tabela diz quais.",
        "data": "Dados",
        "samples": "Imagens de treino de cada classe, ao acaso.",
        "distribution": "Imagens por classe.",
        "channels": "Média e desvio padrão dos canais das imagens de treino, numa escala de 0 a 1.",
        "channel": "canal",
        "mean": "média",
        "sd": "desvio padrão",
        "experiment": "experiência",
        "dataset": "dados",
        "metric": "métrica",
        "published": "publicado",
        "measured": "medido",
        "difference": "diferença",
        "validation": "exatidão de validação",
        "test": "exatidão de teste",
        "validation_short": "validação",
        "test_short": "teste",
        "f1": "F1 macro",
        "n": "n",
        "seed": "semente",
        "seeds": "sementes",
        "epoch_time": "s por época",
        "parameters": "parâmetros",
        "remark": "observação",
        "published_remark": "observação publicada",
        "class": "classe",
        "precision": "precisão",
        "recall": "sensibilidade",
        "curves": "Perda e exatidão por época, treino e validação; a tracejado: a melhor época de validação.",
        "curves_n": "Perda e exatidão por época: média sobre as sementes, com uma faixa de um desvio padrão.",
        "curves_title": "Treino",
        "classes_title": "Por classe",
        "pair": "verdadeira → prevista",
        "images": "imagens",
        "of_true_class": "da classe verdadeira",
        "back": "em sentido contrário",
        "pairs": "Os pares de classes mais confundidos.",
        "mistakes_title": "Os erros mais confiantes",
        "mistakes": (
            "Os erros em imagens de teste de que o modelo está mais seguro. Por baixo de cada uma: a classe prevista, "
            "com esta probabilidade, e a verdadeira."
        ),
        "image": "imagem {index}",
        "in_truth": "na verdade {true} ({probability:.3f})",
        "calibration": "Calibração",
        "reliability": (
            "Com que frequência o modelo acerta quando tem esta confiança. Erro de calibração esperado (ECE) {error} "
            "(n = {n}, {bins} intervalos); o diagrama é o da primeira execução."
        ),
        "figures": {
            "epoch": "época",
            "loss": "Perda",
            "accuracy": "Exatidão",
            "cross entropy": "entropia cruzada, nats",
            "share": "proporção correta",
            "nats": "nats",
            "training": "treino",
            "validation": "validação",
            "best": "melhor época ({epoch})",
            "others": "{count} outras",
            "true": "verdadeira",
            "predicted": "prevista",
            "of true": "proporção da classe verdadeira",
            "images": "imagens",
            "train": "treino",
            "test": "teste",
        },
        "diagram": {
            "sure": "tão seguro como certo",
            "in_bin": "exatidão num intervalo",
            "gap": "diferença",
            "accuracy": "proporção correta",
            "images": "imagens",
            "confidence": "confiança: probabilidade da classe prevista",
            "confidence_short": "confiança",
            "mean": "média",
        },
        "matrix": "Matriz de confusão das imagens de teste, semente {seed}.",
        "true": "verdadeira",
        "predicted": "prevista",
        "per_class": "Relatório de classificação das imagens de teste.",
        "lowest": "As {shown} de {of} classes com o menor F1; classification_report.csv da execução tem todas.",
        "compared": (
            "Exatidão e perda por época: média sobre as sementes, com uma faixa de um desvio padrão; validação como "
            "linha, treino a pontilhado."
        ),
        "epoch": "época",
        "accuracy": "exatidão",
        "loss": "perda",
        "share": "proporção correta",
        "nats": "nats",
        "parts": {"val": "validação", "train": "treino", "band": "± 1 DP sobre as sementes"},
        "parallel": "Parâmetros e exatidão de validação: cada linha do gráfico é uma linha da tabela.",
        "parallel_most": " Os {shown} de {of} parâmetros com mais valores.",
        "runs": "Execuções",
        "run": "execução",
        "best_epoch": "melhor época",
        "others": "A mesma experiência noutras configurações ou com outros dados:",
        "not_default": "Não são os valores por omissão da experiência: {what}.",
        "missing": "Ainda não foi executada. Este comando executa-a:",
        "missing_some": "Nem todas as configurações foram executadas. Este comando executa as restantes:",
        "repeat": "Para repetir:",
        "sweep": "procura em",
        "sweeps": "Procuras de hiperparâmetros",
        "searched": "variados",
        "trials": "ensaios",
        "finished": "terminados",
        "pruned": "interrompidos cedo",
        "saved": "épocas poupadas",
        "best_trial": "melhor ensaio",
        "trial": "ensaio",
        "state": "estado",
        "states": {
            "pruned": "interrompido após a época {epochs}",
            "finished": "terminado",
            "incomplete": "incompleto",
            "failed": "falhou",
            "killed": "interrompido à força",
            "running": "em curso",
            "scheduled": "agendado",
        },
        "sweep_title": (
            "{name} em {dataset}: {trials} ensaios, {finished} terminados, {pruned} interrompidos cedo; "
            "{saved:.0%} das suas épocas poupadas."
        ),
        "sweep_best": "Melhor exatidão de validação {accuracy:.4f} (teste {test:.4f}), ensaio {number}: {values}.",
        "made": "Como isto foi feito",
        "rule": "As observações seguem uma regra. ",
        "rule_text": (
            f"sobreajuste: na última época, a exatidão de treino está {OVERFITTING_GAP:.2f} ou mais acima da de "
            f"validação, ou a perda de validação é {OVERFITTING_RISE:g} vezes a da melhor época ou mais; ligeiro "
            f"sobreajuste: {SLIGHT_GAP:.2f}, ou {SLIGHT_RISE:g} vezes; senão subajuste: a exatidão de treino está "
            f"abaixo da de validação e a melhor época está entre os últimos {1 - LATE:.0%}; forte subajuste: está "
            f"{SLIGHT_GAP:.2f} ou mais abaixo; senão equilibrado. Os valores de treino são medidos enquanto os pesos "
            "mudam, com dropout e aumento de dados."
        ),
        "machine": "Processadores das execuções: ",
        "made_by": "Esta página foi feita por ",
        "metrics": {
            "train/accuracy": "exatidão de treino, última época",
            "train/loss": "perda de treino, última época",
            "val/accuracy": "exatidão de validação, última época",
            "val/loss": "perda de validação, última época",
            "best/val_accuracy": "exatidão de validação, melhor época",
            "best/val_loss": "perda de validação, melhor época",
            "test/accuracy": "exatidão de teste",
            "test/precision_macro": "precisão macro",
            "test/recall_macro": "sensibilidade macro",
            "test/f1_macro": "F1 macro",
        },
        "remarks": {
            "overfitting": "sobreajuste",
            "slight overfitting": "ligeiro sobreajuste",
            "underfitting": "subajuste",
            "strong underfitting": "forte subajuste",
            "balanced": "equilibrado",
        },
        "page": {
            "contents": "Conteúdo",
            "link": "Ligação a esta secção",
            "copy": "copiar",
            "copied": "copiado",
            "filter": "Filtrar linhas, por exemplo: cnnv3 dropout=0.3",
            "show_all": "Mostrar todas",
            "hide_all": "Esconder todas",
            "hide": "Esconder esta linha",
            "shown": "{shown} de {of} linhas",
        },
    },
}
