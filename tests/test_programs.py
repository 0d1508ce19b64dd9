"""Programs are read right: a hand-written HLO module, and small jaxprs."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from benchmarks import chips, programs, slices
from benchmarks.programs import Collective
from unirep.parallel import mesh as mesh_lib

# Two chains share a channel; the second one's middle lies in a loop of 5, in
# which a sum and a nested loop of 3 run as well.
HLO = """HloModule jit_step, is_scheduled=true, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%start.1 (p: f32[2,8]) -> f32[8,8] {
  ROOT %all-gather.1 = f32[8,8]{1,0:T(8,128)} all-gather(%p), channel_id=1, \
replica_groups={{0,1,2,3}}, dimensions={0}, \
frontend_attributes={chain_id="0"}
}

%middle.1 (p: f32[2,8]) -> f32[8,8] {
  ROOT %all-gather.2 = f32[8,8]{1,0:T(8,128)} all-gather(%p), channel_id=1, \
replica_groups={{0,1,2,3}}, dimensions={0}, \
frontend_attributes={chain_id="0"}
}

%start.2 (p: f32[2,8]) -> f32[8,8] {
  ROOT %all-gather.3 = f32[8,8]{1,0:T(8,128)} all-gather(%p), channel_id=1, \
replica_groups={{0,1,2,3}}, dimensions={0}, \
frontend_attributes={chain_id="1"}
}

%all-reduce-scatter.1 (input: f32[12,8]) -> f32[4,8] {
  %all-reduce.1 = f32[16,8]{1,0} all-reduce(%input), channel_id=2, \
replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %slice = f32[4,8] slice(%all-reduce.1), slice={[0:4], [0:8]}
}

%inner.body (s: (s32[], bf16[4])) -> (s32[], bf16[4]) {
  %collective-permute-start.1 = (bf16[4]{0}, bf16[4]{0}, u32[], u32[]) \
collective-permute-start(%x), channel_id=3, \
source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
}

%inner.condition (s: (s32[], bf16[4])) -> pred[] {
  %other = s32[] constant(77)
  %bound.1 = s32[]{:T(128)} constant(3)
  ROOT %lt.1 = pred[] compare(%counter, %bound.1), direction=LT
}

%body (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %fusion.2 = f32[8,8] fusion(%p), kind=kCustom, calls=%middle.1, \
backend_config={"estimated_cycles":"10"}
  %all-reduce.2 = (f32[4]{0}, /*index=1*/bf16[2,2]{1,0}) all-reduce(%p, %q), \
channel_id=4, replica_groups={}, to_apply=%add
  %while.2 = (s32[], bf16[4]) while(%t), condition=%inner.condition, \
body=%inner.body
}

%condition (s: (s32[], f32[4])) -> pred[] {
  ROOT %lt.2 = pred[] compare(%counter, %argument), direction=LT
}

