"""Every formula of the released preset against recorded float64 arrays.

The directory comes from UNIREP_GOLDEN, else `../shared/golden` beside the
project, else the small subset in `tests/golden`. Sizes come from the files.
"""

import functools
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unirep.configs import pretrain
from unirep.configuration import build
from unirep.interop import official
from unirep.losses import club, cmcm, cpc, infonce, reconstruction
from unirep.losses.base import Draws
from unirep.nn import blocks, decoders, encoders
from unirep.quantizer import codebook as codebook_lib
from unirep.quantizer import mm_ema
from unirep.train import state as state_lib
from unirep.train import step as step_lib

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared" / "golden"
ORDER = ("video", "audio", "text")  # as the release calls its quantizer
LETTER = {"video": "v", "audio": "a", "text": "t"}

pytestmark = pytest.mark.usefixtures("x64")


def directory() -> pathlib.Path:
  if "UNIREP_GOLDEN" in os.environ:
    return pathlib.Path(os.environ["UNIREP_GOLDEN"])
  return SHARED if SHARED.is_dir() else HERE / "golden"


class Golden:
  """One file; arrays by key, or the part of it below a prefix."""

  def __init__(self, name):
    path = directory() / f"{name}.npz"
    if not path.exists() and directory() == HERE / "golden":
      pytest.skip(f"{path.name} is not part of the small subset")
    self.data = np.load(path)

  def __getitem__(self, key):
    return wide(self.data[key])

  def __contains__(self, key):
    return key in self.data.files

  def get(self, key):
    if key not in self:
      return None
    return self[key]

  def below(self, prefix):
    start = len(prefix) + 1
    return {
      key[start:]: wide(self.data[key])
      for key in self.data.files
      if key.startswith(f"{prefix}/")
    }


def wide(x):
  return x.astype(np.float64) if x.dtype.kind == "f" else x


def close(ours, theirs, tolerance=1e-10, what=""):
  """Relative to the largest element; exact zeros are recorded as rounding."""
  ours, theirs = np.asarray(ours), np.asarray(theirs)
  assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
  scale = max(np.abs(theirs).max(), 1e-4) if theirs.size else 1
  error = np.abs(ours - theirs).max() / scale if theirs.size else 0
  assert error <= tolerance, f"{what}: relative error {error:.2e}"


def check_vjp(golden, names, fn, inputs, outputs, tolerance=1e-10):
  """fn(params, *inputs) against recorded outputs and vector products."""

  @jax.jit
  def pulled(params, x, cotangent):
    ours, pullback = jax.vjp(fn, params, *x)
    return ours, pullback(cotangent)

  params = official.to_ours(names, golden.below("param"))
  x = [golden[f"in/{name}"] for name in inputs]
  cotangent = tuple(golden[f"in/cotangent/{name}"] for name in outputs)
  ours, (grads, *x_grads) = jax.device_get(pulled(params, x, cotangent))
  for name, y in zip(outputs, ours, strict=True):
    close(y, golden[f"out/{name}"], tolerance, name)
  for name, grad in zip(inputs, x_grads, strict=True):
    close(grad, golden[f"grad/in/{name}"], tolerance, name)
  expected = golden.below("grad/param")
  for name, grad in official.to_official(names, grads).items():
    close(grad, expected[name], tolerance, name)
  for name in set(expected) - set(names):  # parameters that we leave out
    assert not expected[name].any(), name


def run(module, *, many=False):
  def fn(params, *inputs):
    y = module.apply({"params": params}, *inputs)
    return y if many else (y,)

  return fn


def test_video_semantic_encoder():
  golden = Golden("video_semantic_encoder")
  pool = encoders.GridPool(reduction=int(golden["meta/reduction"]))
  check_vjp(
    golden,
    official.GRID_POOL,
    run(pool),
    ["video_feat"],
    ["self_att_feat"],
  )


