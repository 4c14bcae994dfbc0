// Attention of few queries over many keys, for several rows that share a KV head: queries of its query heads.
//
// Reading k and v takes the time, so all rows of a KV head share what is read of them: 8 rows at a time in one product
// of 8x8 fragments (simdgroup_fragment.h), up to 32 in one threadgroup. Where that makes too few threadgroups the keys
// are split over several, as in Flash-Decoding (https://pytorch.org/blog/flash-decoding): each leaves a partial result,
// and sdpa_combine adds them up.
//
// Geometry: threadgroups: x = (batch or packed sequence, KV head, 8, 16 or 32 rows), y = split of the keys, z = block
// of VALUE_DIM columns. 4 SIMD-groups: all of them take the same 8 rows and other keys, 2 and 2 the same of 16, or each
// its own 8 of 32. A SIMD-group goes through its keys in tiles of 16, with an online softmax (Milakov & Gimelshein
// 2018, https://arxiv.org/abs/1805.02867) for each row:
//
//                     8 keys a fragment             VALUE_DIM
//                   +----+----+----+----+         +-----------+
//                   |         k^T       |         |     v     |
//     HEAD_DIM      +----+----+----+----+         +-----------+
//   +-----------+   +----+----+----+----+         +-----------+
//   | q: 8 rows |   |  logits, weights  |   -->   |  sums     |
//   +-----------+   +----+----+----+----+         +-----------+
//
// Fragments of k and v come straight from device memory, 16 bytes a lane and load: chunks. A product sums over
// dimensions in any order, if only q and k have the same; so fragment i of 8 chunks takes their elements i:
//
//     k^T: a lane's row of a fragment is a chunk of dimensions, its two columns are keys
//          fragment i of a block = dimensions i, CHUNK + i, 2 CHUNK + i, ... of 8 CHUNK
//     v:   a lane's row is a key, its two columns are elements 2 i and 2 i + 1 of a chunk of columns
//          fragment i of a block = columns 2 i, 2 i + 1, CHUNK + 2 i, CHUNK + 2 i + 1, ... of 4 CHUNK
//
// Weights stay float32, and the scores lie in the fragments as the second product wants its left operand.
//
// Memory: what a block of rows sees of k and v, once for each 8 rows (the SIMD-groups with other rows read the same at
// about the same time, from the cache); q once, with head_dim beyond HEAD_DIM once for each tile, from the cache. With
// split keys a partial result for each row and split is written and read once. Keys outside of every row's band are
// not read.
//
// Registers (32 bits) that live long: HEAD_DIM / 4 for q (half of that in 16 bits), VALUE_DIM / 4 for the sums, 4 for
// the scores, 32 for the loads in flight. Threadgroup memory: 12 KiB, with VALUE_DIM 64 half of that.
#include <metal_stdlib>

#include "chunk.h"
#include "sdpa_decode_tile.h"
#include "sdpa_packing.h"
#include "sdpa_results.h"
#include "sdpa_scores.h"
#include "simdgroup_fragment.h"

using namespace metal;

constant constexpr int SIMDGROUPS = SDPA_DECODE_MATRIX_SIMDGROUPS;
constant constexpr int TILE_KEYS = SDPA_DECODE_MATRIX_KEYS;
constant constexpr int TILE_FRAGMENTS = TILE_KEYS / FRAGMENT_SIZE;

// Dimensions of keys, and columns of values, that a SIMD-group's lanes load at once.
template <typename T>
constexpr int head_block() {
  return FRAGMENT_SIZE * chunk_size<T>();
}
template <typename T>
constexpr int value_block() {
  return FRAGMENT_SIZE / 2 * chunk_size<T>();
}

// Elements first to first + chunk_size() - 1 of a row of `length`, with zeros beyond it. `in_chunks`: each chunk can be
// read at once; `whole`: and none lies beyond.
template <typename T, bool in_chunks, bool whole>
inline Chunk<T> load_chunk(device const T* row, int first, int length, long stride) {
  if (whole) return *(device const Chunk<T>*)(row + first);
  Chunk<T> chunk = {};
  if (in_chunks) {
    if (first < length) chunk = *(device const Chunk<T>*)(row + first);
  } else {
#pragma unroll
    for (int i = 0; i < chunk_size<T>(); ++i)
      if (first + i < length) chunk.elements[i] = row[(first + i) * stride];
  }
  return chunk;
}

