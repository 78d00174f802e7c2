"""Form of messages: compositional structure, dictionary, morphemes and lengths of a code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from marl.metrics import compositionality as structure
from marl.metrics import information, morphemes, reconstruction
from marl.metrics.information import Codes
from marl.metrics.measure import Measure, measured, undefined
from marl.metrics.probe import Probe, compact
from marl.metrics.zipf import FEWEST, Abbreviation, zipf
from marl.study.data.result import Morpheme, Word
from marl.study.language.encoding import ONE_MEANING, ONE_MESSAGE, SILENT, Code


def measures(code: Code, inventory: Sequence[morphemes.FormMeaning]) -> Iterator[Measure]:
    """Yield every measure of structure, defined or not."""
    yield _topography(code)
    yield from _disentanglement(code)
    yield _reconstruction(code)
    yield _conflicts(code)
    yield _best_matching(code)
    yield _probe(code)
    yield from _inventory(code, inventory)
    yield _zipf(code)
    yield _abbreviation(code)


def _constant(code: Code) -> str:
    """Return why the structure of a code is undefined; empty if it is defined."""
    if information.occurring(code.meaning) < 2:
        return ONE_MEANING
    if not any(code.messages):
        return SILENT
    return ONE_MESSAGE if information.occurring(code.message) < 2 else ""


def _topography(code: Code) -> Measure:
    topography = structure.Topography(code.vectors, code.messages, seed=code.seed)
    why = _constant(code) or "all pairs of meanings, or of messages, are equally far apart"
    note = f"over {topography.pairs} of {topography.all} pairs, Hamming and edit distance"
    interval = topography.interval()
    return code.tested("topographic_similarity", topography.similarity, why, unit="rho", interval=interval, note=note)


def _disentanglement(code: Code) -> Iterator[Measure]:
    why = _constant(code) or "it takes two attributes that vary"
    bags = structure.bags(code.messages)
    for name, parts in (("positional_disentanglement", code.positions), ("bag_disentanglement", bags)):

        def statistic(order: Codes, parts: Sequence[Codes] = parts) -> float | None:
            return structure.disentanglement([part[order] for part in parts], code.attributes)

        yield code.tested(name, statistic, why)


def _reconstruction(code: Code) -> Measure:
    """TRE over symbols at positions, and over bags of symbols."""
    name, unit = "tree_reconstruction_error", "share"
    if why := _constant(code):
        return undefined(name, why, unit=unit, n=code.size)
    bag = reconstruction.CompositionFit(code.vectors, reconstruction.in_bags(code.messages)).error()
    placed = reconstruction.CompositionFit(code.vectors, reconstruction.at_positions(code.messages))
    return code.tested(name, placed.error, unit=unit, less=True, parts={"positions": placed.error(), "bags": bag})


def _conflicts(code: Code) -> Measure:
    name, unit, attributes = "conflicts", "share", len(code.names)
    why = _constant(code)
    if not why and len(code.positions) < attributes:
        why = f"with {len(code.positions)} positions not each of {attributes} attributes has one of its own"
    if why:
        return undefined(name, why, unit=unit, n=code.size)

    def share(order: Codes) -> float | None:
        count = reconstruction.conflicts(code.attributes, [part[order] for part in code.positions])
        return None if count is None else count / (code.size * attributes)

    count = reconstruction.conflicts(code.attributes, code.positions)
    return code.tested(name, share, unit=unit, less=True, parts={"count": count})


def _best_matching(code: Code) -> Measure:
    """Best matching for symbols and for symbols at positions: the better of the two."""
    if why := _constant(code):
        return undefined("best_matching", why, unit="share", n=code.size)
    meant = reconstruction.indicators(code.attributes)
    shares = {kind: reconstruction.best_matching(words, meant)[0] for kind, words in _words(code).items()}
    kind = _better(shares)
    words = _words(code)[kind]
    return code.tested(
        "best_matching",
        lambda order: reconstruction.best_matching(words[order], meant)[0],
        unit="share",
        parts={**shares},
        note=f"the dictionary is of {kind}",
    )


def _words(code: Code) -> dict[str, reconstruction.Array]:
    return {
        "symbols": reconstruction.in_bags(code.messages),
        "symbols at positions": reconstruction.at_positions(code.messages),
    }


def _better(shares: dict[str, float]) -> str:
    return max(shares, key=lambda kind: (round(shares[kind], 9), kind == "symbols"))


def dictionary(code: Code) -> list[Word]:
    """Return the dictionary: the best one-to-one matching of symbols and concepts."""
    if _constant(code):
        return []
    meant = reconstruction.indicators(code.attributes)
    matchings = {kind: reconstruction.best_matching(words, meant) for kind, words in _words(code).items()}
    kind = _better({kind: share for kind, (share, _) in matchings.items()})
    bag = sorted({symbol for message in code.messages for symbol in message})
    placed = [
        f"{symbol or '(nothing)'} at {j}"
        for j, part in enumerate(zip(*_filled(code), strict=True), 1)
        for symbol in dict.fromkeys(part)
    ]
    words = bag if kind == "symbols" else placed
    concepts = [c for column in zip(*code.concepts, strict=True) for c in dict.fromkeys(column)]
    return [
        Word(symbol=words[m.word], concept=concepts[m.concept], share=m.together / m.uses, uses=m.uses)
        for m in sorted(matchings[kind][1], key=lambda m: (-m.together, m.word))
    ]


def _filled(code: Code) -> list[tuple[str, ...]]:
    longest = len(code.positions)
    return [(*message, *("",) * (longest - len(message))) for message in code.messages]


def _probe(code: Code) -> Measure:
    """Held-out accuracy of a linear probe minus that of the majority guess, mean over attributes."""
    name, unit = "probe", "share"
    if why := _constant(code):
        return undefined(name, why, unit=unit, n=code.size)
    meaning = np.unique(code.meaning[code.few], return_inverse=True)[1].reshape(-1)
    features = compact(reconstruction.at_positions([code.messages[i] for i in code.few.tolist()]))
    attributes = [attribute[code.few] for attribute in code.attributes]
    probe = Probe(features, meaning, seed=code.seed)

    def gain(order: Codes) -> float:
        # Which message goes with which meaning is shuffled by shuffling meanings as wholes over messages.
        other = Probe(features[order], meaning, seed=code.seed)
        return float(np.mean([other.gain(attribute) for attribute in attributes]))

    parts = {called: probe.gain(a) for called, a in zip(code.names, attributes, strict=True)}
    note = "accuracy on meanings that the probe was not fitted to, less that of always guessing the most frequent value"
    return code.tested(name, gain, unit=unit, size=len(meaning), parts=parts, note=note)


def inventory(code: Code) -> list[morphemes.FormMeaning]:
    """Return the morphemes of a code; none where it has no structure, or too many pairs of a form and a meaning."""
    if _constant(code) or too_many_pairs(code):
        return []
    return morphemes.inventory(*_few(code))


def too_many_pairs(code: Code) -> str:
    """Return why morphemes are left out; empty if they are not."""
    pairs = morphemes.size(*_few(code))
    if pairs <= morphemes.MOST_PAIRS:
        return ""
    return f"left out: up to {pairs} pairs of a form and a meaning are more than {morphemes.MOST_PAIRS}"


def _few(code: Code) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the concepts and messages that costly measures look at."""
    chosen = code.few.tolist()
    return [code.concepts[i] for i in chosen], [code.messages[i] for i in chosen]