def test_temporal_relation():
  golden = Golden("temporal_relation")
  tokens = encoders.Tokens(
    dim=int(golden["meta/d_model"]),
    heads=int(golden["meta/nhead"]),
    hidden=int(golden["meta/dim_feedforward"]),
  )

  def time_first(params, x):
    y = tokens.apply({"params": params}, x.swapaxes(0, 1))
    return (y.swapaxes(0, 1),)

  check_vjp(golden, official.TEMPORAL, time_first, ["feature"], ["feature"])


def test_video_specific_encoder():
  golden = Golden("video_specific_encoder")
  check_vjp(
    golden,
    official.GRID_SPECIFIC,
    run(encoders.GridSpecific(int(golden["meta/hidden_dim"])), many=True),
    ["video_feat"],
    ["result", "mine_result"],
  )


def test_audio_specific_encoder():
  golden = Golden("audio_specific_encoder")
  width = golden["out/result"].shape[-1]
  fn = run(encoders.LinearSpecific(width), many=True)
  check_vjp(
    golden,
    official.AUDIO_SPECIFIC,
    lambda params, x: fn(params, x)[:1],
    ["audio_feat"],
    ["result"],
  )


def test_simple_encoder():
  golden = Golden("simple_encoder")
  head = encoders.Head(golden["out/result"].shape[-1])
  check_vjp(golden, official.HEAD, run(head), ["input_feat"], ["result"])


def test_fine2coarse_encoder():
  golden = Golden("fine2coarse_encoder")
  linear = blocks.Linear(golden["out/result"].shape[-1])

  def fn(params, x):
    mean = encoders.mean_over_time(x, None)
    return (linear.apply({"params": params}, mean),)

  check_vjp(golden, official.COARSE, fn, ["x"], ["result"])


def test_video_decoder():
  golden = Golden("video_decoder")
  width = golden["out/video_recon_result"].shape[-1]
  check_vjp(
    golden,
    official.GRID_DECODER,
    run(decoders.GridDecoder(width)),
    ["video_vq", "video_encoder_result"],
    ["video_recon_result"],
  )


@pytest.mark.parametrize(
  ("name", "names", "inputs", "output"),
  [
    (
      "audio_decoder",
      official.AUDIO_DECODER,
      ["audio_vq", "audio_encoder_result"],
      "audio_decoder_result",
    ),
    (
      "simple_decoder",
      official.COARSE_DECODER,
      ["vq", "encoder_result"],
      "decoder_result",
    ),
  ],
)
def test_linear_decoders(name, names, inputs, output):
  golden = Golden(name)
  decoder = decoders.LinearDecoder(golden[f"out/{output}"].shape[-1])
  check_vjp(golden, names, run(decoder), inputs, [output])


def test_decoder_losses():
  golden = Golden("avt_decoder_losses")
  params = official.to_ours(official.DECODER, golden.below("param"))
  inputs = golden.below("in")
  mse = functools.partial(
    reconstruction.reconstruction, **released().loss.fine_reconstruction
  )

  def losses(params, x):
    grid = decoders.GridDecoder(x["video_feat"].shape[-1])
    line = decoders.LinearDecoder(x["audio_feat"].shape[-1])
    video = grid.apply(
      {"params": params["fine"]["video"]}, x["f_v_vq"], x["v_spe_result"]
    )
    audio = line.apply(
      {"params": params["fine"]["audio"]}, x["f_a_vq"], x["a_spe_result"]
    )
    fine = mse(video, x["video_feat"]) + mse(audio, x["audio_feat"])
    coarse = 0.0
    for m, letter in LETTER.items():
      target = x[f"coarse_{letter}_result"]
      decoder = decoders.LinearDecoder(target.shape[-1])
      y = decoder.apply(
        {"params": params["coarse"][m]},
        x[f"c_{letter}_vq"][:, 0],
        x[f"coarse_{letter}_spe_result"],
      )
      coarse += mse(y, target)
    return fine + coarse, (fine, coarse)

  grad = jax.jit(jax.grad(losses, argnums=(0, 1), has_aux=True))
  (param_grads, input_grads), (fine, coarse) = grad(params, inputs)
  close(fine, golden["out/fine_recon_loss"])
  close(coarse, golden["out/coarse_recon_loss"])
  for name, expected in golden.below("grad/in").items():
    close(input_grads[name], expected, what=name)
  check_compact(golden, "grad", "param/", official.DECODER, param_grads, 1e-10)


