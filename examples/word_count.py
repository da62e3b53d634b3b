# /// script
# requires-python = ">=3.10"
# dependencies = ["armoflow"]
# ///
"""The words of Moby-Dick: map over its chapters, merge the counts in a tree.

``counts`` is used twice, by the total and by the whale line; its chapters are counted once.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import Counter
from pathlib import Path

from armoflow import Client, task

BOOK = Path(__file__).parent / "data" / "moby_dick.txt"
BARS = "·▁▂▃▄▅▆▇█"


@task
def count_words(chapter: str) -> Counter[str]:
    """Count the words of a chapter, in lower case."""
    return Counter(re.findall(r"[a-z]+(?:'[a-z]+)?", chapter.lower()))


@task
def merge(left: Counter[str], right: Counter[str]) -> Counter[str]:
    """Add two counts."""
    return left + right


@task
def occurrences(counts: Counter[str], word: str) -> int:
    """How often the word and its plural occur."""
    return counts[word] + counts[word + "s"]


def read_chapters(limit: int) -> list[str]:
    """Split the book before each chapter's heading."""
    text = BOOK.read_text(encoding="utf-8")
    return re.split(r"^(?=CHAPTER \d+\. )", text, flags=re.MULTILINE)[1 : limit + 1]


def draw(values: list[int], start: int, count: int) -> str:
    """Some values as a line of bars; by square roots, one chapter stands out so far."""
    highest = max(*values, 1)
    heights = (math.sqrt(value / highest) for value in values[start : start + count])
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights)


def main() -> None:
    """Count the book and print its most frequent longer words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chapters", type=int, default=135, help="read the first so many")
    parser.add_argument("--local", action="store_true", help="run in this thread, to debug")
    arguments = parser.parse_args()

    counts = count_words.map(read_chapters(arguments.chapters))
    total = counts.reduce(merge)
    whales = counts.map(occurrences, word="whale").gather()
    with Client(local=arguments.local) as client:
        words, whales_by_chapter = client.compute(total, whales)

    print(f"{words.total():,} words, {len(words):,} different ones; the most frequent longer ones:")
    longer = Counter({word: count for word, count in words.items() if len(word) > 5})
    for word, count in longer.most_common(10):
        print(f"{word:>10} {count:>5}  {'█' * (30 * count // longer.most_common(1)[0][1])}")
    print("whales, chapter by chapter:")
    for start in range(0, len(whales_by_chapter), 45):
        print(f"{start + 1:>10}  {draw(whales_by_chapter, start, 45)}")


if __name__ == "__main__":
    main()

# Output:
# 212,312 words, 17,091 different ones; the most frequent longer ones:
#     though   382  ██████████████████████████████
#    captain   306  ████████████████████████
#     before   295  ███████████████████████
#     seemed   282  ██████████████████████
#     little   247  ███████████████████
#     whales   246  ███████████████████
#    through   226  █████████████████
#   queequeg   225  █████████████████
#    himself   204  ████████████████
#     almost   194  ███████████████
# whales, chapter by chapter:
#          1  ▁▁▁·▁▁▁·▂···▁▁·▂·▂▁··▁·▃·▁▂··▁▁█▂▁▂▃·▁·▂▄▁·▃▄
#         46  ▁▁▂▂▁▁▁▂▃▄▃▃▁▂▂▃▂▁▃▂▁▂▃▁▂▂▂▃▃▂▂▂▁▂▁▄▃▂▂▃▃▅▂▂▂
#         91  ▄▂▂▁▁▁·▁▁▃▂▂▂▃▄▁▁··▁▁·▁▁▁▂▁·▁·····▁▁·▂▁▁▁▁▃▃▄
