// Attention of few queries over many keys: softmax(softcap(scale * q k^T) + mask) v. Reading k and v takes the time.
//
// A block of up to `rows` rows, queries of query heads that share a KV head, goes to one threadgroup, so that k and v
// are read once for all of them. Where that makes too few threadgroups the keys are split over several, as in
// Flash-Decoding (https://pytorch.org/blog/flash-decoding): each leaves a partial result, sdpa_decode_combine adds them
// up.
//
// Geometry: threadgroups: x = (batch, KV head, block of rows), y = split of the keys, z = block of value columns.
// 4 SIMD-groups take tiles of 32 keys in turn, each with its own online softmax (Milakov & Gimelshein 2018,
// https://arxiv.org/abs/1805.02867), and are added up at the end. What a SIMD-group does with a tile, for every row:
//
//     k: 16 lanes share a key,              logits: a key a lane       v: 32 lanes share a key, 4 columns each
//        4 elements each, 8 keys a time     -> weights                    (16 or 8 lanes where v is narrow)
//   +--------------------------------+          +-----+              +--------------------------------+
//   | key 0:   L0   L1   ...   L15   |          | L0  |              | key 0:   L0   L1   ...   L31   |
//   |  ...                           |    ->    | ... |      ->      | key 1:   L0   L1   ...   L31   |
//   | key 16:  L16  L17  ...   L31   |          | ... |              |  ...                           |
//   |  ...                           |          | L31 |              | key 31:  L0   L1   ...   L31   |
//   +--------------------------------+          +-----+              +--------------------------------+
//     sums over 16 lanes by shuffles         one exp a lane             weights through threadgroup memory
//
// Memory: what a block of rows sees of k and v, once; q once, with head_dim beyond 128 once for each 16 keys, from the
// cache. Where the keys are split, a partial result of value_dim + 4 floats for each row and split is written and read
// once. Keys outside of every row's band are not read.
//
// Registers (32 bits) that live long: for each row 8 products, 4 * value_chunks sums and the softmax; 16 for the loads
// in flight. Threadgroup memory: for 4 rows 2.2 KiB + 2 KiB * value_chunks.
#include <metal_stdlib>

#include "sdpa_scores.h"

using namespace metal;

constant constexpr int SIMDGROUPS = 4;
constant constexpr int COMBINE_SIMDGROUPS = 16;
constant constexpr int TILE_KEYS = 32;   // as many as a SIMD-group has lanes
constant constexpr int CHUNK = 4;        // elements of a vector
constant constexpr int KEY_LANES = 16;   // lanes that share a key's elements
constant constexpr int BATCH_KEYS = 8;   // keys whose loads a lane has in flight together
constant constexpr int HEAD_CHUNKS = 2;  // of each query that a lane keeps
constant constexpr int HEAD_BLOCK = HEAD_CHUNKS * KEY_LANES * CHUNK;
constant constexpr float HIDDEN = -1;  // takes a weight's place

// What is known of a row's softmax: the largest logit so far and the sum of exp(logit - maximum).
struct Softmax {
  float maximum;
  float sum;
};

// By what sums relative to the maximum `from` are multiplied to be relative to `to`. Both may be minus infinity.
inline float rescaling(float from, float to) { return from == to ? 1.0f : fast::exp(from - to); }

inline Softmax merged(Softmax a, Softmax b) {
  const float maximum = max(a.maximum, b.maximum);
  return {maximum, a.sum * rescaling(a.maximum, maximum) + b.sum * rescaling(b.maximum, maximum)};
}

// A query of a query head, and where it lies.
struct QueryRow {
  int index;  // in out and logsumexp
  int first_key;
  int end_key;
  long q_offset;
  long mask_offset;
};

inline void set_query_row(threadgroup QueryRow& row, constant SdpaParameters& parameters, int batch, int head,
                          int query) {
  const KeyRange keys = visible_keys(parameters, query);
  row.index = (batch * parameters.query_heads + head) * parameters.query_length + query;
  row.first_key = keys.first;
  row.end_key = keys.end;
  row.q_offset = batch * parameters.q_strides[0] + head * parameters.q_strides[1] + query * parameters.q_strides[2];
  row.mask_offset =
      batch * parameters.mask_strides[0] + head * parameters.mask_strides[1] + query * parameters.mask_strides[2];
}

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

