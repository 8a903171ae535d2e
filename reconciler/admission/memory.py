"""How much memory a piece of work is charged: from its model's size, from what was declared, from what earlier work was measured to need.

Pure. The policy is that of Google's Autopilot (Rzadca et al., EuroSys 2020): a decayed high percentile of measured peaks, raised
after an over-run. The margin of 15 % comes from a simulation in which estimates were off by up to 30 % either way: without a margin the
memory was over-committed for 13 % of the time, with 15 % never, at the price of 7 % of the work."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt
from typing import TYPE_CHECKING

from reconciler.model import Amounts, Demand, Learned

if TYPE_CHECKING:
    from schemas.run import ModelFacts

MIB = 1024**2
RUNTIME = 512 * MIB
"""An interpreter with its numeric libraries and the activations of a small batch. Small trainings with NumPy, scikit-learn and MLX on
a CPU peak at 223 MiB; a framework with a GPU takes 0.5 GiB before it has a model."""
KEPT = 32
"""Runs that are remembered of one template."""
DECAY = 0.9
"""Weight of a run relative to the next newer one: half of it is gone after 6.6 runs. The weights sum up to 10 at most, so that the newest
run alone is more than the twentieth that a 95th percentile looks at: one over-run is heard at once and forgotten after seven good runs."""
OVERRUN = 1.3
"""What ended for lack of memory needed an unknown amount more than it was seen to use."""
FORMULA_FLOOR = 0.8
"""A measured peak below this part of what the model's parameters take is doubted until TRUSTED runs have shown it."""
TRUSTED = 20
NARROWEST = 1 / 3
"""Part of the margin that stays whatever the history: memory is sampled, and a peak between two samples is not seen."""
UNSEEN_SPREAD = 0.5
"""Relative half-width told for lengths while fewer than four were seen: fewer cannot bound four fifths of what comes."""
COVERED = 0.8

_STATES = {
    "adam": 2, "adamw": 2, "adamax": 2, "nadam": 2, "lamb": 2,
    "rmsprop": 1, "adagrad": 1, "lion": 1, "momentum": 1, "muon": 1,
    "sgd": 0, "adafactor": 0,
}  # fmt: skip
"""Optimizer -> fp32 numbers that it keeps for each parameter. Adafactor keeps sums of rows and columns only (Shazeer and Stern, 2018)."""
_FROZEN = frozenset({"none", "inference", "eval"})
_ADAPTER = 0.01
"""Trained parameters of a LoRA relative to the frozen ones: rank 8 to 64 on the attention of a 1 to 8 billion model is 0.1 to 1 %
(Hu et al., 2021)."""


def estimate(demand: Demand, learned: Learned | None, facts: ModelFacts | None, margin: float) -> Amounts:
    """What the work is charged, the margin on memory included; memory in whole MiB.

    A declared amount is the least that is charged; it is raised when earlier runs were measured to need more. The margin (0.15 = 15 %)
    lies on the declared amount until something was measured, afterwards on what was measured. Power that nobody declared is what
    earlier runs drew."""
    watts = demand.peak.watts or round((learned.watts if learned else 0.0) * 1000)
    memory = _memory(demand, learned, facts, margin)
    return Amounts(ceil(memory / MIB) * MIB, demand.peak.cpu, demand.peak.gpu, watts)


def _memory(demand: Demand, learned: Learned | None, facts: ModelFacts | None, margin: float) -> float:
    declared = demand.peak.memory if demand.declared else 0
    if learned is None or not learned.runs:
        return (declared or formula(facts) or demand.peak.memory or RUNTIME) * (1 + margin)
    floor = FORMULA_FLOOR * model_bytes(facts) if learned.runs < TRUSTED else 0.0
    return max(declared, max(learned.memory, floor) * (1 + margin_after(learned, margin)))


def margin_after(learned: Learned, margin: float) -> float:
    """The margin once runs were measured: it shrinks with the square root of their number, as the error of a measured percentile
    does (half after 12 runs), down to a third; but it is not narrower than the spread of the peaks seen."""
    shrunk = margin * max(NARROWEST, 1 / sqrt(1 + learned.runs / 4))
    spread = 1 - min(learned.peaks) / max(learned.peaks) if learned.peaks else margin
    return min(margin, max(shrunk, spread))


