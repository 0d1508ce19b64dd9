"""Miniatures of the official releases: real rows, features of noise."""

import csv
import io
import json
import pickle
import zipfile

import h5py
import numpy as np

GRID, SOUND = (5, 5, 4), 6
PROMPTS = {  # as published
  "engine accelerating": "The sound of a powerful engine revving up quickly",
  "playing trumpet": "The bright and brassy sound of a trumpet being played",
  "race car": "The roar of a high-speed race car engine",
}
AVE = """Church bell&RUhOCu3LNXM&good&0&10
Church bell&MH3m4AwEcRY&good&6&8
Church bell&VWi2ENBuTbw&good&0&0
Bark&3jS8tWfLJxI&good&7&9
Bark&E_1Asfq8it4&good&0&3
Bark&1H2XD5lUp8w&good&0&10
Violin, fiddle&AvEavEavE01&good&0&10
Violin, fiddle&AvEavEavE02&good&2&9
Violin, fiddle&AvEavEavE03&good&1&10
Church bell&AvEavEavE04&good&1&10
Bark&AvEavEavE05&good&3&10
Violin, fiddle&RUhOCu3LNXM&good&4&10
"""
AVE_ORDER = {
  "train": [0, 2, 3, 4, 6, 9],
  "val": [1, 5, 7],
  "test": [8, 10, 11],
}
HEADER = "filename\tonset\toffset\tevent_labels\n"
AVVP_AUDIO = (
  HEADER
  + """H5WcJwyjxIg_2_12\t0\t0\tBaby_cry_infant_cry
Baue01N86wE_10_20\t5,1,3,9\t7,1,6,10\tSpeech,Dog,Dog,Dog
JR09cQfpjqE_30_40\t4\t10\tViolin_fiddle
3sZMw6BdA1Y_30_40\t0,4\t3,10\tBaby_cry_infant_cry,Baby_cry_infant_cry
JR09cQfpjqE_30_40\t1\t5\tSpeech
3sZMw6BdA1Y_30_40\t0,3,5,9\t2,4,6,10\tSpeech,Speech,Speech,Speech
KvIjsmANkxI_10_20`\t0\t1\tCat
KvIjsmANkxI_10_20\t3,8,0\t7,10,10\tCat,Cat,Speech
12eWNawPekw_30_40\t0\t10\tHelicopter
8DF2PxdT5tE_390_400\t2,0,7,9\t8,2,10,0\tBasketball_bounce,Speech,Speech,Cheering
19jWnmYnlD8_30_40\t0\t10\tViolin_fiddle
19jWnmYnlD8_30_400\t0\t10\tClapping
4O9rI-FpqLg_10_20\t0\t10\tSpeech
"""
)
AVVP_VISUAL = (
  HEADER
  + """H5WcJwyjxIg_2_12\t0\t10\tBaby_cry_infant_cry
Baue01N86wE_10_20\t0,0\t10,1\tDog,Basketball_bounce
JR09cQfpjqE_30_40\t0,1\t10,5\tViolin_fiddle,Speech
3sZMw6BdA1Y_30_40\t0,3,5,9\t2,4,6,10\tSpeech,Speech,Speech,Speech
KvIjsmANkxI_10_20\t0\t10\tCat
12eWNawPekw_30_40\t0,0\t10,10\tHelicopter,Car
8DF2PxdT5tE_390_400\t2,7,9\t8,8,10\tBasketball_bounce,Speech,Speech
19jWnmYnlD8_30_40\t0\t10\tViolin_fiddle
8sfcMZ8A3OQ_180_190\t0\t10\tFrying_(food)
"""
)
AVVP_CLASSES = [
  *("Fire_alarm", "Accordion", "Frying_(food)", "Baby_laughter", "Speech"),
  *("Helicopter", "Banjo", "Chainsaw", "Violin_fiddle", "Acoustic_guitar"),
  *("Car", "Dog", "Baby_cry_infant_cry", "Cat", "Cheering", "Cello"),
  *("Lawn_mower", "Vacuum_cleaner", "Clapping", "Telephone_bell_ringing"),
  *("Chicken_rooster", "Motorcycle", "Singing", "Basketball_bounce"),
  "Blender",
]
AVVP_SPLITS = {
  "train": ["AP0061o0Nvk_101.8_111.8"],
  "val_pd": [
    *("8DF2PxdT5tE_390_400", "19jWnmYnlD8_30_40", "4O9rI-FpqLg_10_20"),
    "8sfcMZ8A3OQ_180_190",
  ],
  "test_pd": [
    *("H5WcJwyjxIg_2_12", "Baue01N86wE_10_20", "JR09cQfpjqE_30_40"),
    *("3sZMw6BdA1Y_30_40", "KvIjsmANkxI_10_20"),
  ],
}
SHARED_CLASSES = "Dog", "Violin_fiddle", "Cat"
SHARED_AUDIO = (
  HEADER
  + """Baue01N86wE_10_20\t1,3,9\t2,6,10\tDog,Dog,Dog
JR09cQfpjqE_30_40\t4\t10\tViolin_fiddle
KvIjsmANkxI_10_20`\t0\t1\tCat
KvIjsmANkxI_10_20\t3,8\t7,10\tCat,Cat
"""
)
SHARED_VISUAL = (
  HEADER
  + """Baue01N86wE_10_20\t0\t10\tDog
JR09cQfpjqE_30_40\t0\t10\tViolin_fiddle
KvIjsmANkxI_10_20\t0\t10\tCat
"""
)
UCF = "PlayingGuitar\nFrisbeeCatch\nBowling\tbowling\nPlayingViolin"
VGG = "playing acoustic guitar\nplaying frisbee\nbowling impact\nplaying violin"
COMMON = {"whole": False}