// The element that a lane's chunk-th chunk of a key or query begins with, in the HEAD_BLOCK elements from `start` on.
inline int chunk_element(int start, int chunk, ushort lane) {
  return start + (chunk * KEY_LANES + lane % KEY_LANES) * CHUNK;
}

// This lane's elements of the rows' queries, in the HEAD_BLOCK elements from `start` on.
template <typename T, int rows, bool vectors>
inline void load_queries(thread float4* queries, threadgroup const QueryRow* block, device const T* q, int start,
                         constant SdpaParameters& parameters, ushort lane) {
#pragma unroll
  for (int i = 0; i < rows * HEAD_CHUNKS; ++i) {
    const int element = chunk_element(start, i % HEAD_CHUNKS, lane);
    queries[i] = 0;
    if (element < parameters.head_dim)
      queries[i] = float4(load_chunk<T, vectors>(q + block[i / HEAD_CHUNKS].q_offset, element, parameters.head_dim,
                                                 parameters.q_strides[3]));
  }
}

// Adds the products of the queries' elements with those of BATCH_KEYS keys from first_key on.
template <typename T, int rows, bool vectors>
inline void add_products(thread float* products, thread const float4* queries, device const T* k, int start,
                         int first_key, int last_key, constant SdpaParameters& parameters, ushort lane) {
  vec<T, CHUNK> keys[BATCH_KEYS * HEAD_CHUNKS];
#pragma unroll
  for (int i = 0; i < BATCH_KEYS * HEAD_CHUNKS; ++i) {
    const int element = chunk_element(start, i % HEAD_CHUNKS, lane);
    keys[i] = vec<T, CHUNK>(T(0));
    if (element < parameters.head_dim)
      keys[i] = load_chunk<T, vectors>(k + min(first_key + i / HEAD_CHUNKS, last_key) * parameters.k_strides[2],
                                       element, parameters.head_dim, parameters.k_strides[3]);
  }
#pragma unroll
  for (int i = 0; i < rows * BATCH_KEYS; ++i)
#pragma unroll
    for (int chunk = 0; chunk < HEAD_CHUNKS; ++chunk)
      products[i] = dot_add(queries[i / BATCH_KEYS * HEAD_CHUNKS + chunk],
                            float4(keys[i % BATCH_KEYS * HEAD_CHUNKS + chunk]), products[i]);
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

// The products of the block's rows with the tile's keys, a key a lane. The queries are there unless head_dim is longer
// than HEAD_BLOCK (long_heads).
template <typename T, int rows, bool long_heads, bool vectors>
inline void tile_products(thread float* products, thread float4* queries, threadgroup const QueryRow* block,
                          device const T* q, device const T* k, int tile, int last_key,
                          constant SdpaParameters& parameters, ushort lane) {
  float partial[rows * BATCH_KEYS];
#pragma unroll
  for (int batch = 0; batch < KEY_LANES; batch += BATCH_KEYS) {
#pragma unroll
    for (int i = 0; i < rows * BATCH_KEYS; ++i) partial[i] = 0;
    const int first_key = tile + lane / KEY_LANES * KEY_LANES + batch;
    if (!long_heads) {
      add_products<T, rows, vectors>(partial, queries, k, 0, first_key, last_key, parameters, lane);
    } else {
      for (int start = 0; start < parameters.head_dim; start += HEAD_BLOCK) {
        load_queries<T, rows, vectors>(queries, block, q, start, parameters, lane);
        add_products<T, rows, vectors>(partial, queries, k, start, first_key, last_key, parameters, lane);
      }
    }
#pragma unroll
    for (int row = 0; row < rows; ++row) {
      const float product = transposed_sum(partial + row * BATCH_KEYS, lane);
      if (batch == 0 || lane % KEY_LANES >= batch) products[row] = product;
    }
  }
}

// Takes a tile into the rows' softmaxes: its products to weights, by which the sums so far are rescaled too. Returns
// whether this lane's key is hidden from a row.
template <int rows, int value_chunks>
inline bool weigh_tile(thread Softmax* softmax, thread float4* sums, threadgroup float* weights,
                       thread const float* products, threadgroup const QueryRow* block, int key, int end_key,
                       device const uchar* mask, constant SdpaParameters& parameters, ushort lane) {
  bool some_hidden = false;
#pragma unroll
  for (int row = 0; row < rows; ++row) {
    const KeyRange visible = {block[row].first_key, min(block[row].end_key, end_key)};
    const float bias = key_bias(parameters, mask, block[row].mask_offset, visible, key);
    const float score = logit(products[row], parameters, bias);
    const bool hidden = score == -INFINITY;
    const float maximum = max(softmax[row].maximum, simd_max(score));
    const float scale = rescaling(softmax[row].maximum, maximum);
    const float weight = fast::exp(score - maximum);
    weights[lane * rows + row] = hidden ? HIDDEN : weight;
    softmax[row] = {maximum, softmax[row].sum * scale + (hidden ? 0.0f : weight)};
#pragma unroll
    for (int chunk = 0; chunk < value_chunks; ++chunk) sums[row * value_chunks + chunk] *= scale;
    some_hidden |= hidden;
  }
  return some_hidden;
}

// Adds the weighted values of a tile's keys to `sums`. Unless every row sees the whole tile, hidden keys are passed
// over: 0 times their values might be NaN.
template <typename T, int rows, int value_chunks, bool vectors, bool some_hidden>
inline void add_weighted_values(thread float4* sums, threadgroup const float* weights, device const T* v, int first_key,
                                int last_key, thread const int* columns, ushort value_lanes,
                                constant SdpaParameters& parameters, ushort lane) {
  constexpr int batch = BATCH_KEYS / value_chunks;
  const int keys_at_once = 32 / value_lanes;
  const int count = some_hidden ? last_key - first_key + 1 : TILE_KEYS;
  for (int start = lane / value_lanes; start < count; start += batch * keys_at_once) {
    vec<T, CHUNK> values[batch * value_chunks];
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const int key = first_key + start + i * keys_at_once;
      const long offset = (some_hidden ? min(key, last_key) : key) * parameters.v_strides[2];
#pragma unroll
      for (int chunk = 0; chunk < value_chunks; ++chunk)
        values[i * value_chunks + chunk] =
            load_chunk<T, vectors>(v + offset, columns[chunk], parameters.value_dim, parameters.v_strides[3]);
    }
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      threadgroup const float* key_weights = weights + (start + i * keys_at_once) * rows;
#pragma unroll
      for (int row = 0; row < rows; ++row) {
        const float weight = key_weights[row];
        if (some_hidden && weight == HIDDEN) continue;
#pragma unroll
        for (int chunk = 0; chunk < value_chunks; ++chunk)
          sums[row * value_chunks + chunk] += weight * float4(values[i * value_chunks + chunk]);
      }
    }
  }
}

