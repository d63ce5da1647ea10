"""Evaluations of stored models side by side: in the comparison, the report and the model card."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tp1.data.corruptions import CORRUPTIONS
from tp1.report.markdown import escape_markdown
from tp1.report.page import Block, Inline, Number, Paragraph, Section, Table
from tp1.report.tables import number

MOST_ROWS = 100  # of a table
HEADING, THIS_MODEL = "## Examined", "this model"  # in a model card
TEXTS: dict[str, dict[str, Any]] = {
    "en": {
        "title": "Stored models examined",
        "lead": "The newest evaluation of each model (mlflow run . -e evaluate), with 95 % bootstrap intervals; harder "
        "images after Hendrycks and Dietterich 2019, over all kinds and strengths.",
        "columns": "model|data set|part|images|accuracy|interval|ECE|Brier|on harder images|hardest",
        "champion": "champion",
        "rest": "{shown} of {of} are shown.",
        "parts": {},
        "kinds": {},
    },
    "pt": {
        "title": "Modelos guardados examinados",
        "lead": "A avaliação mais recente de cada modelo (mlflow run . -e evaluate), com intervalos bootstrap de 95 %; "
        "imagens mais difíceis segundo Hendrycks e Dietterich 2019, sobre todos os tipos e intensidades.",
        "columns": "modelo|dados|parte|imagens|exatidão|intervalo|ECE|Brier|em imagens mais difíceis|pior",
        "champion": "campeão",
        "rest": "Mostram-se {shown} de {of}.",
        "parts": {"test": "teste", "val": "validação", "train": "treino", "all": "todas"},
        "kinds": {
            "noise": "ruído",
            "blur": "desfocagem",
            "brightness": "brilho",
            "contrast": "contraste",
            "shift": "deslocação",
            "rotation": "rotação",
        },
    },
}


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, as its run in a tracking store has it.

    Attributes:
        model: What the model is called.
        program: SHA-256 of its program: which model it is, by its content.
        dataset, data_digest, split_digest, part: What it was examined on.
        images: How many images that was.
        start_time: Milliseconds since 1970, UTC.
        metrics: ``eval/...`` by name.
        champion: Whether the model is the champion of the data set.
    """

    model: str
    program: str
    dataset: str
    data_digest: str
    split_digest: str
    part: str
    images: int
    start_time: int
    metrics: Mapping[str, float] = field(repr=False)
    champion: bool = False

    @property
    def on(self) -> tuple[str, str, str, str, int]:
        """What it was examined on: two with the same can be compared."""
        return self.dataset, self.data_digest, self.split_digest, self.part, self.images

    @property
    def robustness(self) -> float | None:
        """The mean corruption accuracy; None if it was not measured."""
        return self.metrics.get("eval/corruption_accuracy")

    @property
    def hardest(self) -> str:
        """The kind of corruption with the lowest accuracy; empty unless all were measured."""
        found = {kind: self.metrics[key] for kind in CORRUPTIONS if (key := f"eval/corruption/{kind}") in self.metrics}
        return min(found, key=lambda kind: found[kind]) if len(found) == len(CORRUPTIONS) else ""


def newest_of_each(evaluations: Iterable[Evaluated]) -> list[Evaluated]:
    """Keep one evaluation of each model on the same images: the newest, of those with harder images if there are any.

    They are sorted by data set, then by accuracy.
    """
    kept: dict[tuple[object, ...], Evaluated] = {}
    for one in sorted(evaluations, key=lambda one: (one.robustness is not None, one.start_time)):
        kept[one.program, *one.on] = one
    return sorted(kept.values(), key=lambda one: (one.on, -one.metrics["eval/accuracy"]))


def evaluations_section(evaluations: Sequence[Evaluated], language: str = "en") -> Section:
    """Return the section that shows them side by side.

    Args:
        evaluations: As :func:`newest_of_each` returns them, at least one.
        language: ``en`` or ``pt``.
    """
    texts = TEXTS[language]
    rows: list[list[Inline]] = [
        [
            f"{one.model} ({texts['champion']})" if one.champion else one.model,
            one.dataset,
            texts["parts"].get(one.part, one.part),
            Number(f"{one.images:,}", one.images),
            number(one.metrics["eval/accuracy"]),
            _interval(one.metrics, "accuracy"),
            number(one.metrics["eval/ece"]),
            number(one.metrics["eval/brier"]),
            number(one.robustness),
            texts["kinds"].get(one.hardest, one.hardest) or "–",
        ]
        for one in evaluations[:MOST_ROWS]
    ]
    rest = texts["rest"].format(shown=MOST_ROWS, of=len(evaluations)) if len(evaluations) > MOST_ROWS else ""
    blocks: list[Block] = [Paragraph([texts["lead"]]), Table(texts["columns"].split("|"), rows, rest)]
    return Section("evaluations", texts["title"], blocks)


def _interval(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[f'eval/{name}_low']:.4f}–{metrics[f'eval/{name}_high']:.4f}"


def is_examined(card: str) -> bool:
    """Whether a model card, which may be cut at a line's end, has the model's row of :func:`with_examined`."""
    return f"\n| {THIS_MODEL} |" in card


def with_examined(card: str, own: Evaluated, others: Iterable[Evaluated]) -> str:
    """Return a model card with a section on calibration and harder images, in place of one that it may have.

    Args:
        card: Markdown.
        own: The model's own evaluation.
        others: Of any models; the most accurate other one on the same images stands beside it.
    """
    rivals = [one for one in newest_of_each(others) if one.on == own.on and one.program != own.program]
    rows = [(THIS_MODEL, own), *((f"best other: {one.model}", one) for one in rivals[:1])]
    lines = [
        HEADING,
        "",
        f"On {own.images:,} {own.part} images; harder ones after Hendrycks and Dietterich 2019, of all kinds.",
        "",
        "| model | accuracy | 95 % interval | calibration error | Brier score | on harder images | hardest |",
        "|---|---:|---|---:|---:|---:|---|",
    ]
    for title, one in rows:
        cells = [
            escape_markdown(title),
            f"{one.metrics['eval/accuracy']:.4f}",
            _interval(one.metrics, "accuracy"),
            f"{one.metrics['eval/ece']:.4f}",
            f"{one.metrics['eval/brier']:.4f}",
            "–" if one.robustness is None else f"{one.robustness:.4f}",
            one.hardest or "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    section = "\n".join(lines) + "\n\n"
    bare = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", card, flags=re.DOTALL | re.MULTILINE)
    place = re.search(r"^## Training$", bare, re.MULTILINE)
    at = place.start() if place else len(bare)
    return f"{bare[:at].rstrip()}\n\n{section}{bare[at:]}".rstrip() + "\n"
