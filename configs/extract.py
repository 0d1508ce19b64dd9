r"""Raw media to features: videos, sounds, photos, captions, sensors.

python -m unirep.main --config=configs/extract.py --config.media=FOLDER \
  --workdir=runs/media

`media` is a folder, in which files that share a stem are one sample and
sub-folders are classes, or a .csv file: docs/media.md. Train on the result with
`--config=configs/pretrain.py:data=media --config.data.path=runs/media`.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
  if arg:
    raise ValueError(f"unknown variant {arg!r}; this configuration has none")
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "extract"
  config.media = ""  # a folder, or a .csv file
  # Modality -> NAME or NAME:ARGUMENT of an extractor; "" leaves it out.
  config.extractors = {
    "video": "pixels",
    "audio": "logmel",
    "text": "words",
    "image": "",  # photos are videos that stand still
    "sensor": "",  # sensor:rate=50,channels=6
  }
  config.seconds = 1.0  # of a segment
  config.steps = 10  # segments of a sample, at most
  config.words = 16  # of a caption, at most
  config.whole = False  # True: long media become several samples
  config.dtype = "float16"  # that features are kept in, or float32
  config.shares = {"validation": 0.1, "test": 0.1}  # where no split is given
  config.workers = 1  # processes that read files; 0 reads in this one
  config.timeout = 300.0  # seconds after which a worker gives a file up
  return config