// Writes a row's result: `sum` is the sum of exp(logit - maximum) * value for the columns from first_column on.
template <typename T>
inline void write_row(device T* out, device float* logsumexp, device const uchar* sinks,
                      constant SdpaParameters& parameters, int index, Softmax softmax, float4 sum, int first_column) {
  const int head = index / parameters.query_length % parameters.query_heads;
  const int batch = index / parameters.query_length / parameters.query_heads;
  const bool sees_nothing = softmax.maximum == -INFINITY && softmax.sum == 0;  // NaN alone leaves the maximum as it is
  Softmax total = softmax;
  if (parameters.sinks_type != OPERAND_ABSENT) {
    const long sink = batch * parameters.sinks_strides[0] + head * parameters.sinks_strides[1];
    total = merged(softmax, {operand_at(sinks, parameters.sinks_type, sink), 1});
  }
  const float scale = sees_nothing ? 0.0f : rescaling(softmax.maximum, total.maximum) / total.sum;
  for (int i = 0; i < CHUNK; ++i)
    if (first_column + i < parameters.value_dim)
      out[long(index) * parameters.value_dim + first_column + i] = T(sum[i] * scale);
  if (first_column == 0 && parameters.with_logsumexp)
    logsumexp[index] = sees_nothing ? -INFINITY : total.maximum + precise::log(total.sum);
}

// Where a row's partial result of a split lies: (maximum, sum, 0, 0), then the weighted values.
inline long partial_offset(constant SdpaParameters& parameters, int index, int split) {
  const int chunks = (parameters.value_dim + CHUNK - 1) / CHUNK;
  return (long(index) * parameters.splits + split) * (1 + chunks);
}