template <typename T>
inline bool is_finite(Chunk<T> chunk) {
  bool finite = true;
#pragma unroll
  for (int i = 0; i < chunk_size<T>(); ++i) finite = finite && isfinite(float(chunk.elements[i]));
  return finite;
}

// HEAD_DIM dimensions of the query of this lane's row, or zeros.
template <typename T, int HEAD_DIM, bool in_chunks, bool whole>
inline void load_query(thread vec<T, 2>* query, device const T* q, bool is_row, int start,
                       constant SdpaParameters& parameters, FragmentPosition position) {
#pragma unroll
  for (int block = 0; block < HEAD_DIM / head_block<T>(); ++block) {
    const int first = start + block * head_block<T>() + position.column * chunk_size<T>();
    Chunk<T> left = {}, right = {};
    if (is_row) {
      const long stride = parameters.q_strides[3];
      left = load_chunk<T, in_chunks, whole>(q, first, parameters.head_dim, stride);
      right = load_chunk<T, in_chunks, whole>(q, first + chunk_size<T>(), parameters.head_dim, stride);
    }
#pragma unroll
    for (int i = 0; i < chunk_size<T>(); ++i)
      query[block * chunk_size<T>() + i] = vec<T, 2>(left.elements[i], right.elements[i]);
  }
}

// Adds the products of HEAD_DIM dimensions from `start` on with a tile's keys.
template <typename T, int HEAD_DIM, bool in_chunks, bool whole>
inline void add_products(thread float2* products, thread const vec<T, 2>* query, device const T* k, int start,
                         int first_key, int last_key, constant SdpaParameters& parameters, FragmentPosition position) {
  constexpr int BLOCKS = HEAD_DIM / head_block<T>();
  const long stride = parameters.k_strides[2], element_stride = parameters.k_strides[3];
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) {
    const int key = first_key + i * FRAGMENT_SIZE + position.column;
    device const T* left_key = k + min(key, last_key) * stride;
    device const T* right_key = k + min(key + 1, last_key) * stride;
    Chunk<T> left[BLOCKS], right[BLOCKS];
#pragma unroll
    for (int block = 0; block < BLOCKS; ++block) {
      const int first = start + block * head_block<T>() + position.row * chunk_size<T>();
      left[block] = load_chunk<T, in_chunks, whole>(left_key, first, parameters.head_dim, element_stride);
      right[block] = load_chunk<T, in_chunks, whole>(right_key, first, parameters.head_dim, element_stride);
    }
#pragma unroll
    for (int block = 0; block < BLOCKS; ++block) {
      if (!whole && start + block * head_block<T>() >= parameters.head_dim) continue;
#pragma unroll
      for (int j = 0; j < chunk_size<T>(); ++j)
        products[i] = multiply_accumulate(query[block * chunk_size<T>() + j],
                                          vec<T, 2>(left[block].elements[j], right[block].elements[j]), products[i]);
    }
  }
}

// Products become logits. Returns which are minus infinity, hidden: bits 2 i and 2 i + 1 for fragment i.
inline uint products_to_logits(thread float2* products, constant SdpaParameters& parameters, device const uchar* mask,
                               Row row, KeyRange visible, int first_key, bool all_visible) {
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) products[i] *= parameters.scale;
  if (parameters.softcap > 0)
#pragma unroll
    for (int i = 0; i < TILE_FRAGMENTS; ++i)
      products[i] = float2(softcapped(products[i].x, parameters), softcapped(products[i].y, parameters));
  uint hidden = 0;
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) {
    float2 bias = 0;
    if (!all_visible) {
      const int key = first_key + i * FRAGMENT_SIZE;
      bias = float2(key_bias(parameters, mask, row.mask_offset, visible, key),
                    key_bias(parameters, mask, row.mask_offset, visible, key + 1));
      hidden |= (uint(bias.x == -INFINITY) | uint(bias.y == -INFINITY) << 1) << (2 * i);
    }
    products[i] = float2(biased(products[i].x, bias.x), biased(products[i].y, bias.y));
  }
  return hidden;
}