def check_compact(golden, kind, prefix, names, tree, tolerance):
  """Samples and checksums of large arrays, the whole of small ones.

  Some large arrays are stored whole beside their samples, but rounded.
  """
  seen = 0
  for name, ours in official.to_official(names, jax.device_get(tree)).items():
    key, flat = f"{prefix}{name}", ours.reshape(-1)
    if f"{kind}_check/{key}" in golden:
      where = np.floor(np.linspace(0, flat.size - 1, 2048)).astype(int)
      sample = golden[f"{kind}_sample/{key}"]
      close(flat[np.unique(where)], sample, tolerance, name)
      expected = golden[f"{kind}_check/{key}"]
      # The plain sum and the wave cancel; their scale is the absolute sum.
      scale = expected[[2, 1, 2, 2]]
      error = (np.abs(checksum(flat) - expected) / scale).max()
      assert error <= tolerance, f"{name}: {error:.2e}"
    else:
      close(ours, golden[f"{kind}/{key}"], tolerance, name)
    seen += 1
  assert seen == len(names)


def checksum(flat):
  wave = (flat * np.sin(np.arange(1, flat.size + 1))).sum()
  return np.array([flat.sum(), np.linalg.norm(flat), np.abs(flat).sum(), wave])


def released():
  return pretrain.get_config("preset=released")


def quantizer(golden, prefix, order):
  size = golden[f"{prefix}/ema_count"].shape[0]
  age_K = jnp.asarray(golden[f"{prefix}/unactivated_count"], float)
  assert size == golden[f"{prefix}/embedding"].shape[0]
  return codebook_lib.Codebook(
    jnp.asarray(golden[f"{prefix}/embedding"]),
    jnp.asarray(golden[f"{prefix}/ema_count"]),
    jnp.asarray(golden[f"{prefix}/ema_weight"]),
    dict.fromkeys(order, age_K),
    jnp.full((size,), codebook_lib.FAR),
  )


def check_codebook(ours, golden, prefix, tolerance=1e-10):
  if f"{prefix}/embedding" in golden:
    embedding = golden[f"{prefix}/embedding"]
    close(ours.code_KxD, embedding, tolerance, "codes")
    close(ours.sum_KxD, golden[f"{prefix}/ema_weight"], tolerance, "sums")
  close(ours.count_K, golden[f"{prefix}/ema_count"], tolerance, "counts")
  age_K = golden[f"{prefix}/unactivated_count"]
  np.testing.assert_array_equal(codebook_lib.idle(ours), age_K)


def quantize(golden, codebook, order, x):
  """Losses, codes and their gradient for rows x: modality -> (B, T, D)."""
  weight = {m: golden_weight(golden, m) for m in order}
  return quantization(order)(x, codebook, weight)


@functools.cache
def quantization(order):
  recipe = build.recipe(released())
  loss = released().loss

  def fn(x, codebook, weight):
    flat = {m: x[m].reshape(-1, x[m].shape[-1]) for m in order}
    idx = {m: codebook_lib.assign(codebook.code_KxD, flat[m]) for m in order}
    code = {m: codebook.code_KxD[idx[m]] for m in order}
    quantized = {
      m: codebook_lib.straight_through(flat[m], code[m]).reshape(x[m].shape)
      for m in order
    }
    commit = reconstruction.commitment(flat, code, order, **loss.commitment)
    p = {
      m: recipe.distribution(
        codebook_lib.distances(codebook.code_KxD, flat[m]), flat[m].shape[-1]
      )
      .reshape(*x[m].shape[:2], -1)
      .mean(1)
      for m in order
    }
    first, second, third = order
    pairs = [(first, second), (first, third), (third, second)]
    matching = 0.5 * sum(cmcm.cmcm(p[m], p[n], **loss.cmcm) for m, n in pairs)
    total = sum(commit.values()) + matching
    for m in order:
      total += (quantized[m] * weight[m]).sum() if weight[m] is not None else 0
    return total, (flat, idx, quantized, commit, matching)

  return jax.jit(jax.grad(fn, has_aux=True))