def zipped(folder, name, array, protocol=4):
  """A clip as the authors wrote it."""
  folder.mkdir(parents=True, exist_ok=True)
  with zipfile.ZipFile(
    folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED
  ) as archive:
    archive.writestr(f"{name}.pkl", pickle.dumps(array, protocol))


def rng(name):
  return np.random.default_rng([*name.encode()])


def video(folder, name, steps=10):
  zipped(folder / "video" / "zip", name, rng(name).random((steps, *GRID)))


def audio(folder, name, steps=10):
  zipped(folder / "audio" / "zip", name, rng(name).random((steps, SOUND)))


def table(path, *rows):
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows(rows)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text.getvalue())


def text(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content)


def put_h5(path, **arrays):
  path.parent.mkdir(parents=True, exist_ok=True)
  with h5py.File(path, "w") as file:
    for key, value in arrays.items():
      file[key] = value


def avel(folder):
  """20 clips, of which 12 are learned from."""
  own, rows = folder / "Vggsound", [("category", "video_id", "split")]
  ids = ["IqTSyx3L0j8", "Nz15RLDx4Rc", "-lUrYZHr22Q"]
  ids += [f"avelavel_{i:02d}" for i in range(17)]
  for i, name in enumerate(ids):
    split = "train" if i < 12 else "val" if i < 16 else "test"
    rows.append(([*PROMPTS][i % 3], name, split))
    video(folder / "feature", name)
    audio(folder / "feature", name, steps=(10, 9, 12)[i % 3])
  table(own / "vggsound-avel40k.csv", *rows)
  table(
    own / "vggsoundCategories2Prompts.csv",
    ("label", "prompt"),
    *PROMPTS.items(),
  )
  text(own / "VggsoundAVEL40kCategories.txt", "\n".join(PROMPTS))
  places = {"labels": str(own), "features": str(folder / "feature")}
  return COMMON | places


def ave(folder):
  """12 clips, one of them in two splits, one all background."""
  text(folder / "AVE" / "Annotations.txt", AVE)
  for split, order in AVE_ORDER.items():
    put_h5(folder / "AVE" / f"{split}_order.h5", order=np.array(order))
  noise = np.random.default_rng(0)
  shapes = {"visual_feature": (12, 10, *GRID), "audio_feature": (12, 10, SOUND)}
  for name, shape in shapes.items():
    put_h5(folder / "AVE" / f"{name}.h5", avadataset=noise.random(shape))
  return COMMON | dict.fromkeys(("labels", "features"), str(folder / "AVE"))


def avvp(folder):
  """The videos of every quirk."""
  own = folder / "AVVP"
  text(own / "AVVP_eval_audio_checked_combined.csv", AVVP_AUDIO)
  text(own / "AVVP_eval_visual_checked_combined.csv", AVVP_VISUAL)
  text(own / "AVVP_Categories.txt", "\n".join(AVVP_CLASSES))
  for split, names in AVVP_SPLITS.items():
    rows = "".join(f"{name}\tSpeech\n" for name in names)
    text(own / f"AVVP_{split}.csv", f"filename\tevent_labels\n{rows}")
  for content, make in ((AVVP_AUDIO, audio), (AVVP_VISUAL, video)):
    for line in content.splitlines()[1:]:
      make(own / "feature", line[:11])
  return COMMON | {"labels": str(own), "features": str(own / "feature")}


