r"""Official releases: a check for missing or broken files, and faster files.

python -m unirep.main --config=configs/data.py:check,data=avel \
  --config.data.labels=Vggsound --config.data.features=vggsound40k/feature \
  --workdir=runs/checked

Variants, separated by commas after a colon:
  check|convert              list every problem, or write ArrayRecord files
  data=avel|ave|avvp|ave_avvp|ucf_vgg|clotho|coco|msvd|flickr_sound|valor
  preset=clean|released      the words of a text: all, or those that were kept
The files of each set: docs/releases.md.
"""

from typing import Any

from ml_collections import ConfigDict

RETRIEVAL = ("clotho", "coco", "msvd", "flickr_sound", "valor")
SETS = ("avel", "ave", "avvp", "ave_avvp", "ucf_vgg", *RETRIEVAL)
DO = ("check", "convert")
PRESETS = ("clean", "released")


def get_config(arg: str = "") -> ConfigDict:
  do, name, preset = DO[0], SETS[0], PRESETS[0]
  for item in filter(None, arg.split(",")):
    key, _, value = item.partition("=")
    if item in DO:
      do = item
    elif key == "data" and value in SETS:
      name = value
    elif key == "preset" and value in PRESETS:
      preset = value
    else:
      raise ValueError(
        f"unknown variant {item!r}; known are {'|'.join(DO)};"
        f" data={'|'.join(SETS)}; preset={'|'.join(PRESETS)}"
      )
  config: Any = ConfigDict()  # its type stubs know no leaves
  config.job = "data"
  config.do = do
  config.against = ()  # check: lists of evaluation sets, for videos in both
  config.open = True  # check: reads every clip; False looks for files alone
  config.shard = 256  # convert: clips a file
  release(config, name, preset == "released")
  return config


def release(config: Any, name: str, released: bool) -> None:
  """The keys of one set."""
  sets = {"avel": avel, "ave": ave, "avvp": avvp}
  sets |= {"ave_avvp": ave_avvp, "ucf_vgg": ucf_vgg}
  config.data = {
    "source": name,
    "converted": "",  # the folder that convert wrote; replaces all other paths
    "exclude": "",  # a file of ids to leave out, one a line
    "whole": True,  # lists have all rows they were published with; else a part
    "limit": 64,  # MB of an archive, and of each file in it
  }
  sets.get(name, captioned)(config, released)


def avel(config: Any, released: bool) -> None:
  """VGGSound-AVEL, to learn from."""
  config.data.update(
    {
      "labels": "",  # folder of list, categories and prompts
      "features": "",  # folder of audio/zip and video/zip
      "list": "vggsound-avel40k.csv",  # or vggsound-avel90k-new.csv
      # As published: all of it, so that nothing is held out.
      "learn_from": ("train", "val", "test") if released else ("train",),
      "held_out": "val",
    }
  )
  texts(config, released)


def texts(config: Any, released: bool) -> None:
  """Texts to features."""
  config.data.update(
    {
      "text": "words",  # an extractor, or a file of vectors
      "words": 10 if released else 16,  # of a text, at most
      "filter": "released" if released else "clean",  # released: word_map only
      "word_map": "",  # a table of bert_id, index and token
    }
  )


def ave(config: Any, released: bool) -> None:
  """AVE with its authors' features and annotations."""
  config.data.update(
    {
      "features": "",  # folder of visual_feature.h5 and audio_feature.h5
      "labels": "",  # folder of Annotations.txt and the three *_order.h5
      "spare_shared": not released,  # videos in two splits
    }
  )


def avvp(config: Any, released: bool) -> None:
  """AVVP (LLP): dense labels of its val and test lists."""
  config.data.update(
    {
      "labels": "",  # folder of AVVP_*.csv and AVVP_Categories.txt
      "features": "",  # folder of audio/zip and video/zip
      "clips": "all"
      if released
      else "split",  # all: learned from and tested on
      "repair": "drop",  # of events without length: or widen, refuse
    }
  )


def ave_avvp(config: Any, released: bool) -> None:
  """From AVE to the videos of AVVP with the same classes."""
  config.data.update(
    {
      "labels_ave": "",  # as of ave
      "labels_avvp": "",  # folder of AVE_AVVP_*.csv, ave_avvp_*.h5, categories
      "features_ave": "",  # folder of visual_feature.h5 and audio_feature.h5
      "features_avvp": "",  # folder of audio/zip and video/zip
      "spare_shared": not released,
      "clips": "all" if released else "split",
      "repair": "drop",
    }
  )


def ucf_vgg(config: Any, released: bool) -> None:
  """From video of UCF101 to audio of VGGSound, or back."""
  config.data.update(
    {
      "labels": "",  # folder of the two lists and the two class lists
      "features_ucf": "",  # folder of video/zip
      "features_vgg": "",  # folder of audio/zip
      "first": "ucf",  # the side that is learned from: or vgg
      "clips": "all" if released else "split",
    }
  )


def captioned(config: Any, released: bool) -> None:
  """Clips or photos and their captions."""
  names = {
    "clotho": "clotho_captions_evaluation.csv",
    "coco": "captions_val2017.json",
    "msvd": "msvd_test.csv",
    "flickr_sound": "flickr_sound_test.csv",
    "valor": "desc_test.json",
  }
  config.data.update(
    {
      "labels": "",  # folder of the list
      "features": "",  # folder of audio/zip, video/zip or both
      "list": names[config.data.source],
      "pool": 0,  # so many photos, sounds or videos, the first; 0: all
    }
  )
  texts(config, released)
