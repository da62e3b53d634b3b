"""Where the boxes of a picture go: layers from top to bottom, few crossings, straight edges.

The usual steps (Sugiyama): layers by longest path; a waypoint where an edge crosses a layer; order
within the layers by the mean of the neighbours; then positions as near to the neighbours as the
boxes' widths allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP = 34.0
"""Between two boxes of a layer."""

LAYER_GAP = 46.0
"""Between two layers."""

MARGIN = 24.0
"""Around the picture."""

_WAYPOINT_WIDTH = 8.0
_WAYPOINT_LIMIT = 20_000  # above it, edges go straight through what is between
_ORDER_SWEEPS = 8
_POSITION_SWEEPS = 25  # odd: the last one goes down, towards what was asked for


@dataclass(slots=True)
class Box:
    """A rectangle, or (``waypoint``) a point where an edge crosses a layer."""

    width: float
    height: float
    waypoint: bool = False
    layer: int = 0
    x: float = 0.0  # of the centre
    y: float = 0.0
    above: list[Box] = field(default_factory=list, repr=False)
    below: list[Box] = field(default_factory=list, repr=False)


@dataclass(slots=True)
class Layout:
    """A picture's boxes and edges, placed.

    Attributes:
        routes: For each edge the boxes that it visits, waypoints included.
        width: Of the whole picture.
        height: Of the whole picture.
    """

    routes: list[list[Box]]
    width: float
    height: float


def place(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes, changing their ``x`` and ``y``.

    Args:
        boxes: Each after those that have edges to it.
        edges: Pairs of indices of boxes, from above to below, each pair once.
    """
    _set_layers(boxes, edges)
    layers: list[list[Box]] = [[] for _ in range(1 + max((box.layer for box in boxes), default=-1))]
    for box in boxes:
        layers[box.layer].append(box)
    routes = _route(boxes, edges, layers)
    _order(layers)
    _set_positions(layers)
    everything = [box for layer in layers for box in layer]
    left = min((box.x - box.width / 2 for box in everything), default=0.0) - MARGIN
    y = MARGIN
    for layer in layers:
        height = max(box.height for box in layer)
        for box in layer:
            box.x -= left
            box.y = y + height / 2
        y += height + LAYER_GAP
    right = max((box.x + box.width / 2 for box in everything), default=0.0)
    return Layout(routes, right + MARGIN, max(y - LAYER_GAP, MARGIN) + MARGIN)


def _set_layers(boxes: Sequence[Box], edges: Sequence[tuple[int, int]]) -> None:
    above: list[list[int]] = [[] for _ in boxes]
    below: list[list[int]] = [[] for _ in boxes]
    for start, end in edges:
        above[end].append(start)
        below[start].append(end)
    for index, box in enumerate(boxes):
        box.layer = 1 + max((boxes[other].layer for other in above[index]), default=-1)
    for index in reversed(range(len(boxes))):  # sources move down to where they are needed
        if below[index] and not above[index]:
            boxes[index].layer = min(boxes[other].layer for other in below[index]) - 1


def _route(
    boxes: Sequence[Box], edges: Sequence[tuple[int, int]], layers: list[list[Box]]
) -> list[list[Box]]:
    spans = [boxes[end].layer - boxes[start].layer - 1 for start, end in edges]
    straight = sum(spans) > _WAYPOINT_LIMIT
    routes = []
    for (start, end), span in zip(edges, spans, strict=True):
        route = [boxes[start]]
        for number in range(0 if straight else span):
            layer = boxes[start].layer + 1 + number
            waypoint = Box(_WAYPOINT_WIDTH, 0.0, waypoint=True, layer=layer)
            layers[layer].append(waypoint)
            route.append(waypoint)
        route.append(boxes[end])
        for upper, lower in pairwise(route):
            upper.below.append(lower)
            lower.above.append(upper)
        routes.append(route)
    return routes


def _order(layers: list[list[Box]]) -> None:
    """Order each layer by where its neighbours are, keeping the best of several sweeps."""
    _number(layers)
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers)
    for sweep in range(_ORDER_SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            layer.sort(key=lambda box: _mean(box.above if down else box.below, box.x))
            for position, box in enumerate(layer):
                box.x = position
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best
    _number(layers)


def _number(layers: list[list[Box]]) -> None:
    for layer in layers:
        for position, box in enumerate(layer):
            box.x = position


def _mean(neighbours: list[Box], otherwise: float) -> float:
    if not neighbours:
        return otherwise
    return sum(box.x for box in neighbours) / len(neighbours)


def _crossings(layers: list[list[Box]]) -> int:
    """How many pairs of edges cross, counted with a binary indexed tree."""
    total = 0
    for layer, following in pairwise(layers):
        counts = [0] * (len(following) + 1)
        seen = 0
        for box in layer:
            ends = sorted(int(other.x) + 1 for other in box.below)
            for end in ends:
                not_right, index = 0, end
                while index:
                    not_right += counts[index]
                    index &= index - 1
                total += seen - not_right
            for end in ends:
                index = end
                while index < len(counts):
                    counts[index] += 1
                    index += index & -index
            seen += len(ends)
    return total


def _set_positions(layers: list[list[Box]]) -> None:
    for layer in layers:
        x = 0.0
        for box in layer:
            box.x = x + box.width / 2
            x += box.width + GAP
    for sweep in range(_POSITION_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            _settle(layer, [_wish(box, down) for box in layer])


def _wish(box: Box, down: bool) -> float:
    if box.waypoint:
        return _mean(box.above + box.below, box.x)
    return _mean(box.above if down else box.below, box.x)


def _settle(layer: list[Box], wishes: list[float]) -> None:
    """The positions nearest to the wishes (least squares) that keep order and distances.

    Without the distances between them the boxes only have to stay in order, which is isotonic
    regression: neighbours in the wrong order are pooled at their mean.
    """
    offsets = [0.0]
    for left, right in pairwise(layer):
        offsets.append(offsets[-1] + (left.width + right.width) / 2 + GAP)
    pools: list[tuple[float, float]] = []  # weighted sum of wishes, weight
    sizes: list[int] = []
    for box, wish, offset in zip(layer, wishes, offsets, strict=True):
        weight = 4.0 if box.waypoint else 1.0  # long edges are to be straight
        pool, size = ((wish - offset) * weight, weight), 1
        while pools and pools[-1][0] / pools[-1][1] > pool[0] / pool[1]:
            left_pool = pools.pop()
            pool = (left_pool[0] + pool[0], left_pool[1] + pool[1])
            size += sizes.pop()
        pools.append(pool)
        sizes.append(size)
    index = 0
    for (total, weight), size in zip(pools, sizes, strict=True):
        for _ in range(size):
            layer[index].x = total / weight + offsets[index]
            index += 1