def ave_avvp(folder):
  """Bark and Violin of AVE; three videos of AVVP."""
  own, both = ave(folder), folder / "AVE_AVVP"
  text(both / "AVE_AVVP_eval_audio_checked_combined.csv", SHARED_AUDIO)
  text(both / "AVE_AVVP_eval_visual_checked_combined.csv", SHARED_VISUAL)
  text(both / "AVE_AVVP_Categories.txt", "\n".join(SHARED_CLASSES))
  label = np.zeros((12, 10, 4), np.float32)
  order = []
  for i, line in enumerate(AVE.splitlines()):
    name, _, _, start, end = line.split("&")
    if name != "Church bell":
      order.append(i)
      label[i, :, 3] = 1
      label[i, int(start) : int(end)] = np.eye(4)[1 if "Vi" in name else 0]
  put_h5(both / "ave_avvp_order.h5", order=np.array(order))
  put_h5(both / "ave_avvp_labels.h5", avadataset=label)
  for line in SHARED_VISUAL.splitlines()[1:]:
    audio(both / "feature", line[:11])
    video(both / "feature", line[:11])
  return COMMON | {
    "labels_ave": own["labels"],
    "features_ave": own["features"],
    "labels_avvp": str(both),
    "features_avvp": str(both / "feature"),
  }


def ucf_vgg(folder):
  """Three classes a side, two of them on both."""
  own = folder / "UCF101"
  text(own / "UCF101sameVGGSound.txt", UCF)
  text(own / "VGGSoundsameUCF101.txt", VGG)
  seen, heard = [("category", "video_id")], [("category", "video_id", "split")]
  for i, name in enumerate(("PlayingGuitar", "FrisbeeCatch", "PlayingViolin")):
    for group in range(1, 9):
      clip = f"v_{name}_g{group:02d}_c{1 + i:02d}"
      seen.append((name, clip))
      video(folder / "UCF101" / "feature", clip, steps=7 + group % 5)
  names = "playing acoustic guitar", "bowling impact", "playing violin"
  for i in range(18):
    split = "train" if i < 12 else "val" if i < 15 else "test"
    heard.append((names[i % 3], f"vggucfvgg{i:02d}", split))
    audio(folder / "vggsound40k" / "feature", heard[-1][1])
  table(own / "ucf2vggsound.csv", *seen)
  table(own / "vggsound2ucf.csv", *heard)
  return COMMON | {
    "labels": str(own),
    "features_ucf": str(own / "feature"),
    "features_vgg": str(folder / "vggsound40k" / "feature"),
  }


def clotho(folder):
  """Six sounds of five captions; odd names."""
  names = ["Bells.wav", "a b.c.wav", "häßlich \u2603.wav", "back`tick.wav"]
  names += ["five.wav", "six.wav"]
  head = ("file_name", *(f"caption_{i}" for i in range(1, 6)))
  rows = [(x, *(f"A {x} rings, {i} times" for i in range(5))) for x in names]
  table(folder / "clotho_captions_evaluation.csv", head, *rows)
  for name in names:
    audio(folder / "feature", name.removesuffix(".wav"), steps=18)
  return _captioned(folder)


def coco(folder):
  """Six photos, of one step."""
  entries = [
    {"image_id": n, "id": i, "caption": f"photo {n} of a {i}"}
    for i, n in enumerate([139, 139, 285, 632, 724, 776, 785])
  ]
  found = {"annotations": entries, "images": []}
  text(folder / "captions_val2017.json", json.dumps(found))
  for entry in entries:
    name = f"{entry['image_id']:012d}"
    zipped(folder / "feature/video/zip", name, rng(name).random(GRID))
  return _captioned(folder)


def msvd(folder):
  """Six videos of two captions."""
  names = [f"vid{i}_0_{i}" for i in range(6)]
  rows = [(x, f"{x} {i}") for x in names for i in ("runs", "sits")]
  table(folder / "msvd_test.csv", ("video_name", "caption"), *rows)
  for name in names:
    video(folder / "feature", name)
  return _captioned(folder)


def flickr_sound(folder):
  """Six videos with sound."""
  names = [f"{i}00123" for i in range(6)]
  table(folder / "flickr_sound_test.csv", ("filename",), *[(x,) for x in names])
  for name in names:
    video(folder / "feature", name)
    audio(folder / "feature", name)
  return _captioned(folder)


def valor(folder):
  """Six videos with sound and a caption."""
  names = [f"x-{i}_valor_{i}" for i in range(6)]
  entries = [{"video_id": x, "desc": f"{x} is loud"} for x in names]
  text(folder / "desc_test.json", json.dumps(entries))
  for name in names:
    video(folder / "feature", name)
    audio(folder / "feature", name)
  return _captioned(folder)


def _captioned(folder):
  places = {"labels": str(folder), "features": str(folder / "feature")}
  return COMMON | places


SETS = {
  x.__name__: x
  for x in (
    *(avel, ave, avvp, ave_avvp, ucf_vgg),
    *(clotho, coco, msvd, flickr_sound, valor),
  )
}