inline void write_partial(device float4* partial, constant SdpaParameters& parameters, Softmax softmax, float4 sum,
                          int first_column) {
  if (first_column == 0) partial[0] = float4(softmax.maximum, softmax.sum, 0, 0);
  if (first_column < parameters.value_dim) partial[1 + first_column / CHUNK] = sum;
}

// A threadgroup has 128 threads. The bound of 512 keeps the compiler to registers of which four threadgroups fit at
// once.
template <typename T, int rows, bool long_heads, int value_chunks, bool vectors>
[[kernel, max_total_threads_per_threadgroup(512)]] void sdpa_decode(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device const T* v [[buffer(2)]],
    device const uchar* mask [[buffer(3)]], device const uchar* sinks [[buffer(4)]], device T* out [[buffer(5)]],
    device float* logsumexp [[buffer(6)]], device float4* partials [[buffer(7)]],
    constant SdpaParameters& parameters [[buffer(8)]], uint3 position [[threadgroup_position_in_grid]],
    ushort lane [[thread_index_in_simdgroup]], ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup QueryRow block[rows];
  threadgroup float maxima[SIMDGROUPS * rows];
  threadgroup float weight_sums[SIMDGROUPS * rows];
  threadgroup float4 simdgroup_sums[SIMDGROUPS * 32 * value_chunks];
  threadgroup float all_weights[SIMDGROUPS * TILE_KEYS * rows];  // of a key for all rows, then of the next

  const int3 group = int3(position);
  const int group_size = parameters.group_size, kv_heads = parameters.query_heads / group_size;
  const int all_rows = group_size * parameters.query_length;
  const int blocks = (all_rows + rows - 1) / rows;
  const int kv_head = group.x / blocks % kv_heads, batch = group.x / blocks / kv_heads;
  const int first_row = group.x % blocks * rows, last_row = min(first_row + rows, all_rows) - 1;
  const int thread_index = simdgroup * 32 + lane;
  // Rows of a block lie close in their queries, so that they see much the same keys. Those beyond the last repeat it.
  if (thread_index < rows) {
    const int row = min(first_row + thread_index, last_row);
    set_query_row(block[thread_index], parameters, batch, kv_head * group_size + row % group_size, row / group_size);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);

  k += batch * parameters.k_strides[0] + kv_head * parameters.k_strides[1];
  v += batch * parameters.v_strides[0] + kv_head * parameters.v_strides[1];
  const int begin = block[0].first_key + group.y * parameters.keys_per_split;
  const int end = min(begin + parameters.keys_per_split, block[rows - 1].end_key);

  // At least 8, so that no batch of add_weighted_values() is larger than a tile.
  const ushort value_lanes = parameters.value_dim > 16 * CHUNK ? 32 : parameters.value_dim > 8 * CHUNK ? 16 : 8;
  const int first_column = group.z * 32 * value_chunks * CHUNK;
  int columns[value_chunks];  // beyond the last column it is read once more, and nothing written
#pragma unroll
  for (int chunk = 0; chunk < value_chunks; ++chunk) {
    const int column = first_column + (chunk * value_lanes + lane % value_lanes) * CHUNK;
    columns[chunk] = vectors ? min(column, parameters.value_dim - CHUNK) : column;
  }

  Softmax softmax[rows];  // the maximum is the SIMD-group's, the sum this lane's
  float4 sums[rows * value_chunks];
#pragma unroll
  for (int row = 0; row < rows; ++row) softmax[row] = {-INFINITY, 0};
#pragma unroll
  for (int i = 0; i < rows * value_chunks; ++i) sums[i] = 0;

  float4 queries[rows * HEAD_CHUNKS];
  if (!long_heads) load_queries<T, rows, vectors>(queries, block, q, 0, parameters, lane);

  threadgroup float* weights = all_weights + simdgroup * TILE_KEYS * rows;
  for (int tile = begin + simdgroup * TILE_KEYS; tile < end; tile += SIMDGROUPS * TILE_KEYS) {
    const int last_key = min(tile + TILE_KEYS, end) - 1;
    float products[rows];
    tile_products<T, rows, long_heads, vectors>(products, queries, block, q, k, tile, last_key, parameters, lane);
    simdgroup_barrier(mem_flags::mem_threadgroup);  // the weights of the tile before have been used
    const bool some_hidden = simd_any(weigh_tile<rows, value_chunks>(softmax, sums, weights, products, block,
                                                                     tile + lane, end, mask, parameters, lane));
    simdgroup_barrier(mem_flags::mem_threadgroup);
    if (parameters.value_dim == 0) continue;
    if (some_hidden)
      add_weighted_values<T, rows, value_chunks, vectors, true>(sums, weights, v, tile, last_key, columns, value_lanes,
                                                                parameters, lane);
    else
      add_weighted_values<T, rows, value_chunks, vectors, false>(sums, weights, v, tile, last_key, columns, value_lanes,
                                                                 parameters, lane);
  }

  // The lanes that hold the same columns of other keys, then the SIMD-groups.
  for (ushort step = value_lanes; step < 32; step *= 2)
#pragma unroll
    for (int i = 0; i < rows * value_chunks; ++i) sums[i] += simd_shuffle_xor(sums[i], step);
#pragma unroll
  for (int row = 0; row < rows; ++row) {
    softmax[row].sum = simd_sum(softmax[row].sum);
    if (lane == 0) {
      maxima[simdgroup * rows + row] = softmax[row].maximum;
      weight_sums[simdgroup * rows + row] = softmax[row].sum;
    }
  }
  const int chunks = value_lanes * value_chunks;
#pragma unroll
  for (int row = 0; row < rows; ++row) {
    threadgroup_barrier(mem_flags::mem_threadgroup);  // the maxima are there, the row before is done with the sums
    Softmax total = {-INFINITY, 0};
    for (int i = 0; i < SIMDGROUPS; ++i) total = merged(total, {maxima[i * rows + row], weight_sums[i * rows + row]});
    const float scale = rescaling(softmax[row].maximum, total.maximum);
    if (lane < value_lanes)
#pragma unroll
      for (int chunk = 0; chunk < value_chunks; ++chunk)
        simdgroup_sums[simdgroup * chunks + chunk * value_lanes + lane] = sums[row * value_chunks + chunk] * scale;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index < chunks && first_row + row <= last_row) {
      float4 sum = 0;
      for (int i = 0; i < SIMDGROUPS; ++i) sum += simdgroup_sums[i * chunks + thread_index];
      const int index = block[row].index, column = first_column + thread_index * CHUNK;
      if (parameters.splits == 1)
        write_row(out, logsumexp, sinks, parameters, index, total, sum, column);
      else
        write_partial(partials + partial_offset(parameters, index, group.y), parameters, total, sum, column);
    }
  }
}