@functools.partial(jax.jit, static_argnames="averages")
def update(codebook, flat, idx, uniform_K, averages=True):
  """What `mm_ema.update` does, with the draws of the record."""
  options = released().codes
  if averages:
    codebook = mm_ema.ema_update(codebook, flat, idx, NAMES, **options.ema)
  codebook = mm_ema.grow_older(codebook, idx)
  return mm_ema.restart_from_codes(codebook, uniform_K, **options.restart)


def golden_weight(golden, m):
  return golden.get(f"in/{golden.case}/quantized_weight_{LETTER[m]}")


NAMES = ("audio", "video", "text")


@pytest.mark.parametrize("case", ["fresh", "warm", "n400"])
def test_quantizer_step(case):
  golden = Golden("quantizer_step")
  golden.case = case
  codebook = quantizer(golden, f"buf/{case}/init", NAMES)
  nobody = jnp.zeros(codebook.count_K.shape)
  step = 0
  while f"in/{case}/step{step}/audio_semantic" in golden:
    x = {m: golden[f"in/{case}/step{step}/{m}_semantic"] for m in NAMES}
    grads, (flat, idx, quantized, commit, matching) = quantize(
      golden, codebook, NAMES, x
    )
    codebook = update(codebook, flat, idx, nobody)
    prefix = f"out/{case}/step{step}"
    for m in NAMES:
      letter = LETTER[m]
      expected = golden[f"{prefix}/{letter}_indices"]
      np.testing.assert_array_equal(idx[m], expected)
      close(quantized[m], golden[f"{prefix}/{letter}_quantized"])
      close(commit[m], golden[f"{prefix}/{letter}_loss"])
      if f"grad/{case}/step{step}/in/{m}_semantic" in golden:
        close(grads[m], golden[f"grad/{case}/step{step}/in/{m}_semantic"])
    close(matching, golden[f"{prefix}/cmcm_loss"])
    if f"buf/{case}/step{step}/ema_count" in golden:
      check_codebook(codebook, golden, f"buf/{case}/step{step}")
    step += 1
  assert step > 1


@pytest.mark.parametrize("case", ["train", "eval"])
def test_quantizer_reset(case):
  golden = Golden("quantizer_reset")
  golden.case = case
  codebook = quantizer(golden, f"buf/{case}/init", NAMES)
  for step in range(2):
    place = f"{case}/step{step}"
    x = {m: golden[f"in/{place}/{m}_semantic"] for m in NAMES}
    _, (flat, idx, quantized, commit, matching) = quantize(
      golden, codebook, NAMES, x
    )
    for m in NAMES:
      letter = LETTER[m]
      np.testing.assert_array_equal(
        idx[m], golden[f"out/{place}/{letter}_indices"]
      )
      close(quantized[m], golden[f"out/{place}/{letter}_quantized"])
      close(commit[m], golden[f"out/{place}/{letter}_loss"])
    close(matching, golden[f"out/{place}/cmcm_loss"])
    # The release drew whole numbers below the count of active codes.
    active = golden[f"out/{place}/active_codes"].size
    dead = golden[f"out/{place}/reset_codes"]
    chosen = golden[f"in/{place}/chosen_position_in_active_codes"]
    uniform_K = np.zeros(codebook.count_K.shape)
    uniform_K[dead] = (chosen + 0.5) / active
    codebook = update(codebook, flat, idx, uniform_K, case == "train")
    check_codebook(codebook, golden, f"buf/{place}")


