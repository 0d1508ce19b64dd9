"""Photos: read, turned upright, cropped and resized.

Dimensions: H/W rows and columns, 3 colours.
"""

import warnings

import numpy as np

from unirep.extract.broken import BrokenError, regular

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
PIXELS = 10**8  # that an image or a frame may have
THIN = 8  # pixels of the shorter side, at least ...
LONG = 20  # ... and the largest ratio of the longer side to it


def read(path: str, size: tuple[int, int]) -> np.ndarray:
  """One image, (H, W, 3) uint8; of several in a file the first.

  Raises:
    BrokenError: if the file is no image, cut off, too large or too thin.
  """
  from PIL import Image, ImageOps, UnidentifiedImageError

  regular(path)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # sizes are checked below
      with Image.open(path, formats=FORMATS) as image:
        check_size(path, image.width, image.height)
        image.load()
        # Before colours change: conversions drop the orientation.
        ImageOps.exif_transpose(image, in_place=True)
        return fit(_rgb(image), size)
  except UnidentifiedImageError as error:
    raise BrokenError(path, f"is no image ({', '.join(FORMATS)})") from error
  except BrokenError:
    raise
  except Exception as error:  # decoders raise all kinds
    reason = str(error) or type(error).__name__
    raise BrokenError(path, f"cannot be read: {reason}") from error


def check_size(path: str, width: int, height: int) -> None:
  """Raises BrokenError for an image too large, too small, or too thin."""
  short, long = sorted((width, height))
  if width * height > PIXELS:
    raise BrokenError(path, f"{width} x {height} pixels are too many")
  if short < THIN or long > LONG * short:
    raise BrokenError(path, f"{width} x {height} pixels are too thin")


def fit(image, size: tuple[int, int], stretch: float = 1.0) -> np.ndarray:
  """The largest centred crop with the ratio of `size`, resized to it.

  Args:
    image: a Pillow image in RGB.
    size: height and width.
    stretch: width of a pixel over its height.
  """
  from PIL import Image

  height, width = size
  ratio = width / height / stretch
  w = min(image.width, image.height * ratio)
  h = min(image.height, image.width / ratio)
  left, top = (image.width - w) / 2, (image.height - h) / 2
  box = (left, top, left + w, top + h)
  small = image.resize((width, height), Image.Resampling.BILINEAR, box)
  return np.asarray(small)


def _rgb(image):
  """Converts to 8 bits of RGB; transparent parts become black.

  Large pictures are copied no more often than needed.
  """
  from PIL import Image

  if image.mode.startswith(("I", "F")):
    x = np.asarray(image).astype(np.float32)
    x /= 65535.0 if image.mode.startswith("I") else max(1.0, float(x.max()))
    x *= 255
    grey = Image.fromarray(x.clip(0, 255, out=x).astype(np.uint8))
    return grey.convert("RGB")
  if image.has_transparency_data:
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    black.alpha_composite(rgba)
    return black.convert("RGB")
  return image if image.mode == "RGB" else image.convert("RGB")