// Adds up the partial results of the splits. One threadgroup takes 128 columns of a row:
//   threadgroups: x = row of out, y = block of columns;  threads: 16 SIMD-groups, which take the splits in turn
template <typename T>
[[kernel, max_total_threads_per_threadgroup(COMBINE_SIMDGROUPS * 32)]] void sdpa_decode_combine(
    device const float4* partials [[buffer(0)]], device const uchar* sinks [[buffer(1)]], device T* out [[buffer(2)]],
    device float* logsumexp [[buffer(3)]], constant SdpaParameters& parameters [[buffer(4)]],
    uint3 position [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 simdgroup_sums[COMBINE_SIMDGROUPS * 32];
  const int index = position.x, column = (position.y * 32 + lane) * CHUNK;
  partials += partial_offset(parameters, index, 0);
  const int stride = partial_offset(parameters, 0, 1);

  Softmax softmax = {-INFINITY, 0};
  for (int split = lane; split < parameters.splits; split += 32)
    softmax = merged(softmax, {partials[split * stride].x, partials[split * stride].y});
  const float maximum = simd_max(softmax.maximum);
  softmax = {maximum, simd_sum(softmax.sum * rescaling(softmax.maximum, maximum))};

  float4 sum = 0;
  if (column < parameters.value_dim)
    for (int split = simdgroup; split < parameters.splits; split += COMBINE_SIMDGROUPS)
      sum += partials[split * stride + 1 + column / CHUNK] * rescaling(partials[split * stride].x, maximum);
  simdgroup_sums[simdgroup * 32 + lane] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup != 0) return;
  for (int i = 1; i < COMBINE_SIMDGROUPS; ++i) sum += simdgroup_sums[i * 32 + lane];
  write_row(out, logsumexp, sinks, parameters, index, softmax, sum, column);
}