@pytest.mark.parametrize("case", ["btd", "bd"])
def test_club(case):
  golden = Golden("club")
  params = official.to_ours(official.CLUB, golden.below("param"))
  x, y = golden[f"in/{case}/x_samples"], golden[f"in/{case}/y_samples"]
  mean, log_variance = club.apply(params, x)
  close(mean, golden[f"out/{case}/mu"])
  close(log_variance, golden[f"out/{case}/logvar"])
  permutation = jnp.asarray(golden["in/permutation"])
  options = released().loss.club

  def likelihood(params, x, y):
    return club.log_likelihood(params, club.whole((x,), (y,)))

  def bound(params, x, y):
    return club.estimate(params, club.whole((x,), (y,)), permutation, **options)

  for name, fn in [("loglikeli", likelihood), ("mi_est", bound)]:
    run = jax.jit(jax.value_and_grad(fn, argnums=(0, 1, 2)))
    value, grads = jax.device_get(run(params, x, y))
    close(value, golden[f"out/{case}/{name}"])
    close(grads[1], golden[f"grad/{case}/{name}/in/x_samples"])
    close(grads[2], golden[f"grad/{case}/{name}/in/y_samples"])
    if name == "mi_est":  # the release throws these gradients away
      assert all(not g.any() for g in jax.tree.leaves(grads[0]))
      continue
    expected = golden.below(f"grad/{case}/{name}/param")
    for key, grad in official.to_official(official.CLUB, grads[0]).items():
      close(grad, expected[key], what=key)


def test_cross_cpc():
  golden = Golden("cross_cpc")
  params = official.to_ours(official.CPC, golden.below("param"))
  options = released().loss.cpc
  z = {m: golden[f"in/{m}_vq"] for m in ("video", "audio")}
  matrices = ["audio->video", "video->audio", "video->video", "audio->audio"]

  def loss(params, z, t):
    return cpc.cpc(params, z, t, ("video", "audio"), **options)

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  for t in golden["in/t_samples"]:
    (value, accuracy), grads = jax.device_get(run(params, z, t))
    close(value, golden[f"out/t{t}/nce"])
    for i, name in enumerate(matrices):
      expected = golden[f"out/t{t}/accuracy{i + 1}"]
      close(accuracy[name], expected, 1e-6, name)
    for m in z:
      close(grads[1][m], golden[f"grad/t{t}/in/{m}_vq"], what=m)
    expected = golden.below(f"grad/t{t}/param")
    for key, grad in official.to_official(official.CPC, grads[0]).items():
      close(grad, expected[key], what=key)


def test_infonce():
  golden = Golden("infonce")
  keywords = dict(released().loss.infonce)
  assert not keywords.pop("grouped")
  fn = functools.partial(infonce.infonce, **keywords)
  assert float(golden["meta/temperature"]) == 0.1
  for case in golden["meta/cases"]:
    query, key = golden[f"in/{case}/query"], golden[f"in/{case}/positive_key"]
    run = jax.jit(jax.value_and_grad(fn, argnums=(0, 1)))
    loss, grads = run(query, key)
    close(loss, golden[f"out/{case}/loss"])
    close(grads[0], golden[f"grad/{case}/in/query"])
    close(grads[1], golden[f"grad/{case}/in/positive_key"])


NETS = {  # official CLUB network -> our pair, its recorded permutation
  "Video_mi_net": ("fine/video", "perm_video", "mi_video_loss"),
  "Audio_mi_net": ("fine/audio", "perm_audio", "mi_audio_loss"),
  "AudioVisual_mi_net": (
    "coarse/video+audio",
    "perm_audiovisual",
    "mi_audiovisual_loss",
  ),
  "Text_mi_net": ("coarse/text", "perm_text", "mi_text_loss"),
}
MODULES = {
  "Encoder": ("encoder", official.ENCODER),
  "CPC": ("cpc", official.CPC),
  "Decoder": ("decoder", official.DECODER),
}


