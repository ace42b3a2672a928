"""The picture of a prediction over the distribution of the training targets."""

import math

import numpy as np

from .drawing import element, to_text

_WIDTH, _TOP, _HEIGHT, _LEFT, _RIGHT = 420.0, 34.0, 90.0, 12.0, 12.0


def ticks_of(low, high, log10, n=6):
    """Return positions and labels of ticks on an axis, of y where it is log10(y)."""
    if log10 and high - low > 0.7:
        whole = range(math.floor(low), math.ceil(high) + 1)
        factors = (1, 2, 5) if high - low < 2.5 else (1,)
        step = max(1, round((high - low) / n)) if len(factors) == 1 else 1
        values = [f * 10.0**k for k in whole if k % step == 0 for f in factors]
        pairs = [(math.log10(value), f"{value:g}") for value in values]
        return [pair for pair in pairs if low <= pair[0] <= high]
    if log10:
        return [
            (math.log10(float(text)), text)
            for _, text in ticks_of(10**low, 10**high, False, n)
            if float(text) > 0
        ]
    step = (high - low) / n
    power = 10.0 ** math.floor(math.log10(step))
    step = power * next(f for f in (1, 2, 5, 10) if f * power >= step)
    digits = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if abs(last) > 1e6 * max(last - first, 1) or last * step >= 1e7 or digits > 6:
        return [(i * step, f"{i * step:.6g}") for i in range(first, last + 1)]
    return [(i * step, f"{i * step + 0.0:.{digits}f}") for i in range(first, last + 1)]


def draw_chart(targets, mean, std, lower, upper, *, label, log10, words):
    """Draw a prediction as a line with its interval over a histogram.

    Parameters
    ----------
    targets : ndarray of shape (n,)
        Training targets, on the scale of the fit.
    mean, std, lower, upper : float
        The prediction, on the same scale: of the logarithm the dot is the median.
    label : str
        Name and unit of the target.
    log10 : bool
        Whether the scale is logarithmic; ticks are of the target.
    words : str
        The prediction in words, for those who do not see the picture.

    Returns
    -------
    svg : str
    """
    ends = [float(min(targets.min(), lower)), float(max(targets.max(), upper))]
    pad = 0.04 * (ends[1] - ends[0]) or 0.5
    low, high = ends[0] - pad, ends[1] + pad
    inner = _WIDTH - _LEFT - _RIGHT
    base = _TOP + _HEIGHT

    def at(value):
        return float(_LEFT + (value - low) / (high - low) * inner)

    svg = element(
        "svg", viewBox=f"0 0 {_WIDTH:.0f} {base + 47:.0f}", role="img", class_="chart",
        aria_label=words,
    )  # fmt: skip
    span = float(targets.max() - targets.min()) or 1.0
    n_bins = int(np.clip(30 * span / (high - low), 4, 30))
    counts, edges = np.histogram(targets, n_bins)
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        h = float(_HEIGHT * count / counts.max())
        width = max(at(right) - at(left) - 1.0, 0.5)
        svg.append(
            element("rect", x=at(left), y=base - h, width=width, height=h, class_="bar")
        )
    x1, x2 = at(lower), at(upper)
    svg.append(
        element("rect", x=x1, y=_TOP - 14.0, width=max(x2 - x1, 1.0),
                height=_HEIGHT + 14.0, class_="band")
    )  # fmt: skip
    y = _TOP - 14.0
    x3, x4 = at(mean - std), at(mean + std)
    svg.append(element("line", x1=x1, y1=y, x2=x2, y2=y, class_="interval"))
    svg.append(element("line", x1=x3, y1=y, x2=x4, y2=y, class_="std"))
    svg.append(element("line", x1=at(mean), y1=y, x2=at(mean), y2=base, class_="mean"))
    svg.append(element("circle", cx=at(mean), cy=y, r=5.0, class_="dot"))
    svg.append(
        element("line", x1=_LEFT, y1=base, x2=_WIDTH - _RIGHT, y2=base, class_="axis")
    )
    for value, text in ticks_of(low, high, log10):
        x = at(value)
        svg.append(element("line", x1=x, y1=base, x2=x, y2=base + 4.0, class_="axis"))
        svg.append(element("text", text, x=x, y=base + 19.0, class_="tick"))
    svg.append(element("text", label, x=_WIDTH / 2, y=base + 40.0, class_="axis-label"))
    return to_text(svg)
