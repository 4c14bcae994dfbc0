// Attention of few queries over many keys, a row at a time: one query of one query head. For KV heads with a single
// row, where reading k and v takes the time, and for few rows over few keys, which are in the cache: there more
// threadgroups are worth more than sharing what they read.
//
// Geometry: threadgroups: x = (batch or packed sequence, KV head, row), y = split of the keys, z = block of value
// columns. 4 SIMD-groups, or 16 where keys are few, take tiles of 32 keys in turn, each with its own online softmax
// (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), and are added up at the end. Where there are too few
// threadgroups the keys are split over several (sdpa_decode_matrix.metal). What a SIMD-group does with a tile:
//
//     k: 16 lanes share a key,              logits: a key a lane       v: 32 lanes share a key, 4 columns each
//        4 elements each, 8 keys a time     -> weights                    (16 or 8 lanes where v is narrow)
//   +--------------------------------+          +-----+              +--------------------------------+
//   | key 0:   L0   L1   ...   L15   |          | L0  |              | key 0:   L0   L1   ...   L31   |
//   |  ...                           |    ->    | ... |      ->      | key 1:   L0   L1   ...   L31   |
//   | key 16:  L16  L17  ...   L31   |          | ... |              |  ...                           |
//   |  ...                           |          | L31 |              | key 31:  L0   L1   ...   L31   |
//   +--------------------------------+          +-----+              +--------------------------------+
//     sums over 16 lanes by shuffles         one exp a lane             weights by shuffles
//
// Memory: what the row sees of k and v, once; q once, with head_dim beyond 128 once for each 16 keys, from the cache.
// Where the keys are split, a partial result for each split is written and read once. Hidden keys outside of the band
// are not read.
//
// Registers (32 bits) that live long: 8 products, 4 * VALUE_CHUNKS sums and the softmax; 16 to 32 for the loads in
// flight. Threadgroup memory: SIMDGROUPS * VALUE_CHUNKS / 2 KiB.
#include <metal_stdlib>

#include "sdpa_decode_tile.h"
#include "sdpa_packing.h"
#include "sdpa_results.h"
#include "sdpa_scores.h"

using namespace metal;

constant constexpr int TILE_KEYS = SDPA_DECODE_VECTOR_KEYS;
constant constexpr int CHUNK = 4;       // elements of a vector
constant constexpr int KEY_LANES = 16;  // lanes that share a key's elements
constant constexpr int BATCH_KEYS = 8;  // keys whose loads a lane has in flight together

// Elements first to first + 3 of a row of `length`. Only where the row is not read in vectors may they go beyond it,
// and are zero there.
template <typename T, bool vectors>
inline vec<T, CHUNK> load_chunk(device const T* row, int first, int length, long stride) {
  if (vectors) return *(device const vec<T, CHUNK>*)(row + first);
  vec<T, CHUNK> chunk(T(0));
  for (int i = 0; i < CHUNK; ++i)
    if (first + i < length) chunk[i] = row[(first + i) * stride];
  return chunk;
}