def formula(facts: ModelFacts | None) -> int:
    """Bytes of a training of this model, runtime included; 0 when its size is not known. Activations of large batches are not in it:
    they depend on the program, and the first measured run tells them."""
    model = model_bytes(facts)
    return model + RUNTIME if model else 0


def model_bytes(facts: ModelFacts | None) -> int:
    """Bytes of parameters, gradients and optimizer; 0 when the model's size is not known.

    Full training takes 16 bytes for each parameter with Adam, in fp32 (4 weights + 4 gradients + 8 state) as in mixed precision
    (2 + 2 + 4 master copy + 8; ZeRO, Rajbhandari et al., 2020), less with an optimizer of less state. LoRA keeps the weights as they
    are stored and trains an adapter of a hundredth of them. An optimizer that is not named is Adam, or LoRA where the weights are stored
    in 8 or 4 bits, which cannot be trained themselves; one that is not known counts as Adam."""
    if facts is None or facts.parameters is None:
        return 0
    bits, named = facts.bits or 32, (facts.optimizer or "").lower().replace("-", "").replace("_", "")
    if named in _FROZEN:
        return ceil(facts.parameters * stored_bits(bits) / 8)
    if "lora" in named or (not named and bits < 16):
        return ceil(facts.parameters * (stored_bits(bits) / 8 + 16 * _ADAPTER))
    return facts.parameters * (8 + 4 * _STATES.get(named, 2))


def stored_bits(bits: int) -> float:
    """Bits that one stored parameter takes: quantised ones have a 16-bit scale and bias for each group of 64 (MLX's default)."""
    return bits + 2 * 16 / 64 if bits < 16 else float(bits)


def length(demand: Demand, learned: Learned | None) -> float | None:
    """Seconds that the work is expected to take: as measured, else as declared; None = not known."""
    return learned.seconds if learned and learned.seconds > 0 else demand.seconds


def learn(before: Learned | None, peak: int, seconds: float, watts: float | None, overran: bool) -> Learned:
    """What is known after one more run: `peak` in bytes, `seconds` of its length, mean `watts` where they can be measured.

    `overran`: it was ended, or failed, for lack of memory. Its peak counts as 1.3 times what was seen and its length not at all."""
    known = before or Learned()
    peaks = (*known.peaks, round(peak * OVERRUN) if overran else peak)[-KEPT:] if peak > 0 else known.peaks
    lengths = (*known.lengths, seconds)[-KEPT:] if seconds > 0 and not overran else known.lengths
    middle = decayed_quantile(lengths, 0.5)
    return replace(
        known,
        runs=known.runs + (peak > 0),
        memory=round(decayed_quantile(peaks, 0.95)),
        seconds=middle,
        spread=_spread(lengths, middle),
        watts=known.watts if watts is None else watts if not known.watts else DECAY * known.watts + (1 - DECAY) * watts,
        peaks=peaks,
        lengths=lengths,
    )


def decayed_quantile(values: tuple[int, ...] | tuple[float, ...], q: float) -> float:
    """The smallest value that the part `q` of the weight does not exceed; the newest is last and weighs most. 0 for none."""
    weighed = sorted((value, DECAY**age) for age, value in enumerate(reversed(values)))
    left = q * sum(weight for _, weight in weighed)
    for value, weight in weighed:
        left -= weight
        if left <= 1e-9:
            return value
    return weighed[-1][0] if weighed else 0.0


def _spread(lengths: tuple[float, ...], middle: float) -> float:
    """Split-conformal half-width (Vovk et al., 2005): the ceil(0.8 (n + 1))-th smallest relative distance from the middle."""
    rank = ceil(COVERED * (len(lengths) + 1))
    if middle <= 0 or rank > len(lengths):
        return UNSEEN_SPREAD if lengths else 0.0
    return sorted(abs(each - middle) / middle for each in lengths)[rank - 1]