// Logits become weights relative to the new maximum, and so do the sums.
template <int VALUE_DIM>
inline void update_softmax(thread float2* logits, thread Softmax& softmax, thread float2* sums, uint hidden) {
  float maximum = -INFINITY;
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) maximum = max(maximum, max(logits[i].x, logits[i].y));
  maximum = max(softmax.maximum, row_maximum(maximum));
  const float scale = rescaling(softmax.maximum, maximum);
  softmax = {maximum, softmax.sum * scale};
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) {
    const float left = fast::exp(logits[i].x - maximum), right = fast::exp(logits[i].y - maximum);
    const uint bits = hidden >> (2 * i);  // the maximum may be minus infinity, too
    logits[i] = float2(bits & 1 ? 0.0f : left, bits & 2 ? 0.0f : right);
    softmax.sum += logits[i].x + logits[i].y;
  }
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) sums[d] *= scale;
}

// A fragment's pair of values that a lane holds in its chunks.
template <typename T>
inline vec<T, 2> value_pair(thread const Chunk<T>* chunks, int fragment) {
  constexpr int PAIRS = chunk_size<T>() / 2;
  const int element = fragment % PAIRS * 2;
  return vec<T, 2>(chunks[fragment / PAIRS].elements[element], chunks[fragment / PAIRS].elements[element + 1]);
}

// A lane's chunks of the values of 8 keys.
template <typename T, int VALUE_DIM, bool in_chunks, bool whole>
inline void load_values(thread Chunk<T>* chunks, device const T* v, int first_column, int first_key, int last_key,
                        constant SdpaParameters& parameters, FragmentPosition position) {
  device const T* row = v + min(first_key + position.row, last_key) * parameters.v_strides[2];
#pragma unroll
  for (int block = 0; block < VALUE_DIM / value_block<T>(); ++block) {
    const int column = first_column + block * value_block<T>() + position.column / 2 * chunk_size<T>();
    chunks[block] = load_chunk<T, in_chunks, whole>(row, column, parameters.value_dim, parameters.v_strides[3]);
  }
}

// sums += weights v for 8 keys.
template <typename T, int VALUE_DIM>
inline void add_product(thread float2* sums, float2 weights, thread const Chunk<T>* chunks) {
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d)
    sums[d] = multiply_accumulate(weights, value_pair(chunks, d), sums[d]);
}

// The same, but each row takes only the keys that it sees: a product would make NaN of 0 times the others' NaN and
// infinity.
template <typename T, int VALUE_DIM>
inline void add_key_by_key(thread float2* sums, float2 weights, uint hidden, thread const Chunk<T>* chunks,
                           FragmentPosition position) {
  for (int key = 0; key < FRAGMENT_SIZE; ++key) {
    const ushort from = fragment_lane(position.row, key);
    const float weight = simd_shuffle(key % 2 == 0 ? weights.x : weights.y, from);
    const bool is_hidden = simd_shuffle(hidden, from) >> key % 2 & 1;
#pragma unroll
    for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) {
      const float2 values = simd_shuffle(float2(value_pair(chunks, d)), fragment_lane(key, position.column));
      if (!is_hidden) sums[d] += weight * values;
    }
  }
}

// For a tile whose keys are all visible.
template <typename T, int VALUE_DIM, bool in_chunks, bool whole>
inline void add_values(thread float2* sums, thread const float2* weights, device const T* v, int first_column,
                       int first_key, constant SdpaParameters& parameters, FragmentPosition position) {
#pragma unroll
  for (int i = 0; i < TILE_FRAGMENTS; ++i) {
    const int key = first_key + i * FRAGMENT_SIZE;
    Chunk<T> chunks[VALUE_DIM / value_block<T>()];
    load_values<T, VALUE_DIM, in_chunks, whole>(chunks, v, first_column, key, key + FRAGMENT_SIZE, parameters,
                                                position);
    add_product<T, VALUE_DIM>(sums, weights[i], chunks);
  }
}

// For a tile of which some keys are hidden from some rows. `weights` and `hidden` are used up: they move on with the
// keys, so that one copy of the code does for all.
template <typename T, int VALUE_DIM, bool in_chunks, bool whole>
inline void add_visible_values(thread float2* sums, thread float2* weights, uint hidden, device const T* v,
                               int first_column, int first_key, int last_key, constant SdpaParameters& parameters,
                               FragmentPosition position) {
  constexpr int BLOCKS = VALUE_DIM / value_block<T>();
  for (int key = first_key; key <= last_key; key += FRAGMENT_SIZE) {
    Chunk<T> chunks[BLOCKS];
    load_values<T, VALUE_DIM, in_chunks, whole>(chunks, v, first_column, key, last_key, parameters, position);
    bool finite = true;
#pragma unroll
    for (int block = 0; block < BLOCKS; ++block) finite = finite && is_finite(chunks[block]);
    if (simd_all(finite))
      add_product<T, VALUE_DIM>(sums, weights[0], chunks);
    else
      add_key_by_key<T, VALUE_DIM>(sums, weights[0], hidden, chunks, position);
#pragma unroll
    for (int i = 1; i < TILE_FRAGMENTS; ++i) weights[i - 1] = weights[i];
    hidden >>= 2;
  }
}

