"""What is read from compiled programs, and one real TPU program."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_main import ROOT

from benchmarks import programs, scaling
from benchmarks.programs import Collective

HLO = """\
HloModule jit_step, is_scheduled=true

%add.1 (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add.2 = f32[] add(%x, %y)
}

%fused_computation.7 (p.1: f32[2,3]) -> f32[8,3] {
  %p.1 = f32[2,3]{1,0} parameter(0)
  ROOT %all-gather.9 = f32[8,3]{1,0:T(8,128)} all-gather(%p.1), channel_id=1, \
replica_groups={{0,1,2,3}}, dimensions={0}, frontend_attributes={chain_id="4"}
}

%condition.1 (c: (s32[], f32[5])) -> pred[] {
  %limit = s32[]{:T(128)} constant(6)
  %c = (s32[], f32[5]) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

%body.1 (b: (s32[], f32[5])) -> (s32[], f32[5]) {
  %b = (s32[], f32[5]) parameter(0)
  %v = f32[5]{0} get-tuple-element(%b), index=1
  %piece = f32[8,3] fusion(%v), kind=kCustom, calls=%fused_computation.7
  %around = f32[5]{0} collective-permute(%v), channel_id=3, \
source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  ROOT %t = (s32[], f32[5]) tuple(%i2, %around)
}

ENTRY %main.3 (a: f32[2,3], w: bf16[10]) -> (f32[8,3], bf16[10]) {
  %a = f32[2,3]{1,0} parameter(0)
  %again = f32[8,3]{1,0} all-gather(%a), channel_id=1, \
replica_groups=[1,4]<=[4], dimensions={0}, frontend_attributes={chain_id="4"}
  %sums = (f32[], bf16[10]{0}) all-reduce(%loss, %w), channel_id=2, \
replica_groups=[2,2]<=[4], to_apply=%add.1
  %start = (f32[6], f32[3]) reduce-scatter-start(%f), channel_id=5, \
replica_groups={{0,1}}, to_apply=%add.1
  %done = f32[3] reduce-scatter-done(%start)
  %loop = (s32[], f32[5]) while(%init), condition=%condition.1, body=%body.1
}
"""


def test_collectives_of_a_program():
  found = sorted(programs.collectives(HLO))
  assert found == [
    Collective("all-gather", 96, 4, 1),  # one chain, partly inside the loop
    Collective("all-reduce", 24, 2, 1),
    Collective("collective-permute", 20, 4, 6),
    Collective("reduce-scatter", 24, 2, 1),
  ]
  wire = {x.kind: x.wire for x in found}
  assert wire["all-gather"] == 72  # the three quarters that others hold
  assert wire["all-reduce"] == 24  # twice a half
  assert wire["collective-permute"] == 120


def test_products_of_a_program():
  a = jnp.zeros((3, 4, 5))
  kernel = jnp.zeros((3, 3, 2, 7))

  def fn(a, kernel):
    y = jnp.einsum("bij,bjk->bik", a, a.swapaxes(1, 2))  # 2 * 5 * 48
    image = jnp.zeros((1, 8, 8, 2))
    z = jax.lax.conv_general_dilated(  # 2 * 9 * 2 * 8 * 8 * 7
      image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

    def step(carry, _):  # 11 * 2 * 4 * 16
      return jax.jit(jnp.matmul)(carry, carry), None

    w, _ = jax.lax.scan(step, jnp.zeros((4, 4)), length=11)
    return y.sum() + z.sum() + w.sum()

  flops = programs.products(jax.make_jaxpr(fn)(a, kernel).jaxpr)
  assert flops == 2 * 5 * 48 + 2 * 18 * 448 + 11 * 2 * 4 * 16


def row(**changes):
  return {
    **scaling.Case("v5e:2x2", 320)._asdict(),
    **{"chips": 4, "fits": True, "collectives": {"all-reduce": 3}, "host": []},
    **changes,
  }


def test_faults_are_named():
  assert scaling.faults(row()) == []
  assert scaling.faults(row(fits=False)) == ["does not fit"]
  assert scaling.faults(row(collectives={"all-to-all": 1})) == [
    "all-to-all is not in the design"
  ]
  ring = row(contrast="ring", collectives={"all-gather": 1})
  assert scaling.faults(ring) == ["all-gather is not in the design"]
  assert (
    "65 collectives" in scaling.faults(row(collectives={"all-reduce": 65}))[0]
  )
  assert "callback" in scaling.faults(row(host=["callback"]))[0]


def test_cases_are_what_is_promised():
  slices = ("v5e:2x2", "v5e:16x16", "v6e:16x16", "v4:4x4x4", "v5p:4x4x4")
  assert {x.topology for x in scaling.CHECKS} == {*slices}
  assert len({*scaling.CHECKS}) == 20
  assert all(x.batch == 80 * scaling.chips(x.topology) for x in scaling.CHECKS)
  assert [scaling.chips(x.topology) for x in scaling.WEAK] == [
    1,
    4,
    16,
    64,
    256,
  ]
  assert {x.batch for x in scaling.LARGE} == {65_536}


COMPILE = """
import json, pathlib, sys
from benchmarks import scaling
out = pathlib.Path(sys.argv[1])
row = scaling.describe(scaling.Case("v5e:2x2", 32, size="tiny"), out)
print(json.dumps(row | {"faults": scaling.faults(row)}))
"""


@pytest.mark.tpu
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the tpu extra"
)
def test_a_step_compiles_for_tpus(tmp_path):
  """With the compiler of real TPUs, which needs none."""
  change = {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    [sys.executable, "-c", COMPILE, str(tmp_path)],
    capture_output=True,
    text=True,
    env=os.environ | change | {"ALLOW_MULTIPLE_LIBTPU_LOAD": "1"},
    cwd=ROOT,
    check=True,
  )
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["faults"] == []
  assert {"all-reduce", "all-gather"} <= set(found["collectives"])
  assert 0 < found["memory_bytes"] < 16e9
  assert np.isfinite(found["step_seconds"])
  assert len(list(tmp_path.glob("*.hlo.gz"))) == 1
