"""Informativeness of messages, bias-corrected, with permutation nulls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from marl.metrics import consistency, information
from marl.metrics.measure import Measure, measured, undefined
from marl.study.language.encoding import MILLER_MADOW, ONE_MEANING, ONE_MESSAGE, SILENT, Code


def measures(code: Code) -> Iterator[Measure]:
    """Yield every measure of informativeness, defined or not."""
    yield measured(
        "entropy",
        code.entropy(code.message),
        unit="bits",
        n=code.size,
        correction=code.correction,
        plug_in=information.entropy(code.message),
        parts={str(j): code.entropy(x) for j, x in enumerate(code.positions, 1)},
    )
    yield _vocabulary(code)
    shared = mutual_information(code)
    yield shared
    yield _normalised(code, shared)
    yield _channel_use(code, shared)
    yield from _consistency(code)
    yield _context_independence(code)


def _vocabulary(code: Code) -> Measure:
    """2^H(symbol): the number of equally frequent symbols with the same entropy."""
    symbols = information.codes(symbol for message in code.messages for symbol in message)
    if not len(symbols):
        return undefined("effective_vocabulary", SILENT, unit="symbols", n=code.size)
    parts = {str(j): 2 ** information.entropy(x) for j, x in enumerate(code.positions, 1)}
    used = 2 ** information.entropy(symbols)
    return measured("effective_vocabulary", used, unit="symbols", n=len(symbols), parts=parts)


def mutual_information(code: Code) -> Measure:
    """I(meaning; message). No null if every meaning occurs once: shuffling changes nothing."""
    plain = information.mutual_information(code.meaning, code.message)
    if code.population and information.occurring(code.meaning) == code.size:
        return measured(
            "mutual_information",
            plain,
            unit="bits",
            n=code.size,
            correction=code.correction,
            plug_in=plain,
            note="every meaning occurs once: this is the entropy of the message, and shuffling would not change it",
        )
    statistic = information.mutual_information if code.population else information.mutual_information_corrected
    return code.tested(
        "mutual_information",
        lambda order: statistic(code.meaning, code.message[order]),
        unit="bits",
        correction=code.correction,
        plug_in=plain,
    )


def _normalised(code: Code, shared: Measure) -> Measure:
    """I(X; M) / min(H(X), H(M))."""
    whole = min(code.entropy(code.meaning), code.entropy(code.message))
    if shared.value is None or whole < 1e-9:
        why = ONE_MEANING if information.occurring(code.meaning) < 2 else ONE_MESSAGE
        return undefined("normalised_information", why, unit="share", n=code.size)
    return measured("normalised_information", shared.value / whole, unit="share", n=code.size)


def _channel_use(code: Code, shared: Measure) -> Measure:
    """I(X; M) over the bits that a message can carry to one listener."""
    name, unit = "channel_use", "share"
    symbols = {symbol for message in code.messages for symbol in message}
    capacities = [sample.capacity for sample in code.samples if sample.capacity is not None]
    if len(capacities) == code.size:
        capacity, note = sum(capacities) / len(capacities), "of the capacity that the channel reports"
    elif any(sample.width is not None for sample in code.samples):
        return undefined(name, "the channel does not know its capacity", unit=unit, n=code.size)
    elif len(symbols) > 1:
        capacity = len(code.positions) * float(np.log2(len(symbols)))
        note = "of length x log2 vocabulary, as far as they were seen"
    else:
        return undefined(name, SILENT if not symbols else "only one symbol was seen", unit=unit, n=code.size)
    if shared.value is None or capacity < 1e-9:
        return undefined(name, "the channel carries nothing", unit=unit, n=code.size)
    parts = {"information": shared.value, "capacity": capacity}
    return measured(name, shared.value / capacity, unit=unit, n=code.size, parts=parts, note=note)


def _consistency(code: Code) -> Iterator[Measure]:
    """Speaker consistency in both senses (Lowe, Jaques): a speaker's messages and its own next moves."""
    own = np.array([i for i, sample in enumerate(code.samples) if sample.own is not None], np.int64)
    if not len(own):
        why = "the speaker makes no move after its message"
        yield undefined("speaker_consistency_lowe", why, unit="bits")
        yield undefined("speaker_consistency_jaques", why)
        return
    act = information.codes(code.samples[i].own for i in own.tolist())
    message = code.message[own]
    yield code.tested(
        "speaker_consistency_lowe",
        lambda order: information.mutual_information_corrected(message[order], act),
        size=len(own),
        unit="bits",
        correction=MILLER_MADOW,
        plug_in=information.mutual_information(message, act),
    )
    yield code.tested(
        "speaker_consistency_jaques",
        lambda order: consistency.speaker_consistency(message[order], act),
        "it takes two different messages and two different moves",
        size=len(own),
    )


def _context_independence(code: Code) -> Measure:
    meant = [code.concepts[i] for i in code.few.tolist()]
    said = [code.messages[i] for i in code.few.tolist()]
    return code.tested(
        "context_independence",
        lambda order: consistency.context_independence(meant, [said[i] for i in order.tolist()]),
        ONE_MEANING if any(said) else SILENT,
        size=len(said),
    )


def by_position(code: Code) -> list[dict[str, Measure]]:
    """I(m_j; a_k) for each position and attribute, plug-in, with its null."""
    return [
        {
            name: code.tested(
                f"information {j} {name}",
                lambda order, part=part, attribute=attribute: information.mutual_information(part[order], attribute),  # type: ignore[misc]
                unit="bits",
            )
            for name, attribute in zip(code.names, code.attributes, strict=True)
        }
        for j, part in enumerate(code.positions, 1)
    ]
