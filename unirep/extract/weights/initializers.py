"""Arrays of an ONNX graph."""

from collections.abc import Mapping

import numpy as np

from unirep.extract.weights.needs import need


def read(model: bytes, files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
  """Name -> array of all initializers.

  Args:
    model: an .onnx file.
    files: name -> bytes of the files that it keeps arrays in.
  """
  onnx = need("onnx")
  arrays = {}
  for tensor in onnx.load_model_from_string(model).graph.initializer:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
      at = {entry.key: entry.value for entry in tensor.external_data}
      begin = int(at.get("offset", 0))
      data = files[at["location"]][begin : begin + int(at["length"])]
      dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
      arrays[tensor.name] = np.frombuffer(data, dtype).reshape(*tensor.dims)
    else:
      arrays[tensor.name] = onnx.numpy_helper.to_array(tensor)
  return arrays