// Four neighbouring columns of the sums that a lane holds: which, and where.
inline float4 four_sums(thread const float2* sums, int i) { return float4(sums[2 * i], sums[2 * i + 1]); }

template <typename T>
inline int first_of_four(int i, FragmentPosition position) {
  constexpr int FOURS = chunk_size<T>() / 4;
  return i / FOURS * value_block<T>() + position.column / 2 * chunk_size<T>() + i % FOURS * 4;
}

// A threadgroup has 128 threads. The bound of 512 keeps the compiler to registers of which four threadgroups fit at
// once.
template <typename T, int HEAD_DIM, int VALUE_DIM, bool in_chunks, bool whole, bool PACKED>
[[kernel, max_total_threads_per_threadgroup(512)]] void sdpa_decode_matrix(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device const T* v [[buffer(2)]],
    device const uchar* mask [[buffer(3)]], device const uchar* sinks [[buffer(4)]],
    device const int* cu_seqlens_q [[buffer(5)]], device const int* cu_seqlens_k [[buffer(6)]],
    device T* out [[buffer(7)]], device float* logsumexp [[buffer(8)]], device float4* partials [[buffer(9)]],
    constant SdpaParameters& parameters [[buffer(10)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]], ushort lane [[thread_index_in_simdgroup]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  constexpr int FOURS = VALUE_DIM / 16;             // of columns of the sums that a lane holds
  constexpr int EXCHANGED = FOURS < 8 ? FOURS : 8;  // at once
  threadgroup Softmax softmaxes[SIMDGROUPS * FRAGMENT_SIZE];
  threadgroup float4 exchange[(SIMDGROUPS - 1) * EXCHANGED * 32];

  const Packing packing = {cu_seqlens_q, cu_seqlens_k};
  if (PACKED && !covers_all(parameters, packing, lane)) {
    write_nan(out, logsumexp, partials, parameters,
              launch_thread(group, groups, simdgroup * 32 + lane, SIMDGROUPS * 32));
    return;
  }

  const int split = group.y;
  const int most_rows = parameters.group_size * parameters.max_seqlen_q;
  const int row_blocks = (most_rows + FRAGMENT_SIZE - 1) / FRAGMENT_SIZE;
  const int blocks_together = row_blocks <= 2 ? row_blocks : SIMDGROUPS;
  const int row_block = simdgroup % blocks_together;
  const int key_groups = SIMDGROUPS / blocks_together, key_group = simdgroup / blocks_together;
  const int threadgroups = (row_blocks + blocks_together - 1) / blocks_together;
  const int kv_heads = parameters.query_heads / parameters.group_size, head_index = int(group.x) / threadgroups;
  const Head head = {sequence_at<PACKED>(parameters, packing, head_index / kv_heads), head_index % kv_heads};
  const int all_rows = row_count(parameters, head);
  const int first_row = (int(group.x) % threadgroups * blocks_together + row_block) * FRAGMENT_SIZE;
  const FragmentPosition position = fragment_position(lane);
  const bool is_row = first_row + position.row < all_rows;  // others have the last one's keys, and zeros
  const Row row = row_at(parameters, head, min(first_row + position.row, all_rows - 1));

  const KeysSeen seen = keys_seen(parameters, head, first_row, FRAGMENT_SIZE);
  const int begin = seen.by_any.first + split * parameters.keys_per_split;
  const int end = begin + min(parameters.keys_per_split, seen.by_any.end - begin);

  q += row.q_offset;
  k += head_offset(parameters.k_strides, head, head.sequence.first_key);
  v += head_offset(parameters.v_strides, head, head.sequence.first_key);
  const int first_column = int(group.z) * VALUE_DIM;
  vec<T, 2> query[HEAD_DIM / FRAGMENT_SIZE];
  load_query<T, HEAD_DIM, in_chunks, whole>(query, q, is_row, 0, parameters, position);
  Softmax softmax = {-INFINITY, 0};  // the maximum is the row's, the sum this lane's
  float2 sums[VALUE_DIM / FRAGMENT_SIZE];
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) sums[d] = 0;

  for (int tile = begin + key_group * TILE_KEYS; tile < end; tile += key_groups * TILE_KEYS) {
    const int last_key = min(tile + TILE_KEYS, end) - 1;
    float2 scores[TILE_FRAGMENTS];  // products, then logits, then weights
#pragma unroll
    for (int i = 0; i < TILE_FRAGMENTS; ++i) scores[i] = 0;
    for (int start = 0; start < parameters.head_dim; start += HEAD_DIM) {
      if (parameters.head_dim > HEAD_DIM)
        load_query<T, HEAD_DIM, in_chunks, whole>(query, q, is_row, start, parameters, position);
      add_products<T, HEAD_DIM, in_chunks, whole>(scores, query, k, start, tile, last_key, parameters, position);
    }
    const KeyRange visible = {row.keys.first, min(row.keys.end, end)};
    const bool all_visible = tile + TILE_KEYS <= end && contains(seen.by_all, {tile, tile + TILE_KEYS});
    const uint hidden = products_to_logits(scores, parameters, mask, row, visible, tile + position.column, all_visible);
    update_softmax<VALUE_DIM>(scores, softmax, sums, hidden);
    if (simd_any(hidden != 0))
      add_visible_values<T, VALUE_DIM, in_chunks, whole>(sums, scores, hidden, v, first_column, tile, last_key,
                                                         parameters, position);
    else
      add_values<T, VALUE_DIM, in_chunks, whole>(sums, scores, v, first_column, tile, parameters, position);
  }

  // The SIMD-groups with the same rows and other keys share out the columns: each gets the others' sums of its own.
  softmax.sum = row_sum(softmax.sum);
  if (position.column == 0) softmaxes[simdgroup * FRAGMENT_SIZE + position.row] = softmax;
#pragma unroll
  for (int start = 0; start < FOURS; start += EXCHANGED) {
    if (start > 0) threadgroup_barrier(mem_flags::mem_threadgroup);  // those before have been read
#pragma unroll
    for (int i = 0; i < EXCHANGED; ++i) {
      const int distance = (key_group - i) & (key_groups - 1);  // from the SIMD-group that gets these
      if (distance > 0 && is_row)
        exchange[(((distance - 1) * blocks_together + row_block) * EXCHANGED + i) * 32 + lane] =
            four_sums(sums, start + i);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (!is_row) continue;
    Softmax total = {-INFINITY, 0};
    float factors[SIMDGROUPS];  // the maxima, then what the sums are multiplied by
#pragma unroll
    for (int other = 0; other < SIMDGROUPS; ++other) {
      if (other >= key_groups) continue;
      const Softmax part = softmaxes[(other * blocks_together + row_block) * FRAGMENT_SIZE + position.row];
      factors[other] = part.maximum;
      total = merged(total, part);
    }
#pragma unroll
    for (int other = 0; other < SIMDGROUPS; ++other)
      if (other < key_groups) factors[other] = rescaling(factors[other], total.maximum);
    const long index = row_index(parameters, head, first_row + position.row);
    const Normaliser row_normaliser = normaliser(parameters, sinks, index, total);
    device float4* partial = partials + partial_offset(parameters, index, split);
#pragma unroll
    for (int i = 0; i < EXCHANGED; ++i) {
      if ((i & (key_groups - 1)) != key_group) continue;
      float4 sum = 0;
#pragma unroll
      for (int other = 0; other < SIMDGROUPS; ++other) {
        if (other >= key_groups) continue;
        const int distance = (other - key_group) & (key_groups - 1);
        const float4 part =
            distance == 0 ? four_sums(sums, start + i)
                          : exchange[(((distance - 1) * blocks_together + row_block) * EXCHANGED + i) * 32 + lane];
        sum += part * factors[other];
      }
      const int column = first_column + first_of_four<T>(start + i, position);
      if (parameters.splits > 1) {
        write_partial(partial, parameters, total, sum, column);
      } else {
        if (column == 0) write_logsumexp(logsumexp, parameters, index, row_normaliser);
        write_values<T, PACKED>(out, parameters, index, row_normaliser, sum, column);
      }
    }
  }
}