ENTRY %main (p: f32[2,8]) -> f32[8,8] {
  %fusion.1 = f32[8,8] fusion(%p), kind=kCustom, calls=%start.1, \
backend_config={"estimated_cycles":"100"}
  %fusion.3 = f32[8,8] fusion(%p), kind=kCustom, calls=%start.2
  %while.1 = (s32[], f32[4]) while(%t), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %fusion.4 = f32[4,8] fusion(%r), kind=kCustom, calls=%all-reduce-scatter.1
  %all-gather-start.9 = (f32[2]{0}, f32[8]{0}) all-gather-start(%p), \
channel_id=7, replica_groups={{0,1,2,3}}, dimensions={0}
  %all-gather-done.9 = f32[8]{0} all-gather-done(%all-gather-start.9)
  ROOT %use = f32[8,8] add(%fusion.1, %fusion.3)
}
"""


def test_collectives_of_a_module():
  expected = [
    Collective("all-gather", 8 * 8 * 4, 4, 1),
    Collective("all-gather", 8 * 8 * 4, 4, 1),
    Collective("reduce-scatter", 16 * 8 * 4 // 4, 4, 1),
    Collective("collective-permute", 4 * 2, 4, 15),
    Collective("all-reduce", 4 * 4 + 4 * 2, 4, 5),
    Collective("all-gather", 8 * 4, 4, 1),
  ]
  assert sorted(programs.collectives(HLO)) == sorted(expected)


def test_cycles_count_loops_as_often_as_they_run():
  assert programs.cycles(HLO) == 100 + 5 * 10


def test_cycles_unknown_to_the_compiler():
  assert programs.cycles(HLO.replace('"100"', f'"{2**63 - 1}"')) is None


def test_loop_of_unknown_length_is_an_error():
  lost = HLO.replace('{"known_trip_count":{"n":"5"}}', "{}")
  with pytest.raises(ValueError, match="unknown length"):
    programs.collectives(lost)


def test_bytes_on_a_ring():
  wire = {kind: Collective(kind, 12, 4, 2).wire for kind in programs.KINDS}
  assert wire == {
    "all-gather": 2 * 9,
    "all-reduce": 2 * 18,
    "reduce-scatter": 2 * 36,
    "collective-permute": 2 * 12,
    "all-to-all": 2 * 9,
  }


def test_products_count_loops_and_passes():
  x = jnp.zeros((2, 3))
  highest = functools.partial(jnp.matmul, precision="highest")

  def fn(x):
    body = lambda y, _: (highest(y @ x.T, x), None)  # noqa: E731
    return jax.lax.scan(body, x, length=5)[0]

  jaxpr = jax.make_jaxpr(fn)(x).jaxpr
  once = 2 * 2 * 3 * 2
  assert programs.products(jaxpr) == 5 * 2 * once
  assert programs.products(jaxpr, passes=True) == 5 * (1 + 6) * once


def test_products_of_a_choice_are_those_of_one_branch():
  def fn(x):
    cut = lambda x: jnp.concatenate([x[:1] @ x.T, x[1:] @ x.T])  # noqa: E731
    return jax.lax.platform_dependent(x, cpu=cut, default=lambda x: x @ x.T)

  jaxpr = jax.make_jaxpr(fn)(jnp.zeros((2, 3))).jaxpr
  assert programs.products(jaxpr) == 2 * 2 * 3 * 2


def test_asked_names_what_the_source_names():
  mesh = mesh_lib.make(8)

  def local(x):
    whole = jax.lax.all_gather(x, mesh_lib.AXIS, tiled=True)
    return jax.lax.psum((whole**2).sum(), mesh_lib.AXIS)

  spread, same = PartitionSpec(mesh_lib.AXIS), PartitionSpec()
  total = jax.shard_map(local, mesh=mesh, in_specs=spread, out_specs=same)
  asked = programs.asked(jax.make_jaxpr(jax.grad(total))(jnp.ones(8)).jaxpr)
  assert asked["all-gather"] == 1
  assert asked["reduce-scatter"] == 1
  assert set(asked) <= {"all-gather", "reduce-scatter", "all-reduce"}


def row(**changes):
  return {
    "fits": True,
    "contrast": "dense",
    "collectives": {"all-gather": 3, "all-reduce": 4},
    "asked": {"all-gather": 3, "all-reduce": 90, "reduce-scatter": 2},
    "wire_bytes": 100.0,
    "wire_bytes_by_kind": {"all-gather": 50.0, "all-reduce": 50.0},
    "host": [],
  } | changes


def test_judgement():
  assert slices.faults(row()) == []
  more = row(collectives={"all-gather": 4, "all-reduce": 4})
  assert slices.faults(more) == [
    "4 all-gather, of which the design names 3",
  ]
  ring = row(contrast="ring")
  assert slices.faults(ring) == ["3 all-gather, of which the design names 0"]
  many = row(collectives={"all-reduce": slices.MOST + 6})
  assert len(slices.faults(many)) == 1
  assert slices.faults(row(host=["infeed"])) == ["talks to the host: infeed"]
  assert slices.faults({"fits": False, "error": "too much\nof it"}) == [
    "too much"
  ]


@pytest.mark.parametrize(("moved", "count"), [(0.5, 0), (2.0, 1)])
def test_only_the_edges_of_padded_shards_may_move(moved, count):
  moving = row(
    collectives={"collective-permute": 6},
    wire_bytes_by_kind={"collective-permute": moved},
  )
  assert len(slices.faults(moving)) == count


def test_a_refused_program_says_what_it_wanted():
  message = "RESOURCE_EXHAUSTED: ... Used 20.50G of 15.75G hbm. Exceeded ..."
  assert slices.refused(message)["memory_bytes"] == round(20.5 * 2**30)
  assert not slices.refused("RESOURCE_EXHAUSTED: otherwise")["fits"]


def test_links_of_a_slice():
  per_link = chips.CHIPS["v5e"].link
  assert chips.wire("v5e:1x1") == 0
  assert chips.wire("v5e:2x2") == 2 * per_link
  assert chips.wire("v5e:16x16") == 4 * per_link
  assert chips.wire("v4:4x4x4") == 6 * chips.CHIPS["v4"].link
