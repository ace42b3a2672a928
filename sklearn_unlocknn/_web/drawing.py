"""Drawings of structures: a flat projection, and the data of the viewer."""

import itertools
import xml.etree.ElementTree as ET

import numpy as np

#: Okabe and Ito's colours, which the colour-blind distinguish, and those on which a
#: symbol is written in white.
COLORS = (
    "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00",
    "#bbbbbb",
)  # fmt: skip
_DARK = ("#0072b2", "#d55e00", "#009e73")
#: Atoms with more than this number have no symbols.
_MOST_NAMED = 60
#: Atoms this close to a face of the cell (fraction) are drawn on the opposite one, too.
_ON_FACE = 0.02
_SIZE, _MARGIN = 300.0, 8.0


def element(tag, *children, **attributes):
    """Return an SVG element; underscores in names of attributes are hyphens."""
    attributes = {
        name.rstrip("_").replace("_", "-"): f"{v:.2f}" if isinstance(v, float) else v
        for name, v in attributes.items()
    }
    made = ET.Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            made.text = child
        else:
            made.append(child)
    return made


def to_text(svg):
    """Return an SVG element as text that may stand in HTML."""
    return ET.tostring(svg, encoding="unicode", short_empty_elements=False)


def symbols_of(structure):
    """Return the symbol of each site: of a mixed site that of largest share."""
    return [
        max(site.species.items(), key=lambda pair: pair[1])[0].symbol
        for site in structure
    ]


def draw(structure):
    """Draw a structure in parallel projection, atoms coloured by element.

    Returns
    -------
    svg : str
        The drawing.
    legend : list of (str, str)
        Symbol and colour of each element.
    """
    symbols = symbols_of(structure)
    kinds = sorted(set(symbols), key=symbols.index)
    colors = {kind: COLORS[i % len(COLORS)] for i, kind in enumerate(kinds)}
    places, owners, edges = _atoms_and_edges(structure)
    view = _view()
    flat, ends = places @ view, edges @ view
    both = np.concatenate([flat[:, :2], ends.reshape(-1, 3)[:, :2]])
    radii = np.array([_radius(structure[i]) for i in owners])
    low, high = both.min(axis=0) - radii.max(), both.max(axis=0) + radii.max()
    scale = (_SIZE - 2 * _MARGIN) / max(high - low)
    width, height = (high - low) * scale + 2 * _MARGIN

    def place(points):
        x = (points[..., 0] - low[0]) * scale + _MARGIN
        y = (high[1] - points[..., 1]) * scale + _MARGIN
        return np.stack([x, y], axis=-1).tolist()

    names = ", ".join(kinds)
    svg = element(
        "svg", viewBox=f"0 0 {width:.0f} {height:.0f}", role="img", class_="crystal",
        aria_label=f"Projection of {len(structure)} atoms of {names}",
    )  # fmt: skip
    for (x1, y1), (x2, y2) in place(ends):
        svg.append(element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="edge"))
    centers = place(flat)
    for i in np.argsort(flat[:, 2], kind="stable"):
        (x, y), r = centers[i], float(radii[i] * scale)
        color = colors[symbols[owners[i]]]
        svg.append(element("circle", cx=x, cy=y, r=r, fill=color, class_="atom"))
        if len(places) <= _MOST_NAMED and r > 6:
            svg.append(
                element(
                    "text", symbols[owners[i]], x=x, y=y, font_size=min(r, 14.0),
                    fill="#fff" if color in _DARK else "#111", class_="symbol",
                )
            )  # fmt: skip
    return to_text(svg), [(kind, colors[kind]) for kind in kinds]


def _view():
    """Return axes of the picture: seen from the front, a little right and above."""
    turn, tilt = np.radians(-25.0), np.radians(-72.0)
    c, s = np.cos(turn), np.sin(turn)
    around = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(tilt), np.sin(tilt)
    return (np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ around).T


def _radius(site):
    """Return the radius of a drawn atom (angstrom), a third of the usual one."""
    radii = [kind.atomic_radius or 1.5 for kind in site.species.elements]
    return 0.38 * float(max(radii))


def _atoms_and_edges(structure):
    """Return positions, the site of each, and the ends of the edges of the cell."""
    n = len(structure)
    if not hasattr(structure, "lattice"):
        return structure.cart_coords, list(range(n)), np.empty((0, 2, 3))
    matrix = structure.lattice.matrix
    inside = structure.frac_coords - np.floor(structure.frac_coords + _ON_FACE)
    places, owners = [], []
    for i, fractions in enumerate(inside):
        ways = [(0, 1) if abs(x) <= _ON_FACE and n <= 200 else (0,) for x in fractions]
        for shift in itertools.product(*ways):
            places.append((fractions + shift) @ matrix)
            owners.append(i)
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    pairs = [
        (a, b)
        for a, b in itertools.combinations(range(8), 2)
        if np.abs(corners[a] - corners[b]).sum() == 1
    ]
    return np.array(places), owners, corners[np.array(pairs)] @ matrix


def viewer_data(structure):
    """Return a structure in the format of chemiscope, with the atoms of its drawing."""
    view, symbols = _view(), symbols_of(structure)
    places, owners, _ = _atoms_and_edges(structure)
    x, y, z = np.round(places @ view, 5).T.tolist()
    data = {"size": len(x), "names": [symbols[i] for i in owners]}
    data |= {"x": x, "y": y, "z": z}
    if hasattr(structure, "lattice"):
        data["cell"] = np.round(structure.lattice.matrix @ view, 5).ravel().tolist()
    return data