def golden_config(golden):
  config = released()
  config.modalities = ORDER
  config.fine = ("video", "audio")
  config.encoders.video.specific = int(golden["meta/video_out"])
  config.encoders.audio.specific = int(golden["meta/audio_out"])
  config.codebook.size = int(golden["meta/n_emb"])
  config.optimizer.learning_rate = float(golden["meta/lr"])
  config.optimizer.clip = float(golden["meta/clip_gradient"])
  config.club.learning_rate = float(golden["meta/mi_lr"])
  config.club.rounds = int(golden["meta/mi_iters"])
  return config


def golden_training(golden):
  """The network, what trains it, and both compiled, once for equal settings."""
  return prepared(golden_config(golden).to_json())


@functools.cache
def prepared(settings):
  config = build.from_json(json.loads(settings))
  network, training = build.network(config), build.training(config)
  step = jax.jit(
    functools.partial(step_lib.train_step, training=training, steps=20)
  )
  return network, training, step, jax.jit(network.forward)


def golden_state(training, params, golden):
  ours = {
    name: jax.tree.map(jnp.asarray, official.to_ours(names, part))
    for official_name, (name, names) in MODULES.items()
    for part in [below(params, official_name)]
  }
  nets = {
    pair: official.to_ours(official.CLUB, below(params, name))
    for name, (pair, *_) in NETS.items()
  }
  nets = jax.tree.map(jnp.asarray, nets)
  return state_lib.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=ours,
    codebook=quantizer(golden, "buf/init", ORDER),
    side={"club": nets, "club_opt_state": optax.adam(1e-3).init(nets)},
    opt_state=training.optimizer.init(ours),
  )


def below(params, prefix):
  start = len(prefix) + 1
  return {
    key[start:]: x for key, x in params.items() if key.startswith(f"{prefix}/")
  }


def golden_inputs(golden, take):
  batch = {
    "features": {m: jnp.asarray(take(f"in/{m}_feat")) for m in ORDER},
    "lengths": {},
  }
  draws = Draws(
    start=jnp.asarray(take("in/t_samples")),
    permutation={
      pair: jnp.asarray(take(f"in/{name}")) for pair, name, _ in NETS.values()
    },
    codebook=jax.random.key(0),
  )
  return batch, draws


def named_losses(metrics, order):
  def total(name):
    return sum(v for k, v in metrics.items() if k.startswith(f"{name}/"))

  letters = ["video->video", "audio->audio"]
  return {
    "fine_recon_loss": total("fine_reconstruction"),
    "coarse_recon_loss": total("coarse_reconstruction"),
    "c_embedding_loss": total("commitment"),
    "c_cmcm_loss": total("cmcm"),
    "cpc_loss": total("cpc"),
    "infonce_loss": total("infonce"),
    "total_loss_float64": metrics["loss"],
    "acc1": metrics["cpc_accuracy/audio->video"],
    "acc2": metrics["cpc_accuracy/video->audio"],
    "acc3": metrics[f"cpc_accuracy/{letters[0]}"],
    "acc4": metrics[f"cpc_accuracy/{letters[1]}"],
    **{loss: metrics[f"club/{pair}"] for pair, _, loss in NETS.values()},
  }


def check_metrics(metrics, golden, take, tolerance):
  for name, value in named_losses(metrics, ORDER).items():
    expected = take(f"out/{name}")
    scale = 1e-6 if name.startswith("acc") else tolerance
    error = abs(float(value) - float(expected)) / max(abs(expected), 1e-3)
    assert error <= scale, (name, float(value), float(expected), error)
  for name, (pair, *_) in NETS.items():
    series = take(f"out/mi_inner_loglikeli/{name}")
    last = metrics[f"club_log_likelihood/{pair}"]
    close(last, series[-1], tolerance, f"inner fit {name}")
  for name, (module, _) in MODULES.items():
    expected = take(f"out/grad_total_norm/{name}")
    close(metrics[f"grad_norm/{module}"], expected, tolerance, name)


