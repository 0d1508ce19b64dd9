"""Flickr8k as a table for extraction: a line for each photo and caption.

python -m benchmarks.flickr --photos=Flickr8k_Dataset --captions=captions.tsv \
  --to=flickr.csv

`captions.tsv` has the columns image, split (train, dev, test) and caption; a
photo with five captions has five lines. The data set is for research only, and
no part of this package.
"""

import argparse
import csv
import pathlib

SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def main(argv=None):
  """Writes the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--photos", type=pathlib.Path, required=True)
  parser.add_argument("--captions", type=pathlib.Path, required=True)
  parser.add_argument("--to", type=pathlib.Path, required=True)
  args = parser.parse_args(argv)
  with args.captions.open(encoding="utf-8", newline="") as file:
    rows = [*csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
  with args.to.open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("image", "text", "split"))
    written = 0
    for row in rows:
      photo = (args.photos / row["image"]).resolve()
      if photo.is_file() and row["split"] in SPLITS:
        writer.writerow((photo, row["caption"], SPLITS[row["split"]]))
        written += 1
  print(f"{written} of {len(rows)} captions are in {args.to}")


if __name__ == "__main__":
  main()
