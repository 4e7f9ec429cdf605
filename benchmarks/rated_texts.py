"""Texts of the ratings in `benchmarks/ratings`, which name captions of Flickr8k and COCO instead of repeating them.

    python -m benchmarks.rated_texts benchmarks/ratings/flickr8k_test.csv CAPTIONS.csv RATINGS.csv
    python -m benchmarks.rated_texts benchmarks/ratings/coco_test.csv captions_val2017.json RATINGS.csv

CAPTIONS.csv has the columns image, caption; COCO's are JSON. RATINGS.csv is what `benchmarks.truth_ratings` and `transforms.truth.fit`
read: one person's ratings, photo in view, of captions of other photos, drawn from those nearest by TF-IDF to one of the photo's own: five
of 20 each on Flickr8k, eight of 100 each on COCO. 4: true of the photo, 3: true but for a detail, 2: related, 1: unrelated.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from transforms.truth.corpora import captions_in


def main() -> None:
    """Writes RATINGS.csv."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("named", type=Path)
    options.add_argument("captions", type=Path)
    options.add_argument("out", type=Path)
    arguments = options.parse_args()
    captions = captions_in(arguments.captions)
    with arguments.named.open(newline="") as file, arguments.out.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["image", "text", "rating"])
        for row in csv.DictReader(file):
            writer.writerow([row["image"], captions[row["text_image"]][int(row["text_number"])], row["rating"]])


if __name__ == "__main__":
    main()
