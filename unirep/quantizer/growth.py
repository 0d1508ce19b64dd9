"""Growth of a codebook by what modalities share.

All codes begin asleep (dead). A code is proposed at a clip or step where all
modalities agree that the codes are wrong: where their residuals (each vector
minus its nearest code) point the same way. The code is placed only if the
modalities would agree on its use: among the clips and steps of the batch where
at least one modality would choose it, all must choose it in at least a given
share. (In training that share is low, since the first codes each win much.) A
direction that one modality has alone, or that each has in its own way (a
speaker, a camera, the gap between modalities that are not aligned yet), gets no
code.

Codes that no modality chooses fall asleep again. So does the smaller of two
codes that have come closer than the distance at which one may be placed beside
the other, because modalities would be divided between them. Hence training
decides how many codes are awake: few where modalities share little, many where
they share much. The rest of K stays asleep.

For a clip or step with vectors x_m of M modalities and nearest code c, the
score is the mean inner product of two residuals,

    s = mean over m != n of (x_m - c) . (x_n - c) / D.

It estimates the squared distance from the code to the part that modalities
share; the parts that they do not share cancel, as in a cross-covariance. On the
sphere the score is at most 4, and it is 2 for vectors that are equal in all
modalities and at a right angle to the code.

Dimensions: B samples of this device, G of all devices, C candidates a sample
(clip and steps), R = B * C (or the part of one granularity), M modalities, K
codes, D code width, P proposals a step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unirep.parallel import collectives
from unirep.quantizer import codebook as codebooks
from unirep.quantizer.codebook import Assignment, Codebook

LOOK = 64  # codes a step that `merge` compares with all others


class Near(NamedTuple):
  """The similarity of vectors to the nearest of the codes so far.

  It is updated whenever a code is placed, so that a new code costs one inner
  product with each vector, and distances to all codes are not computed again.

  Attributes:
    each_MxR: inner product of each modality's vector with its nearest code.
      Where the modality is missing, D, which no code exceeds.
    sum_R: inner product of the sum over present modalities with the code
      nearest to it.
  """

  each_MxR: jax.Array
  sum_R: jax.Array


def update(
  codebook: Codebook,
  assignments: Sequence[Assignment],
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
    assignments: clips, and maybe steps, assigned jointly.
    key: PRNG key, equal on every device.
    progress: share of training that is done.
    decay: see `codebook.joint_update`.
    limit: a code that no modality chose for more steps falls asleep.
    places: proposals in a step; with 4, up to 128 codes are placed in 32 steps.
    threshold: least score of a clip or step that may get a code, see above.
    agreed: of the clips and steps where at least one modality would choose the
      code, the least share in which all must.
    until: progress at which placements end, so that codes come to rest.
    count: first count of a code that is placed. The smaller it is, the more
      the vectors that choose the code move it.
    axis_name: the device axis over which samples are spread.
  """
  codebook = codebooks.joint_update(
    codebook, assignments, decay=decay, axis_name=axis_name
  )
  codebook = fall_asleep(codebook, limit=limit)
  # Codes approach each other slowly, so a few of them are looked at each step:
  # all pairs would be K^2 distances. The fold keeps these draws apart from the
  # noise below, which comes from the same key.
  K = codebook.count_K.size
  look_P = jax.random.randint(jax.random.fold_in(key, 1), (min(K, LOOK),), 0, K)
  codebook = merge(codebook, look_P, threshold=threshold)
  B = assignments[0].weight_B.shape[0]
  candidates = sum(x.weight_B.shape[0] for x in assignments) // B
  # Drawn for the global batch on every device, so that the codes that are
  # placed do not depend on the number of devices.
  shape = places, collectives.global_rows(B, axis_name), candidates
  return place(
    codebook,
    assignments,
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
  """Puts codes to sleep that are close to a code with a larger count.

  A clip and its steps may each have grown a code for one meaning, and the two
  codes have approached each other since. Vectors of the code that falls asleep
  choose the other one from then on.

  Args:
    codebook: codes on the sphere.
    look_P: indices of the codes that may fall asleep.
    threshold: two codes are close if their squared distance is below threshold
      * D: a clip or step at the one would then score too little to get a code
      beside the other.
  """
  code_KxD, count_K = codebook.code_KxD, codebook.count_K
  K, D = code_KxD.shape
  count_Px1 = count_K[look_P][:, None]
  lesser_PxK = count_Px1 < count_K
  # On a tie the later index goes. Otherwise two equal codes would both fall
  # asleep, or a code beside itself.
  lesser_PxK |= (count_Px1 == count_K) & (look_P[:, None] > jnp.arange(K))
  distance_PxK = codebooks.distances(code_KxD, code_KxD[look_P])
  goes_P = (lesser_PxK & (distance_PxK < threshold * D)).any(1)
  return _keep(codebook, jnp.ones(K, bool).at[look_P].set(~goes_P))


def _keep(codebook: Codebook, stays_K: jax.Array) -> Codebook:
  """Puts all other codes to sleep."""
  # The count and sum go too, or the next code in this slot would inherit them.
  return codebook._replace(
    code_KxD=jnp.where(stays_K[:, None], codebook.code_KxD, 0),
    count_K=jnp.where(stays_K, codebook.count_K, 0),
    sum_KxD=jnp.where(stays_K[:, None], codebook.sum_KxD, 0),
  )


def place(
  codebook: Codebook,
  assignments: Sequence[Assignment],
  noise_PxGxC: jax.Array,
  *,
  open_: jax.Array | bool = True,
  threshold: float = 0.2,
  agreed: float = 0.2,
  count: float = 0.1,
  axis_name: str | None = None,
) -> Codebook:
  """Wakes codes, one after the other, where modalities share something new.

  Clips and steps are drawn with probability proportional to their score, as
  k-means++ draws by distance. Each code that is placed lowers the scores near
  it, so that the next proposal comes from elsewhere.

  Args:
    codebook: state after `codebook.joint_update`.
    assignments: clips, and maybe steps, with distances from the codes before
      `codebook.joint_update`.
    noise_PxGxC: Gumbel noise for the draws, (proposals, samples of the global
      batch, candidates of a sample); one assignment's candidates come after the
      other's.
    open_: whether any code may be placed.
    threshold: least score.
    agreed: of the clips and steps where at least one modality would choose the
      code, the least share in which all must.
    count: count of the placed code; its sum becomes count * code.
    axis_name: the device axis over which samples are spread.
  """
  B, D = assignments[0].weight_B.shape[0], codebook.code_KxD.shape[1]
  mine_B = collectives.local_rows(B, axis_name)

  def propose(carry, noise_BxC):
    book, nears = carry
    fits, code_D = _draw(assignments, nears, noise_BxC, threshold, axis_name)
    after = [
      nearer(assignment, near, code_D)
      for assignment, near in zip(assignments, nears, strict=True)
    ]
    share = _agreement(assignments, nears, after, axis_name)
    # The first free slot, as a mask that is empty if the proposal is refused or
    # no slot is free: shapes must not depend on the outcome.
    free_K = ~codebooks.awake(book.code_KxD)
    here_K = free_K & (jnp.arange(free_K.size) == free_K.argmax())
    here_K &= fits & (share >= agreed) & open_
    book = _wake(book, here_K, code_D, count)
    nears = jax.tree.map(
      lambda new, old: jnp.where(here_K.any(), new, old), after, nears
    )
    return (book, nears), None

  # One proposal after the other, since each depends on the codes before it.
  start = (codebook, [nearest(assignment, D) for assignment in assignments])
  (codebook, _), _ = jax.lax.scan(propose, start, noise_PxGxC[:, mine_B])
  return codebook


def _draw(assignments, nears, noise_BxC, threshold, axis_name):
  """Whether any candidate scores enough, and the code (D,) of the drawn one."""
  B = noise_BxC.shape[0]
  scores = [score(*x) for x in zip(assignments, nears, strict=True)]
  score_R = _by_sample(scores, B)
  fits_R = _by_sample([_weight(x) > 0 for x in assignments], B)
  fits_R &= score_R > threshold
  # The argmax of log s + Gumbel noise is a draw in proportion to s.
  rank_R = jnp.log(jnp.where(fits_R, score_R, 1)) + noise_BxC.reshape(-1)
  rank_R = jnp.where(fits_R, rank_R, -jnp.inf)
  best = rank_R.argmax()
  code_D = _by_sample([_sum(x) for x in assignments], B)[best]
  rank, code_D = collectives.winner(rank_R[best], code_D, axis_name)
  return jnp.isfinite(rank), codebooks.on_sphere(code_D)


def nearest(assignment: Assignment, dim: int) -> Near:
  """Similarities to the nearest code; below -FAR / 4 if all are asleep."""
  # On the sphere |x - c|^2 = 2 D - 2 x.c, and for the sum over M modalities the
  # distances add up to 2 M D - 2 (sum of x).c.
  distance_MxRxK = assignment.stack(assignment.distance)
  each_MxR = dim - distance_MxRxK.min(-1) / 2
  total_R = distance_MxRxK.sum(0).min(-1)
  return Near(each_MxR, assignment.modalities() * dim - total_R / 2)


def nearer(assignment: Assignment, near: Near, code_D: jax.Array) -> Near:
  """The similarities once `code_D` is a code as well."""
  each_MxR = assignment.stack(
    {m: x_RxD @ code_D for m, x_RxD in assignment.x.items()}
  )
  return Near(
    jnp.maximum(near.each_MxR, each_MxR),
    jnp.maximum(near.sum_R, each_MxR.sum(0)),
  )


def score(assignment: Assignment, near: Near) -> jax.Array:
  """The score of each clip or step: (R,), see above.

  Without any code awake, the mean inner product of the vectors. Vectors and
  codes are on the sphere, so that the square of each is D.
  """
  # Fewer than two modalities share nothing: `_weight` leaves them out, and here
  # they must only not divide by 0.
  M_R = jnp.maximum(assignment.modalities(), 2)
  sum_RxD = _sum(assignment)
  D = sum_RxD.shape[1]
  awake_R = near.sum_R > -codebooks.FAR / 4
  near_R = jnp.where(awake_R, near.sum_R, 0)
  # With S the sum of x_m: the sum over pairs of x_m.x_n is |S|^2 - M D, and
  # taking c away from both adds -2 (M - 1) S.c + M (M - 1) D. So no pair of
  # modalities is formed.
  cross_R = (sum_RxD**2).sum(-1) - M_R * D
  cross_R -= jnp.where(awake_R, 2 * (M_R - 1) * near_R - M_R * (M_R - 1) * D, 0)
  return cross_R / (M_R * (M_R - 1) * D)


def _agreement(assignments, before, after, axis_name):
  """Of the weight that a code would win, the share won in all modalities."""
  everyone = anyone = jnp.zeros(())
  for assignment, old, new in zip(assignments, before, after, strict=True):
    wins_MxR = new.each_MxR > old.each_MxR
    # A missing modality wins nothing, and has no say in whether all agree.
    missing = [~assignment.present[m] for m in assignment.x]
    agree_R = (wins_MxR | jnp.stack(missing)).all(0)
    everyone += (_weight(assignment) * agree_R).sum()
    anyone += (_weight(assignment) * wins_MxR.any(0)).sum()
  anyone = collectives.psum(anyone, axis_name)
  return collectives.psum(everyone, axis_name) / jnp.maximum(anyone, 1e-9)


def _sum(assignment: Assignment) -> jax.Array:
  """The sum over present modalities: (R, D)."""
  return assignment.stack(assignment.x).sum(0)


def _weight(assignment):
  """Weights (R,), 0 where fewer than two modalities are present."""
  return codebooks.only(assignment.modalities() > 1, assignment.weight_B)


def _by_sample(parts, samples: int):
  """Concatenates rows of all assignments, those of one sample side by side."""
  # Samples first, so that the order is the same on one device and on many.
  parts = [x.reshape(samples, -1, *x.shape[1:]) for x in parts]
  whole = jnp.concatenate(parts, 1)
  return whole.reshape(-1, *whole.shape[2:])


def _wake(book: Codebook, here_K, code_D, count) -> Codebook:
  code_KxD = jnp.where(here_K[:, None], code_D, 0).astype(book.code_KxD.dtype)
  fresh_Kx1 = here_K[:, None]
  return Codebook(
    code_KxD=jnp.where(fresh_Kx1, code_KxD, book.code_KxD),
    count_K=jnp.where(here_K, count, book.count_K).astype(code_KxD.dtype),
    sum_KxD=jnp.where(fresh_Kx1, count * code_KxD, book.sum_KxD),
    # A new code is as young as one that was just chosen, so that it does not
    # fall asleep before any vector could choose it.
    age={m: jnp.where(here_K, 0, age) for m, age in book.age.items()},
    tenure_K=jnp.where(here_K, 0, book.tenure_K),
  )