def test_full_forward():
  golden = Golden("full_forward")
  _, training, step, forward = golden_training(golden)
  params = golden.below("param")
  state = golden_state(training, params, golden)
  batch, draws = golden_inputs(golden, golden.__getitem__)

  outputs = forward(state.params, state.codebook.code_KxD, batch["features"])
  for m, letter in LETTER.items():
    out = "out/forward"
    if m != "text":
      close(outputs.tokens[m], golden[f"{out}/{letter}_gen_result"], 1e-9)
      close(outputs.specific[m], golden[f"{out}/{letter}_spe_result"], 1e-9)
    coarse = f"{out}/coarse_{letter}"
    close(outputs.general[m], golden[f"{coarse}_gen_result"], 1e-9)
    close(outputs.coarse[m], golden[f"{coarse}_result"], 1e-9)
    close(outputs.coarse_specific[m], golden[f"{coarse}_spe_result"], 1e-9)
    np.testing.assert_array_equal(
      outputs.idx[m], golden[f"out/indices_{letter}"]
    )
    quantized = golden[f"{out}/c_{letter}_vq"][:, 0]
    close(outputs.code[m], quantized, 1e-9)
  close(outputs.summary["video"], golden["out/forward/v_club_feature"], 1e-9)

  after, metrics = step(state, batch, draws, None)
  check_metrics(metrics, golden, golden.__getitem__, 1e-9)
  check_codebook(after.codebook, golden, "buf/after", 1e-9)
  for name, (module, names) in MODULES.items():
    tree = after.params[module]
    check_compact(golden, "param_after", f"{name}/", names, tree, 1e-9)
  for name, (pair, *_) in NETS.items():
    tree = after.side["club"][pair]
    check_compact(golden, "param_after", f"{name}/", official.CLUB, tree, 1e-9)


@pytest.mark.slow  # another program; the curve below follows them for 20 steps
def test_full_gradients():
  """The gradients before clipping, which the step does not return.

  With plain descent for an optimizer the step is the gradient itself.
  """
  golden = Golden("full_forward")
  _, training, *_ = golden_training(golden)
  training = training._replace(optimizer=optax.sgd(1.0))
  state = golden_state(training, golden.below("param"), golden)
  batch, draws = golden_inputs(golden, golden.__getitem__)
  step = jax.jit(
    functools.partial(step_lib.train_step, training=training, steps=20)
  )
  after, _ = step(state, batch, draws, None)
  grads = jax.tree.map(lambda old, new: old - new, state.params, after.params)
  for name, (module, names) in MODULES.items():
    check_compact(golden, "grad", f"{name}/", names, grads[module], 1e-9)


def test_train_curve():
  golden = Golden("train_curve")
  start = Golden(str(golden["meta/params_from"]).removesuffix(".npz"))
  _, training, step, forward = golden_training(golden)
  state = golden_state(training, start.below("param"), golden)
  for i in range(int(golden["meta/steps"])):

    def take(key, i=i):
      return golden[key][i]

    batch, draws = golden_inputs(golden, take)
    outputs = forward(state.params, state.codebook.code_KxD, batch["features"])
    for m, letter in LETTER.items():
      np.testing.assert_array_equal(
        outputs.idx[m], take(f"out/indices_{letter}")
      )
    state, metrics = step(state, batch, draws, None)
    check_metrics(metrics, golden, take, 1e-8)
  check_codebook(state.codebook, golden, "buf/final", 1e-8)
  state = jax.device_get(state)
  trees = {
    **{n: (state.params[m], names) for n, (m, names) in MODULES.items()},
    **{
      n: (state.side["club"][p], official.CLUB) for n, (p, *_) in NETS.items()
    },
  }
  for name, (tree, names) in trees.items():
    for key, ours in official.to_official(names, tree).items():
      expected = golden[f"param_final_check/{name}/{key}"]
      error = np.abs(checksum(ours.reshape(-1)) - expected) / expected[2]
      assert error.max() <= 1e-8, (name, key, error)