def listed(inventory: Sequence[morphemes.FormMeaning]) -> list[Morpheme]:
    """Convert a morpheme inventory to the data model of study.json."""
    return [Morpheme(form=" ".join(m.form), meaning=" ".join(m.meaning), bits=m.bits, uses=m.uses) for m in inventory]


def _inventory(code: Code, inventory: Sequence[morphemes.FormMeaning]) -> Iterator[Measure]:
    uses = sum(morpheme.uses for morpheme in inventory)
    synonymy, polysemy = morphemes.synonymy(inventory), morphemes.polysemy(inventory)
    if synonymy is None or polysemy is None:
        why = _constant(code) or too_many_pairs(code) or "no form goes with any meaning"
        for name, unit in (("morphemes", "morphemes"), ("synonymy", "bits"), ("polysemy", "bits")):
            yield undefined(name, why, unit=unit, n=code.size)
        return
    yield measured("morphemes", len(inventory), unit="morphemes", n=uses)
    yield measured("synonymy", synonymy, unit="bits", n=uses)
    yield measured("polysemy", polysemy, unit="bits", n=uses)


def _zipf(code: Code) -> Measure:
    words = [symbol for message in code.messages for symbol in message]
    fit = zipf(words)
    if fit is None:
        different = len(set(words))
        why = f"{different} different symbols are too few" if different < FEWEST else "all symbols are equally frequent"
        return undefined("zipf_slope", why, n=len(words))
    return measured("zipf_slope", fit.slope, n=len(words), parts={"explained": fit.explained})


def _abbreviation(code: Code) -> Measure:
    law = Abbreviation(code.messages)
    why = "all messages are equally long" if np.ptp(law.lengths) == 0 else "all messages are equally frequent"
    parts = {"mean length": law.mean_length(), "shortest possible": law.shortest}
    if len(code.positions) == 0:
        why = SILENT
    return code.tested("abbreviation", law.correlation, why, size=law.size, unit="rho", less=True, parts=parts)
