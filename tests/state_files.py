"""State dicts as torch.save writes them, by hand: any pickle, any storage."""

import io
import struct
import zipfile

import numpy as np

GLOBAL = "c{}\n{}\n".format  # an opcode that asks for a name of a module
STORAGE = GLOBAL("torch", "FloatStorage")
REBUILD = GLOBAL("torch._utils", "_rebuild_tensor_v2")


def whole(number):
  """Opcodes that leave a number on the stack, as `text` does a string."""
  data = number.to_bytes(16, "little", signed=True)
  return f"\x8a\x10{data.decode('latin1')}"


def text(value):
  return f"X{chr(len(value))}\0\0\0{value}"


def tensor(key, count, offset, shape, strides, kind=STORAGE):
  """Opcodes that leave a tensor on the stack."""
  sizes = "".join(
    f"({''.join(map(whole, numbers))}t" for numbers in (shape, strides)
  )
  storage = f"({text('storage')}{kind}{text(key)}{text('cpu')}{whole(count)}"
  hooks = GLOBAL("collections", "OrderedDict") + "(tR"
  return f"{REBUILD}({storage}tQ{whole(offset)}{sizes}\x89{hooks}tR"


def state(**tensors):
  """A pickle of names and what leaves their values on the stack."""
  items = "".join(f"{text(name)}{x}" for name, x in tensors.items())
  return f"\x80\x02}}({items}u.".encode("latin1")


def modern(pickled, *, compression=zipfile.ZIP_STORED, **storages):
  """A file of torch.save since 1.6."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w", compression) as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/version", "3\n")
    for key, numbers in storages.items():
      data = np.asarray(numbers, "<f4").tobytes()
      archive.writestr(f"archive/data/{key}", data)
  return stream.getvalue()


def legacy(pickled, **storages):
  """A file of torch.save before 1.6."""
  magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
  system = b"\x80\x02}(" + text("little_endian").encode() + b"\x88u."
  keys = "".join(map(text, storages))
  pickled = pickled.replace(b"tQ", b"NtQ")  # it says that they view no other
  parts = [magic, b"\x80\x02M\xe9\x03.", system, pickled]
  parts.append(f"]({keys}e.".encode())
  for numbers in storages.values():
    data = np.asarray(numbers, "<f4")
    parts += [struct.pack("<q", data.size), data.tobytes()]
  return b"".join(parts)
