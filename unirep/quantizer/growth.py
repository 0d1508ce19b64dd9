"""Growth of a codebook by what modalities share.

All codes begin asleep. One is proposed where the modalities of a clip, or of a
time step, agree that the codes are wrong: where their residuals, what is left
of each after the nearest code is taken off, point the same way. It is placed
only if modalities would agree on its use: of the places of the batch at which
any modality by itself would choose it, all must choose it at a given share (in
training that is low while few codes exist, each of which wins much). What
only one modality says, or each in its own way (a speaker, a camera, the gap
between modalities that are not yet aligned) draws no code. Codes that nobody
chooses fall asleep again, and so does the lesser of two that have come closer
than one may be placed to another: modalities would divide between them. So the
number of codes in use becomes a result, few where little is shared and many
where much is, and what remains of K is left over.

The score of a place with rows x_m of M modalities and nearest code c is the
mean inner product of two residuals,

    s = mean over m != n of (x_m - c) . (x_n - c) / D,

an estimate of how far what they share is from the code (unbiased by what each
keeps to itself, as in cross-covariance). On the sphere it is at most 4, and 2
for a direction at a right angle to the code's that all modalities agree upon.

Dimensions: B samples of this device, C candidates a sample, R = B * C, M
modalities, K codes, D code width, P proposals a step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unirep.parallel import collectives
from unirep.quantizer import codebook as codebooks
from unirep.quantizer.codebook import Codebook, Rows

LOOK = 64  # codes a step of which it is asked whether they are worth keeping


class Near(NamedTuple):
  """How well the codes fit the rows of one level.

  Attributes:
    each_MxR: inner product of each modality's row with its nearest code.
    sum_R: that of the sum of the rows with the code nearest to it.

  Where a modality is missing, see `Rows.present`, its part of the first is as
  large as can be, and the second is of the others.
  """

  each_MxR: jax.Array
  sum_R: jax.Array


def update(
  codebook: Codebook,
  levels: Sequence[Rows],
  key: jax.Array,
  progress: jax.Array,
  *,
  decay: float = 0.99,
  limit: float = 30.0,
  places: int = 4,
  threshold: float = 0.2,
  agreed: float = 0.2,
  until: float = 0.5,
  count: float = 0.1,
  axis_name: str | None = None,
) -> Codebook:
  """One step: codes move by averages, some fall asleep, some are placed.

  Args:
    codebook: state before the step.
    levels: rows of clips, and maybe of time steps, that were assigned jointly.
    key: PRNG key, equal on every device.
    progress: share of training that is done.
    decay: see `codebook.joint_update`.
    limit: a code that no modality chose for more steps falls asleep.
    places: proposals of a step, so that 4 may place 128 codes in 32 steps.
    threshold: least score of a place for a code, see above.
    agreed: least share of the places that any modality would give to a code
      which all of them would give to it.
    until: progress at which placements end, so that codes come to rest.
    count: a placed code's count. The smaller, the sooner the rows that choose
      it move it.
    axis_name: the device axis over which rows are spread.
  """
  codebook = codebooks.joint_update(
    codebook, levels, decay=decay, axis_name=axis_name
  )
  codebook = fall_asleep(codebook, limit=limit)
  # A few codes a step: all pairs would be too many where K is large.
  K = codebook.count_K.size
  look_P = jax.random.randint(jax.random.fold_in(key, 1), (min(K, LOOK),), 0, K)
  codebook = merge(codebook, look_P, threshold=threshold)
  B = levels[0].weight_B.shape[0]
  candidates = sum(rows.weight_B.shape[0] for rows in levels) // B
  # By global sample, so that the number of devices can't change it.
  shape = places, collectives.global_rows(B, axis_name), candidates
  return place(
    codebook,
    levels,
    jax.random.gumbel(key, shape),
    open_=progress < until,
    threshold=threshold,
    agreed=agreed,
    count=count,
    axis_name=axis_name,
  )


def fall_asleep(codebook: Codebook, *, limit: float) -> Codebook:
  """Puts codes to sleep that no modality chose for more than `limit` steps."""
  return _keep(codebook, codebooks.idle(codebook) <= limit)


def merge(
  codebook: Codebook, look_P: jax.Array, *, threshold: float
) -> Codebook:
  """Puts a code to sleep beside a greater one that is as good.

  The clips and the seconds of one meaning may each have grown a code, and the
  two have moved together since. What chose the lesser one chooses the other.

  Args:
    codebook: codes on the sphere.
    look_P: numbers of the codes to look at.
    threshold: two codes are one if their squared distance is below threshold *
      D, that is, if a place at the one would not score enough for a code beside
      the other, see above.
  """
  code_KxD, count_K = codebook.code_KxD, codebook.count_K
  K, D = code_KxD.shape
  count_Px1 = count_K[look_P][:, None]
  lesser_PxK = count_Px1 < count_K
  lesser_PxK |= (count_Px1 == count_K) & (look_P[:, None] > jnp.arange(K))
  distance_PxK = codebooks.distances(code_KxD, code_KxD[look_P])
  goes_P = (lesser_PxK & (distance_PxK < threshold * D)).any(1)
  return _keep(codebook, jnp.ones(K, bool).at[look_P].set(~goes_P))


def _keep(codebook: Codebook, stays_K: jax.Array) -> Codebook:
  """Puts all other codes to sleep."""
  return codebook._replace(
    code_KxD=jnp.where(stays_K[:, None], codebook.code_KxD, 0),
    count_K=jnp.where(stays_K, codebook.count_K, 0),
    sum_KxD=jnp.where(stays_K[:, None], codebook.sum_KxD, 0),
  )


def place(
  codebook: Codebook,
  levels: Sequence[Rows],
  noise_PxGxC: jax.Array,
  *,
  open_: jax.Array | bool = True,
  threshold: float = 0.2,
  agreed: float = 0.2,
  count: float = 0.1,
  axis_name: str | None = None,
) -> Codebook:
  """Wakes codes, one after the other, at places that share something new.

  Places are drawn in proportion to their score, as k-means++ draws by distance,
  and each code that is placed lowers the scores around it.

  Args:
    codebook: state after `codebook.joint_update`.
    levels: rows at the same places, with their distances from the codes before
      it; see `codebook.Rows`.
    noise_PxGxC: Gumbel noise, which decides; G is the global batch and C the
      candidates of a sample, the levels' one after the other.
    open_: whether any code may be placed.
    threshold: least score.
    agreed: least share of the places won by any modality that all win.
    count: the placed code's count; its sum becomes count * code.
    axis_name: the device axis over which rows are spread.
  """
  B, D = levels[0].weight_B.shape[0], codebook.code_KxD.shape[1]
  mine_B = collectives.local_rows(B, axis_name)

  def propose(carry, noise_BxC):
    book, nears = carry
    found, row_D = _draw(levels, nears, noise_BxC, threshold, axis_name)
    after = [
      nearer(rows, near, row_D)
      for rows, near in zip(levels, nears, strict=True)
    ]
    share = _agreement(levels, nears, after, axis_name)
    free_K = ~codebooks.awake(book.code_KxD)
    here_K = free_K & (jnp.arange(free_K.size) == free_K.argmax())
    here_K &= found & (share >= agreed) & open_
    book = _wake(book, here_K, row_D, count)
    nears = jax.tree.map(
      lambda new, old: jnp.where(here_K.any(), new, old), after, nears
    )
    return (book, nears), None

  start = (codebook, [nearest(rows, D) for rows in levels])
  (codebook, _), _ = jax.lax.scan(propose, start, noise_PxGxC[:, mine_B])
  return codebook


def _draw(levels, nears, noise_BxC, threshold, axis_name):
  """Whether any place of all devices scores enough, and what is said there."""
  B = noise_BxC.shape[0]
  scores = [score(*x) for x in zip(levels, nears, strict=True)]
  score_R = _by_sample(scores, B)
  fits_R = _by_sample([_weight(rows) > 0 for rows in levels], B)
  fits_R &= score_R > threshold
  rank_R = jnp.log(jnp.where(fits_R, score_R, 1)) + noise_BxC.reshape(-1)
  rank_R = jnp.where(fits_R, rank_R, -jnp.inf)
  best = rank_R.argmax()
  row_D = _by_sample([_sum(rows) for rows in levels], B)[best]
  rank, row_D = collectives.winner(rank_R[best], row_D, axis_name)
  return jnp.isfinite(rank), codebooks.on_sphere(row_D)


def nearest(rows: Rows, dim: int) -> Near:
  """Inner products with the nearest code, below -FAR / 4 if all are asleep."""
  distance_MxRxK = rows.stack(rows.distance)
  each_MxR = dim - distance_MxRxK.min(-1) / 2
  total_R = distance_MxRxK.sum(0).min(-1)
  return Near(each_MxR, rows.modalities() * dim - total_R / 2)


def nearer(rows: Rows, near: Near, row_D: jax.Array) -> Near:
  """The same once `row_D` is a code as well."""
  each_MxR = rows.stack({m: x_RxD @ row_D for m, x_RxD in rows.x.items()})
  return Near(
    jnp.maximum(near.each_MxR, each_MxR),
    jnp.maximum(near.sum_R, each_MxR.sum(0)),
  )


def score(rows: Rows, near: Near) -> jax.Array:
  """Mean inner product of residuals, see above: (R,).

  Without any code awake, the mean inner product of the rows. Rows and codes are
  on the sphere, so that squares of both are D. Of two modalities or more.
  """
  M, sum_RxD = rows.modalities(), _sum(rows)
  M = jnp.maximum(M, 2) if rows.present else M  # fewer: see `_weight`
  D = sum_RxD.shape[1]
  awake_R = near.sum_R > -codebooks.FAR / 4
  near_R = jnp.where(awake_R, near.sum_R, 0)
  cross_R = (sum_RxD**2).sum(-1) - M * D
  cross_R -= jnp.where(awake_R, 2 * (M - 1) * near_R - M * (M - 1) * D, 0)
  return cross_R / (M * (M - 1) * D)


def _agreement(levels, before, after, axis_name):
  """Of the weight that a code would win, the share won in all modalities."""
  everyone = anyone = jnp.zeros(())
  for rows, old, new in zip(levels, before, after, strict=True):
    wins_MxR = new.each_MxR > old.each_MxR
    everyone += (_weight(rows) * _unanimous(rows, wins_MxR)).sum()
    anyone += (_weight(rows) * wins_MxR.any(0)).sum()
  anyone = collectives.psum(anyone, axis_name)
  return collectives.psum(everyone, axis_name) / jnp.maximum(anyone, 1e-9)


def _unanimous(rows, wins_MxR):
  if not rows.present:
    return wins_MxR.all(0)
  return wins_MxR.sum(0) == rows.modalities()  # who is missing wins nothing


def _sum(rows: Rows) -> jax.Array:
  """What the modalities say together: (R, D)."""
  return rows.stack(rows.x).sum(0)


def _weight(rows):
  """What places count at which something may be shared."""
  if not rows.present:
    return rows.weight_B
  return codebooks.only(rows.modalities() > 1, rows.weight_B)


def _by_sample(parts, samples: int):
  """Concatenates rows of all levels, those of one sample side by side."""
  parts = [x.reshape(samples, -1, *x.shape[1:]) for x in parts]
  whole = jnp.concatenate(parts, 1)
  return whole.reshape(-1, *whole.shape[2:])


def _wake(book: Codebook, here_K, row_D, count) -> Codebook:
  row_KxD = jnp.where(here_K[:, None], row_D, 0).astype(book.code_KxD.dtype)
  fresh = here_K[:, None]
  return Codebook(
    code_KxD=jnp.where(fresh, row_KxD, book.code_KxD),
    count_K=jnp.where(here_K, count, book.count_K).astype(row_KxD.dtype),
    sum_KxD=jnp.where(fresh, count * row_KxD, book.sum_KxD),
    age={m: jnp.where(here_K, 0, age) for m, age in book.age.items()},
    tenure_K=jnp.where(here_K, 0, book.tenure_K),
  )
