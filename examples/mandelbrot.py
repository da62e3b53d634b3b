# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""A corner of the Mandelbrot set as a PNG, drawn tile by tile.

The tiles are one map; a last task puts them together. Tiles differ much in cost (a point of the
set takes all its iterations, one far away takes a few), so there are many more of them than
workers.
"""

from __future__ import annotations

import argparse
import math
import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from armoflow import Client, task

OUTPUT = Path(__file__).parent / "output" / "mandelbrot.png"
SHADES = " .:-+*#@"  # from dark to light
PALETTE = [(0, 7, 100), (32, 107, 203), (237, 255, 255), (255, 170, 0), (60, 10, 25)]


@dataclass(frozen=True)
class View:
    """What part of the plane the picture shows, and how finely."""

    width: int
    height: int
    iterations: int
    centre: complex = -0.743_643_9 + 0.131_825_9j
    extent: float = 0.001_1


@dataclass(frozen=True)
class Tile:
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int


def escape(point: complex, iterations: int) -> float:
    """How many steps the point takes to leave, smoothed; ``inf`` if it stays."""
    value = 0j
    for step in range(iterations):
        value = value * value + point
        if abs(value) > 8.0:
            return step + 1 - math.log2(math.log2(abs(value)) / 3)
    return math.inf


def colour(steps: float) -> bytes:
    """Red, green, blue for a number of steps: round and round the palette."""
    if math.isinf(steps):
        return bytes(3)
    position = 0.75 * math.log(max(steps, 1.0)) % 1.0 * len(PALETTE)
    index, share = int(position), position % 1.0
    below, above = PALETTE[index], PALETTE[(index + 1) % len(PALETTE)]
    return bytes(round(a + (b - a) * share) for a, b in zip(below, above, strict=True))


@task
def render(tile: Tile, view: View) -> bytes:
    """The pixels of a tile, three bytes each, row by row."""
    scale = view.extent / view.width
    corner = view.centre - scale * complex(view.width, -view.height) / 2
    return b"".join(
        colour(escape(corner + scale * complex(x, -y), view.iterations))
        for y in range(tile.top, tile.top + tile.height)
        for x in range(tile.left, tile.left + tile.width)
    )


@task
def assemble(tiles: list[Tile], pixels: list[bytes], view: View) -> bytes:
    """Copy the tiles' rows to their places in the whole picture."""
    picture = bytearray(3 * view.width * view.height)
    for tile, data in zip(tiles, pixels, strict=True):
        row_bytes = 3 * tile.width
        for row in range(tile.height):
            start = 3 * ((tile.top + row) * view.width + tile.left)
            picture[start : start + row_bytes] = data[row * row_bytes : (row + 1) * row_bytes]
    return bytes(picture)


def cut(view: View, size: int) -> list[Tile]:
    """Cut the picture into tiles of at most ``size`` pixels a side."""
    return [
        Tile(left, top, min(size, view.width - left), min(size, view.height - top))
        for top in range(0, view.height, size)
        for left in range(0, view.width, size)
    ]


def encode_png(pixels: bytes, width: int, height: int) -> bytes:
    """The picture as a PNG file: a header, the compressed rows, an end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    rows = b"".join(
        b"\0" + pixels[start : start + 3 * width]
        for start in range(0, 3 * width * height, 3 * width)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )


def preview(pixels: bytes, view: View, columns: int = 72) -> str:
    """The picture in a terminal: two cells a character, or letters where there is no colour."""
    side = max(view.width // columns, 1)

    def cell(column: int, row: int) -> list[int]:
        """The mean red, green and blue of a square of pixels."""
        start = 3 * (row * side * view.width + column * side)
        rows = [
            pixels[start + 3 * y * view.width : start + 3 * (y * view.width + side)]
            for y in range(side)
        ]
        return [sum(sum(row[channel::3]) for row in rows) // side**2 for channel in range(3)]

    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    lines = []
    for row in range(0, view.height // side - 1, 2):
        cells = [(cell(x, row), cell(x, row + 1)) for x in range(view.width // side)]
        if coloured:
            parts = ["\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*up, *low) for up, low in cells]
            lines.append("".join(parts) + "\x1b[0m")
        else:
            letters = (SHADES[(sum(up) + sum(low)) // 192] for up, low in cells)
            lines.append("".join(letters).rstrip())
    return "\n".join(lines)


def main() -> None:
    """Draw the picture, show it and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=720)
    parser.add_argument("--height", type=int, default=450)
    parser.add_argument("--iterations", type=int, default=700)
    parser.add_argument("--tile", type=int, default=45, help="pixels of a tile's side")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    view = View(arguments.width, arguments.height, arguments.iterations)
    tiles = cut(view, arguments.tile)
    picture = assemble(tiles, render.map(tiles, view=view), view)
    with Client(local=arguments.local) as client:
        pixels = client.compute(picture)

    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(encode_png(pixels, view.width, view.height))
    print(preview(pixels, view))
    path = os.path.relpath(arguments.output)
    print(f"{view.width} x {view.height} pixels in {len(tiles)} tiles: {path}")


if __name__ == "__main__":
    main()

# Output:
# ::::::::::::::::::::.........................               .    .......
# :::::::::::::::::..................... ::....            .......... . ..
# :::::::::::::::.....................  .:--+-:.    .. .. ......-::.......
# :::::::::::::.....................   .-+-*---..............:--++++:.....
# ::::::::::::.....--:--:. .... .    ..:++::--:--::::-:.....:++---:-:.....
# ::::::::::.......::++:-:.....:-::::...+:-++-:--*--+++++-:.--:--:--:.....
# ::::::::........:++++-:::--+--++++-+-.+::-+-::--##++----:.+:-+++::+*+-:-
# ::::........... :++::--::-+*+**+-:::::-+::::::-+++:---:::-+:::::.:-+*+*-
# .............  ..--:-++-:.--+#+:--::-:++++::++:-+#**-----*-+:::::-++**++
# :.......:-:-----:.--::::.::+++*+*+-----+#+:-*-+#@##**-*****-:-++::++--+-
# --. ..:::--*--:--.:++::::-+-:*#####-++*####*-+--###*--++#@@*++-+*@#@#*--
# :::-+-*+-+++--:::::+*++-:+*+**###*+--***@@#---:::-***-#*@@#*-++-+@@@+*+*
# :::::-+++#*+:-:::--:-+##+**-*-++***++-+**++++::--::+++-+*+++::::-*##-:-#
# *++-:::-++++:++----+**####+--:::::-+-------+++-+-::+----+-++::--:-**-*+#
# -+-::::-+-+######+--***@@#+--::-+-:-+----------+-++---------++--:-++++##
# :::::::+-:+###*+*+--+*#**--*++-----++-:::::::::--------------++-++--++--
# ++-++:-*++#**#***++-----------:-+++--:::::::::::::::::::::------------++
# +*+++---#-++-+----++---:::::::::::-:::::::::::::::::::::::::------------
# --+*##*##-++-:::--:-+-::::::::::::::::::::::::::::::::::::::::----------
# --+***###+-+-::-++::++-::::::::::::::::::::::::::::::::::::::::---------
# --+#**###*+*++---+++*--::::::::::::::::::::::::::::::::::::::::---------
# ---*@##*+-:-+--::---+::::::::::::::::::::::::::::::::::::::::::---------
# 720 x 450 pixels in 160 tiles: examples/output/mandelbrot.png