// a.b + sum, in four operations instead of dot()'s five.
inline float dot_add(float4 a, float4 b, float sum) {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

// The element that a lane's chunk-th chunk of a key or query begins with, in those from `start` on.
inline int chunk_element(int start, int chunk, ushort lane) {
  return start + (chunk * KEY_LANES + lane % KEY_LANES) * CHUNK;
}

// This lane's elements of a key or the query, from `start` on; zeros beyond head_dim. `whole`: nothing lies beyond.
template <typename T, int HEAD_CHUNKS, bool vectors, bool whole>
inline void load_head(thread vec<T, CHUNK>* chunks, device const T* row, int start, int head_dim, long stride,
                      ushort lane) {
#pragma unroll
  for (int i = 0; i < HEAD_CHUNKS; ++i) {
    const int element = chunk_element(start, i, lane);
    chunks[i] = vec<T, CHUNK>(T(0));
    if (whole || element < head_dim) chunks[i] = load_chunk<T, vectors>(row, element, head_dim, stride);
  }
}

// Lanes `step` apart add up their values: the upper one keeps the upper half of 2 * step, the lower one the lower half.
template <int step>
inline void exchange_halves(thread float* values, ushort lane) {
  const bool upper = lane & step;
#pragma unroll
  for (int i = 0; i < step; ++i) {
    const float low = values[i],
                high = values[i + step];  // a choice of elements would be one of addresses: memory again
    values[i] = (upper ? high : low) + simd_shuffle_xor(upper ? low : high, ushort(step));
  }
}

// Lane i gets the sum of values[i % BATCH_KEYS] over its KEY_LANES lanes, by fewer shuffles than separate sums take. No
// loop over the steps: compilers do not unroll it, and keep `values` in memory then.
inline float transposed_sum(thread float* values, ushort lane) {
  static_assert(BATCH_KEYS == 8 && KEY_LANES == 16, "the steps are written out");
  exchange_halves<4>(values, lane);
  exchange_halves<2>(values, lane);
  exchange_halves<1>(values, lane);
  return values[0] + simd_shuffle_xor(values[0], 8);
}

// The query's products with the tile's keys, a key a lane. The query is there unless head_dim is longer than
// HEAD_CHUNKS hold.
template <typename T, int HEAD_CHUNKS, bool vectors, bool whole>
inline float tile_product(thread vec<T, CHUNK>* query, device const T* q, device const T* k, int tile, int last_key,
                          constant SdpaParameters& parameters, ushort lane) {
  constexpr int HEAD_BLOCK = HEAD_CHUNKS * KEY_LANES * CHUNK;
  float product = 0;
#pragma unroll
  for (int batch = 0; batch < KEY_LANES; batch += BATCH_KEYS) {
    float partial[BATCH_KEYS] = {};
    const int first_key = tile + lane / KEY_LANES * KEY_LANES + batch;
    for (int start = 0; start < parameters.head_dim; start += HEAD_BLOCK) {
      if (parameters.head_dim > HEAD_BLOCK)
        load_head<T, HEAD_CHUNKS, vectors, whole>(query, q, start, parameters.head_dim, parameters.q_strides[3], lane);
      vec<T, CHUNK> keys[BATCH_KEYS * HEAD_CHUNKS];
#pragma unroll
      for (int i = 0; i < BATCH_KEYS; ++i)
        load_head<T, HEAD_CHUNKS, vectors, whole>(keys + i * HEAD_CHUNKS,
                                                  k + min(first_key + i, last_key) * parameters.k_strides[2], start,
                                                  parameters.head_dim, parameters.k_strides[3], lane);
#pragma unroll
      for (int i = 0; i < BATCH_KEYS * HEAD_CHUNKS; ++i)
        partial[i / HEAD_CHUNKS] = dot_add(float4(query[i % HEAD_CHUNKS]), float4(keys[i]), partial[i / HEAD_CHUNKS]);
    }
    const float sum = transposed_sum(partial, lane);
    if (batch == 0 || lane % KEY_LANES >= batch) product = sum;
  }
  return product;
}

// Adds the weighted values of a tile's keys to `sums`. Where not all of the tile is visible, hidden keys are passed
// over: 0 times their values might be NaN.
template <typename T, int VALUE_CHUNKS, bool vectors, bool some_hidden>
inline void add_values(thread float4* sums, float weight, bool hidden, device const T* v, int tile, int last_key,
                       thread const int* columns, int value_lanes, constant SdpaParameters& parameters, ushort lane) {
  constexpr int BATCH = BATCH_KEYS / VALUE_CHUNKS;
  const int keys_at_once = 32 / value_lanes;
  for (int start = 0; start < TILE_KEYS; start += BATCH * keys_at_once) {
    vec<T, CHUNK> values[BATCH * VALUE_CHUNKS];
#pragma unroll
    for (int i = 0; i < BATCH; ++i) {
      const int key = tile + start + i * keys_at_once + lane / value_lanes;
      const long offset = (some_hidden ? min(key, last_key) : key) * parameters.v_strides[2];
#pragma unroll
      for (int chunk = 0; chunk < VALUE_CHUNKS; ++chunk)
        values[i * VALUE_CHUNKS + chunk] =
            load_chunk<T, vectors>(v + offset, columns[chunk], parameters.value_dim, parameters.v_strides[3]);
    }
#pragma unroll
    for (int i = 0; i < BATCH; ++i) {
      const ushort from = start + i * keys_at_once + lane / value_lanes;
      const float key_weight = simd_shuffle(weight, from);
      const bool passed_over = some_hidden && simd_shuffle(uint(hidden), from);
#pragma unroll
      for (int chunk = 0; chunk < VALUE_CHUNKS; ++chunk)
        if (!passed_over) sums[chunk] += key_weight * float4(values[i * VALUE_CHUNKS + chunk]);
    }
  }
}

// 16 SIMD-groups have 512 threads. With 4 of them that bound keeps the compiler to registers of which four threadgroups
// fit at once.
template <typename T, int HEAD_CHUNKS, int VALUE_CHUNKS, int SIMDGROUPS, bool vectors, bool whole, bool PACKED>
[[kernel, max_total_threads_per_threadgroup(512)]] void sdpa_decode_vector(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device const T* v [[buffer(2)]],
    device const uchar* mask [[buffer(3)]], device const uchar* sinks [[buffer(4)]],
    device const int* cu_seqlens_q [[buffer(5)]], device const int* cu_seqlens_k [[buffer(6)]],
    device T* out [[buffer(7)]], device float* logsumexp [[buffer(8)]], device float4* partials [[buffer(9)]],
    constant SdpaParameters& parameters [[buffer(10)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]], ushort lane [[thread_index_in_simdgroup]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup Softmax softmaxes[SIMDGROUPS];
  threadgroup float4 simdgroup_sums[SIMDGROUPS * 32 * VALUE_CHUNKS];

  const Packing packing = {cu_seqlens_q, cu_seqlens_k};
  if (PACKED && !covers_all(parameters, packing, lane)) {
    write_nan(out, logsumexp, partials, parameters,
              launch_thread(group, groups, simdgroup * 32 + lane, SIMDGROUPS * 32));
    return;
  }

  const int rows = parameters.group_size * parameters.max_seqlen_q,
            kv_heads = parameters.query_heads / parameters.group_size;
  const int head_index = int(group.x) / rows;
  const Head head = {sequence_at<PACKED>(parameters, packing, head_index / kv_heads), head_index % kv_heads};
  const int row_number = int(group.x) % rows;
  const Row row = row_at(parameters, head, row_number);
  if (!row.exists) return;
  q += row.q_offset;
  k += head_offset(parameters.k_strides, head, head.sequence.first_key);
  v += head_offset(parameters.v_strides, head, head.sequence.first_key);
  const int begin = row.keys.first + int(group.y) * parameters.keys_per_split;
  const int end = begin + min(parameters.keys_per_split, row.keys.end - begin);

  // At least 8, so that no batch of add_values() is larger than a tile.
  const int value_lanes = parameters.value_dim > 16 * CHUNK ? 32 : parameters.value_dim > 8 * CHUNK ? 16 : 8;
  const int first_column = int(group.z) * 32 * VALUE_CHUNKS * CHUNK;
  int columns[VALUE_CHUNKS];  // beyond the last column it is read once more, and nothing written
#pragma unroll
  for (int chunk = 0; chunk < VALUE_CHUNKS; ++chunk) {
    const int column = first_column + (chunk * value_lanes + lane % value_lanes) * CHUNK;
    columns[chunk] = vectors ? min(column, parameters.value_dim - CHUNK) : column;
  }

  Softmax softmax = {-INFINITY, 0};  // the maximum is the SIMD-group's, the sum this lane's
  float4 sums[VALUE_CHUNKS];
#pragma unroll
  for (int i = 0; i < VALUE_CHUNKS; ++i) sums[i] = 0;
  vec<T, CHUNK> query[HEAD_CHUNKS];
  load_head<T, HEAD_CHUNKS, vectors, whole>(query, q, 0, parameters.head_dim, parameters.q_strides[3], lane);

  for (int tile = begin + simdgroup * TILE_KEYS; tile < end; tile += SIMDGROUPS * TILE_KEYS) {
    const int last_key = min(tile + TILE_KEYS, end) - 1, key = tile + lane;
    const float product = tile_product<T, HEAD_CHUNKS, vectors, whole>(query, q, k, tile, last_key, parameters, lane);
    const float bias = key_bias(parameters, mask, row.mask_offset, {begin, end}, key);
    const float score = logit(product, parameters, bias);
    const bool hidden = bias == -INFINITY;
    const float maximum = max(softmax.maximum, simd_max(score));
    const float scale = rescaling(softmax.maximum, maximum);
    const float weight = hidden ? 0.0f : fast::exp(score - maximum);
    softmax = {maximum, softmax.sum * scale + weight};
#pragma unroll
    for (int chunk = 0; chunk < VALUE_CHUNKS; ++chunk) sums[chunk] *= scale;
    if (parameters.value_dim == 0) continue;
    if (simd_any(hidden))
      add_values<T, VALUE_CHUNKS, vectors, true>(sums, weight, hidden, v, tile, last_key, columns, value_lanes,
                                                 parameters, lane);
    else
      add_values<T, VALUE_CHUNKS, vectors, false>(sums, weight, hidden, v, tile, last_key, columns, value_lanes,
                                                  parameters, lane);
  }

  // The lanes that hold the same columns of other keys, then the SIMD-groups.
  for (int step = value_lanes; step < 32; step *= 2)
#pragma unroll
    for (int i = 0; i < VALUE_CHUNKS; ++i) sums[i] += simd_shuffle_xor(sums[i], ushort(step));
  softmax.sum = simd_sum(softmax.sum);
  if (lane == 0) softmaxes[simdgroup] = softmax;
  const int chunks = value_lanes * VALUE_CHUNKS;
  if (lane < value_lanes)
#pragma unroll
    for (int chunk = 0; chunk < VALUE_CHUNKS; ++chunk)
      simdgroup_sums[simdgroup * chunks + chunk * value_lanes + lane] = sums[chunk];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const int thread_index = simdgroup * 32 + lane;
  if (thread_index >= chunks) return;
  Softmax total = {-INFINITY, 0};
  for (int i = 0; i < SIMDGROUPS; ++i) total = merged(total, softmaxes[i]);
  float4 sum = 0;
  for (int i = 0; i < SIMDGROUPS; ++i)
    sum += simdgroup_sums[i * chunks + thread_index] * rescaling(softmaxes[i].maximum, total.maximum);
  const int column = first_column + thread_index * CHUNK;
  const long index = row_index(parameters, head, row_number);
  if (parameters.splits > 1) {
    device float4* partial = partials + partial_offset(parameters, index, group.y);
    write_partial(partial, parameters, total, sum, column);
  } else {
    const Normaliser row_normaliser = normaliser(parameters, sinks, index, total);
    if (column == 0) write_logsumexp(logsumexp, parameters, index, row_normaliser);
    write_values<T, PACKED>(out, parameters, index, row_normaliser, sum, column);
  }
}
