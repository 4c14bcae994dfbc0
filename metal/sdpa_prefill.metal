// Attention for many queries: out = softmax(scale * q k^T) v, with the softcap, mask, band and sinks of
// docs/semantics.md.
//
// FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691) on simdgroup_matrix: no score ever reaches memory.
//
// Geometry. A row is a query of a query head; all rows that share a KV head are counted together, the heads of a query
// next to each other, so that they read the same keys at the same time. One threadgroup of 4 SIMD-groups takes
// 32 * ROW_FRAGMENTS rows, each SIMD-group 8 * ROW_FRAGMENTS of them. They meet at the tiles of keys and values, which
// all four load together and all four read:
//
//                            KEYS keys                            VALUE_DIM
//                         +-------------+                      +-------------+
//                         |  key tile,  | HEAD_DIM             | value tile  | KEYS
//              HEAD_DIM   | transposed  |                      +-------------+
//             +--------+  +-------------+       +-------------+
//        rows |   q    |  |   scores    |  -->  |   weights   |  values summed so far (rows x VALUE_DIM)
//             +--------+  +-------------+       +-------------+
//
// All matrices are cut into 8x8 fragments (simdgroup_fragment.h); q, keys and values stay in their type, everything
// else is float32. For each tile of keys: scores = q k^T, online softmax (Milakov & Gimelshein 2018,
// https://arxiv.org/abs/1805.02867), values += weights v. Tiles that none of the rows sees are skipped; only tiles that
// the band's edge crosses, or a mask covers, pay for looking at every key.
//
// Where rows are too few to fill a GPU, the keys are split over several threadgroups, each of which leaves a partial
// result (sdpa_partials.h).
//
// Template arguments. HEAD_DIM and VALUE_DIM are multiples of 8, at most 256; the true dimensions may be smaller: tiles
// are filled up with zeros. csrc/ops/sdpa_prefill_tiles.h has the table of tiles, with registers, threadgroup memory
// and reasons.
//
// A row's result depends on nothing but what it sees: tiles begin at multiples of KEYS, one of which the row sees
// nothing changes no bit of it, and neither does a second pass for the sake of another row. (Unless the keys are
// split.)
//
// Memory traffic: q is read and out written once; K and V are read once for each 32 * ROW_FRAGMENTS rows, the mask
// once. 32 rows do 16 multiply-adds for each byte of 16-bit K and V: the kernel is bound by arithmetic.
#include <metal_stdlib>

#include "chunk.h"
#include "sdpa_packing.h"
#include "sdpa_prefill_tile.h"
#include "sdpa_results.h"
#include "sdpa_scores.h"
#include "simdgroup_fragment.h"

using namespace metal;

// ---- Tiles of keys and values in threadgroup memory

// Elements from one row of a tile to the next: an odd number of chunks, so that the 8 rows of a fragment begin in
// different ones of the 32 banks of 4 bytes, of both tiles.
template <typename T, int COLUMNS>
constexpr int tile_pitch() {
  static_assert(COLUMNS % FRAGMENT_SIZE == 0 && COLUMNS <= 256, "see above");
  return (COLUMNS / chunk_size<T>() | 1) * chunk_size<T>();
}

// How many neighbouring elements of a tile's row a lane reads at once, where LANES lanes share COLUMNS: at most
// `largest`.
template <int LANES, int COLUMNS>
constexpr int elements_per_lane(int largest) {
  int count = largest;
  while (COLUMNS % (LANES * count) != 0) count /= 2;
  return count;
}

// A product sums over dimensions in any order, if only q and k have the same. So a lane reads KEY_VECTOR neighbouring
// dimensions of a key, which are the same element of as many fragments:
//
//     fragment i of a block of 8 * KEY_VECTOR dimensions has the dimensions i, KEY_VECTOR + i, 2 * KEY_VECTOR + i, ...
//
// 8 bytes at once: those of all key fragments wait in registers.
template <typename T, int HEAD_DIM>
constexpr int key_vector() {
  return elements_per_lane<FRAGMENT_SIZE, HEAD_DIM>(8 / sizeof(T));
}

// Nor does it matter which columns a fragment of values has. A lane reads VALUE_VECTOR neighbouring ones:
//
//     fragment i of a block of 4 * VALUE_VECTOR columns has the columns 2 i, 2 i + 1, VALUE_VECTOR + 2 i, ...
template <typename T, int VALUE_DIM>
constexpr int value_vector() {
  return elements_per_lane<FRAGMENT_SIZE / 2, VALUE_DIM>(chunk_size<T>());
}

// The first of the two columns that a lane holds of a fragment of values.
template <typename T, int VALUE_DIM>
inline int value_column(int fragment, FragmentPosition position) {
  constexpr int VECTOR = value_vector<T, VALUE_DIM>(), FRAGMENTS = VECTOR / 2;  // of a block
  return (fragment / FRAGMENTS * (FRAGMENT_SIZE / 2) + position.column / 2) * VECTOR + fragment % FRAGMENTS * 2;
}

template <typename T, int ROWS, int COLUMNS>
constexpr int tile_chunks() {
  return ROWS * tile_pitch<T, COLUMNS>() / chunk_size<T>();
}

// The keys, or the values, of one head in device memory.
template <typename T>
struct HeadMatrix {
  device const T* data;
  long row_stride;
  long column_stride;
  int rows;
  int columns;
  bool in_chunks;  // every row can be read in chunks
};

template <typename T>
inline HeadMatrix<T> head_matrix(device const T* data, constant int64_t* strides, Head head, int columns,
                                 bool in_chunks) {
  const Sequence sequence = head.sequence;
  return {data + head_offset(strides, head, sequence.first_key),
          strides[2],
          strides[3],
          sequence.key_length,
          columns,
          in_chunks};
}

// Unrolled, so that a thread has all of its loads in flight before the first one's chunk is stored.
template <typename T, int ROWS, int COLUMNS>
inline void load_tile_in_chunks(threadgroup T* tile, HeadMatrix<T> matrix, int first_row, uint thread_index) {
  constexpr int CHUNKS = COLUMNS / chunk_size<T>(), COUNT = ROWS * CHUNKS;
#pragma unroll
  for (int start = 0; start < COUNT; start += SDPA_PREFILL_THREADS) {
    const int i = start + int(thread_index);
    if (i < COUNT) {
      const int row = i / CHUNKS, column = i % CHUNKS * chunk_size<T>();
      Chunk<T> chunk = {};
      if (first_row + row < matrix.rows && column < matrix.columns)
        chunk = *(device const Chunk<T>*)(matrix.data + (first_row + row) * matrix.row_stride + column);
      *(threadgroup Chunk<T>*)(tile + row * tile_pitch<T, COLUMNS>() + column) = chunk;
    }
  }
}

template <typename T, int ROWS, int COLUMNS>
inline void load_tile_by_element(threadgroup T* tile, HeadMatrix<T> matrix, int first_row, uint thread_index) {
  for (uint i = thread_index; i < ROWS * COLUMNS; i += SDPA_PREFILL_THREADS) {
    const int row = i / COLUMNS, column = i % COLUMNS;
    T element = T(0);
    if (first_row + row < matrix.rows && column < matrix.columns)
      element = matrix.data[(first_row + row) * matrix.row_stride + column * matrix.column_stride];
    tile[row * tile_pitch<T, COLUMNS>() + column] = element;
  }
}

// Rows from `first_row` on; zeros beyond the matrix, since in a product even 0 * garbage may be NaN.
template <typename T, int ROWS, int COLUMNS>
inline void load_tile(threadgroup T* tile, HeadMatrix<T> matrix, int first_row, uint thread_index) {
  if (matrix.in_chunks)
    load_tile_in_chunks<T, ROWS, COLUMNS>(tile, matrix, first_row, thread_index);
  else
    load_tile_by_element<T, ROWS, COLUMNS>(tile, matrix, first_row, thread_index);
}

// ---- Which rows and keys a threadgroup takes

// From `first_row` of a head on; maybe none.
struct RowTile {
  Head head;
  int first_row;
};

// The last rows come first: by causality they see the most keys, and what takes longest should not start last.
template <int ROWS, bool PACKED>
inline RowTile row_tile(constant SdpaParameters& parameters, Packing packing, int index, uint lane) {
  if (PACKED) {
    const int tiles = packed_tiles<ROWS>(parameters), tile = tiles - 1 - index % tiles;
    const int sequence = sequence_of_tile<ROWS>(parameters, packing, tile, lane);
    return {{packed_sequence(parameters, packing, sequence), index / tiles},
            (tile - first_packed_tile<ROWS>(parameters, packing, sequence)) * ROWS};
  }
  const int kv_heads = parameters.query_heads / parameters.group_size;
  const int tiles = (parameters.query_length * parameters.group_size + ROWS - 1) / ROWS, head = index / tiles;
  return {{whole_batch(parameters, head / kv_heads), head % kv_heads}, (tiles - 1 - index % tiles) * ROWS};
}

// The keys that its rows see, from a multiple of `tile` on, or its split of them.
inline KeyRange threadgroup_keys(constant SdpaParameters& parameters, KeyRange seen, int split, int tile) {
  const int first = seen.first / tile * tile + split * parameters.keys_per_split;
  return {first, parameters.splits == 1 ? seen.end : min(seen.end, first + parameters.keys_per_split)};
}

// ---- The steps, for the rows of a SIMD-group. Matrices are arrays of fragments, of which a thread holds its two
// elements: those of `position` and the one to the right. So it holds elements of one row in each fragment of rows.

// Elements of a row of q from `column` on; zeros beyond its `columns`.
template <typename T, int COUNT>
inline Vector<T, COUNT> query_elements(device const T* row, int column, int columns, long stride, bool in_chunks) {
  Vector<T, COUNT> elements = {};
  if (in_chunks) {
    if (column < columns) elements = *(device const Vector<T, COUNT>*)(row + column);
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      if (column + i < columns) elements.elements[i] = row[(column + i) * stride];
  }
  return elements;
}

// Zeros beyond the last row or dimension.
template <typename T, int HEAD_DIM>
inline void load_query(thread vec<T, 2>* query_fragments, constant SdpaParameters& parameters, device const T* q,
                       Row row, FragmentPosition position) {
  constexpr int VECTOR = key_vector<T, HEAD_DIM>();
  const int columns = row.exists ? parameters.head_dim : 0;
#pragma unroll
  for (int d = 0; d < HEAD_DIM / FRAGMENT_SIZE; d += VECTOR) {
    const Vector<T, 2 * VECTOR> block =
        query_elements<T, 2 * VECTOR>(q + row.q_offset, d * FRAGMENT_SIZE + position.column * VECTOR, columns,
                                      parameters.q_strides[3], parameters.q_in_chunks);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) query_fragments[d + i] = vec<T, 2>(block.elements[i], block.elements[VECTOR + i]);
  }
}

// products = q k^T. A fragment of keys is read once for all fragments of rows.
template <typename T, int HEAD_DIM, int ROW_FRAGMENTS, int KEYS>
inline void multiply_queries_and_keys(thread float2* products, thread const vec<T, 2>* query_fragments,
                                      threadgroup const T* key_tile, FragmentPosition position) {
  constexpr int PITCH = tile_pitch<T, HEAD_DIM>(), VECTOR = key_vector<T, HEAD_DIM>();
  constexpr int KEY_FRAGMENTS = KEYS / FRAGMENT_SIZE, DIM_FRAGMENTS = HEAD_DIM / FRAGMENT_SIZE;
  key_tile += position.column * PITCH + position.row * VECTOR;  // k^T: its rows are dimensions, its columns keys
#pragma unroll
  for (int i = 0; i < ROW_FRAGMENTS * KEY_FRAGMENTS; ++i) products[i] = float2(0);
#pragma unroll
  for (int d = 0; d < DIM_FRAGMENTS; d += VECTOR) {
    Vector<T, VECTOR> first[KEY_FRAGMENTS], second[KEY_FRAGMENTS];  // of the two keys that a lane has of each fragment
#pragma unroll
    for (int k = 0; k < KEY_FRAGMENTS; ++k) {
      threadgroup const T* keys = key_tile + k * FRAGMENT_SIZE * PITCH + d * FRAGMENT_SIZE;
      first[k] = *(threadgroup const Vector<T, VECTOR>*)keys;
      second[k] = *(threadgroup const Vector<T, VECTOR>*)(keys + PITCH);
    }
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
#pragma unroll
      for (int k = 0; k < KEY_FRAGMENTS; ++k) {
        const vec<T, 2> key_fragment = vec<T, 2>(first[k].elements[i], second[k].elements[i]);
#pragma unroll
        for (int r = 0; r < ROW_FRAGMENTS; ++r)
          products[r * KEY_FRAGMENTS + k] = multiply_accumulate<T, T>(query_fragments[r * DIM_FRAGMENTS + d + i],
                                                                      key_fragment, products[r * KEY_FRAGMENTS + k]);
      }
    }
  }
}

// Products become logits. Only where not all keys of the tile are visible to all rows is every one looked at; where
// they are, a hidden key's bias of minus infinity is all that is left out.
template <int KEYS, bool ALL_VISIBLE>
inline void products_to_logits(thread float2* products, constant SdpaParameters& parameters, device const uchar* mask,
                               Row row, FragmentPosition position, int first_key) {
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) products[i] *= parameters.scale;
  if (parameters.softcap > 0) {
#pragma unroll
    for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i)
      products[i] = float2(softcapped(products[i].x, parameters), softcapped(products[i].y, parameters));
  }
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
    const int key = first_key + i * FRAGMENT_SIZE + position.column;
    const float bias0 = ALL_VISIBLE ? 0.0f : key_bias(parameters, mask, row.mask_offset, row.keys, key);
    const float bias1 = ALL_VISIBLE ? 0.0f : key_bias(parameters, mask, row.mask_offset, row.keys, key + 1);
    products[i] = float2(biased(products[i].x, bias0), biased(products[i].y, bias1));
  }
}

// What online softmax has come to for a row, relative to the largest logit so far. Weights are e^(logit - maximum), or
// where logits are in base 2, 2^(logit - maximum).
template <int VALUE_DIM>
struct SoftmaxState {
  float2 values[VALUE_DIM / FRAGMENT_SIZE];  // sum of weight * value
  float maximum;
  float sum;  // of weights, over the keys that this thread holds
};

template <int VALUE_DIM>
inline void clear(thread SoftmaxState<VALUE_DIM>& state) {
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) state.values[d] = float2(0);
  state.maximum = -INFINITY;
  state.sum = 0;
}

// Logits become weights relative to the new maximum, and so does the state.
template <int KEYS, int VALUE_DIM>
inline void update_softmax(thread float2* logits, thread SoftmaxState<VALUE_DIM>& state, bool base_2) {
  constexpr int KEY_FRAGMENTS = KEYS / FRAGMENT_SIZE;
  float tile_maximum = -INFINITY;
#pragma unroll
  for (int i = 0; i < KEY_FRAGMENTS; ++i) tile_maximum = max(tile_maximum, max(logits[i].x, logits[i].y));
  const float maximum = max(state.maximum, row_maximum(tile_maximum));
  const float reference = maximum == -INFINITY ? 0.0f : maximum;  // nothing seen yet: weights of 0, not NaN
  float rescale;
  if (base_2) {
    rescale = fast::exp2(state.maximum - reference);
#pragma unroll
    for (int i = 0; i < KEY_FRAGMENTS; ++i) logits[i] = fast::exp2(logits[i] - reference);
  } else {
    rescale = fast::exp(state.maximum - reference);
#pragma unroll
    for (int i = 0; i < KEY_FRAGMENTS; ++i) logits[i] = fast::exp(logits[i] - reference);
  }
  state.sum *= rescale;
#pragma unroll
  for (int i = 0; i < KEY_FRAGMENTS; ++i) state.sum += logits[i].x + logits[i].y;
  if (simd_any(state.maximum != maximum)) {  // seldom, after the first tiles
#pragma unroll
    for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) state.values[d] *= rescale;
  }
  state.maximum = maximum;
}

// The values of a key that a lane reads at once: its columns of all fragments of the block that `fragment` begins.
template <typename T, int VALUE_DIM>
inline Vector<T, value_vector<T, VALUE_DIM>()> value_elements(threadgroup const T* value_tile, int key, int fragment,
                                                              FragmentPosition position) {
  constexpr int PITCH = tile_pitch<T, VALUE_DIM>(), VECTOR = value_vector<T, VALUE_DIM>();
  const int column = value_column<T, VALUE_DIM>(fragment, position);
  return *(threadgroup const Vector<T, VECTOR>*)(value_tile + key * PITCH + column);
}

template <typename T>
inline T finite_or_zero(T value) {
  return isfinite(float(value)) ? value : T(0);
}

// values += weights v, or with FINITE_ONLY, as if values that are not finite were zero.
template <typename T, int VALUE_DIM, int ROW_FRAGMENTS, int KEYS, bool FINITE_ONLY>
inline void accumulate_values(thread SoftmaxState<VALUE_DIM>* states, thread const float2* weights,
                              threadgroup const T* value_tile, FragmentPosition position) {
  constexpr int KEY_FRAGMENTS = KEYS / FRAGMENT_SIZE, VECTOR = value_vector<T, VALUE_DIM>();
#pragma unroll
  for (int k = 0; k < KEY_FRAGMENTS; ++k) {
#pragma unroll
    for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; d += VECTOR / 2) {
      const Vector<T, VECTOR> values =
          value_elements<T, VALUE_DIM>(value_tile, k * FRAGMENT_SIZE + position.row, d, position);
#pragma unroll
      for (int i = 0; i < VECTOR / 2; ++i) {
        vec<T, 2> fragment = vec<T, 2>(values.elements[2 * i], values.elements[2 * i + 1]);
        if (FINITE_ONLY) fragment = vec<T, 2>(finite_or_zero(fragment.x), finite_or_zero(fragment.y));
#pragma unroll
        for (int r = 0; r < ROW_FRAGMENTS; ++r)
          states[r].values[d + i] =
              multiply_accumulate<float, T>(weights[r * KEY_FRAGMENTS + k], fragment, states[r].values[d + i]);
      }
    }
  }
}

inline float where_not_finite(float value, float product) { return isfinite(value) ? 0.0f : product; }

// What those leave out: visible values that are not finite.
template <typename T, int VALUE_DIM, int KEYS>
inline void accumulate_values_not_finite(thread SoftmaxState<VALUE_DIM>& state, thread const float2* weights,
                                         threadgroup const T* value_tile, FragmentPosition position,
                                         constant SdpaParameters& parameters, device const uchar* mask, Row row,
                                         int first_key) {
  constexpr int VECTOR = value_vector<T, VALUE_DIM>();
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
    for (int column = 0; column < FRAGMENT_SIZE; ++column) {
      const int key = i * FRAGMENT_SIZE + column;
      const float weight =
          simd_shuffle(column % 2 == 0 ? weights[i].x : weights[i].y, fragment_lane(position.row, column));
      if (key_bias(parameters, mask, row.mask_offset, row.keys, first_key + key) == -INFINITY) continue;
#pragma unroll
      for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; d += VECTOR / 2) {
        const Vector<T, VECTOR> values = value_elements<T, VALUE_DIM>(value_tile, key, d, position);
#pragma unroll
        for (int j = 0; j < VECTOR; ++j) {
          const float value = float(values.elements[j]);
          state.values[d + j / 2][j % 2] += where_not_finite(value, weight * value);
        }
      }
    }
  }
}

template <int VALUE_DIM>
inline bool is_finite(thread const SoftmaxState<VALUE_DIM>& state) {
  bool finite = true;
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d)
    finite = finite && isfinite(state.values[d].x) && isfinite(state.values[d].y);
  return finite;
}

// Whether any thread of the threadgroup says so. `votes` may be used once.
inline bool any_in_threadgroup(bool vote, threadgroup bool* votes, uint simdgroup, uint lane) {
  const bool simdgroup_vote = simd_any(vote);
  if (lane == 0) votes[simdgroup] = simdgroup_vote;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  bool any = false;
  for (int i = 0; i < SDPA_PREFILL_SIMDGROUPS; ++i) any = any || votes[i];
  return any;
}

// ---- Results

template <typename T, int VALUE_DIM, bool PACKED>
inline void write_output(device T* out, device float* logsumexp, constant SdpaParameters& parameters,
                         thread const SoftmaxState<VALUE_DIM>& state, Normaliser normaliser, long index,
                         FragmentPosition position) {
  constexpr int VECTOR = value_vector<T, VALUE_DIM>();
  if (position.column == 0) write_logsumexp(logsumexp, parameters, index, normaliser);
  out += output_row<PACKED>(parameters, index) * parameters.value_dim;
  const bool in_vectors = parameters.value_dim % VECTOR == 0;
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; d += VECTOR / 2) {
    const int column = value_column<T, VALUE_DIM>(d, position);
    Vector<T, VECTOR> elements;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) elements.elements[i] = T(state.values[d + i / 2][i % 2] * normaliser.factor);
    if (in_vectors) {
      if (column < parameters.value_dim) *(device Vector<T, VECTOR>*)(out + column) = elements;
    } else {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i)
        if (column + i < parameters.value_dim) out[column + i] = elements.elements[i];
    }
  }
}

// A split's. Its logits are in base e, as sdpa_combine takes them.
template <typename T, int VALUE_DIM>
inline void write_partial(device float4* partial, constant SdpaParameters& parameters,
                          thread const SoftmaxState<VALUE_DIM>& state, float sum, FragmentPosition position) {
  if (position.column == 0) write_partial_softmax(partial, {state.maximum, sum});
  if (sum == 0) return;
  device float2* values = (device float2*)(partial + 1);
  const int columns = (partial_size(parameters) - 1) * PARTIAL_CHUNK;
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) {
    const int column = value_column<T, VALUE_DIM>(d, position);
    if (column < columns) values[column / 2] = state.values[d];
  }
}

// Threadgroups: x = (batch, KV head, tile of rows), or with PACKED (KV head, tile of all sequences' rows), y = split of
// the keys.
template <typename T, int HEAD_DIM, int VALUE_DIM, int ROW_FRAGMENTS, int KEYS, bool PACKED>
[[kernel, max_total_threads_per_threadgroup(SDPA_PREFILL_THREADS)]] void sdpa_prefill(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device const T* v [[buffer(2)]],
    device const uchar* mask [[buffer(3)]], device const uchar* sinks [[buffer(4)]],
    device const int* cu_seqlens_q [[buffer(5)]], device const int* cu_seqlens_k [[buffer(6)]],
    device T* out [[buffer(7)]], device float* logsumexp [[buffer(8)]], device float4* partials [[buffer(9)]],
    constant SdpaParameters& parameters [[buffer(10)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  constexpr int ROWS = ROW_FRAGMENTS * SDPA_PREFILL_FRAGMENT_ROWS;
  constexpr int KEY_FRAGMENTS = KEYS / FRAGMENT_SIZE, DIM_FRAGMENTS = HEAD_DIM / FRAGMENT_SIZE;
  threadgroup Chunk<T> key_chunks[tile_chunks<T, KEYS, HEAD_DIM>()];
  threadgroup Chunk<T> value_chunks[tile_chunks<T, KEYS, VALUE_DIM>()];
  threadgroup bool votes[SDPA_PREFILL_SIMDGROUPS];
  threadgroup T* key_tile = (threadgroup T*)key_chunks;
  threadgroup T* value_tile = (threadgroup T*)value_chunks;

  const Packing packing = {cu_seqlens_q, cu_seqlens_k};
  if (PACKED && !covers_all(parameters, packing, lane)) {
    write_nan(out, logsumexp, partials, parameters, launch_thread(group, groups, thread_index, SDPA_PREFILL_THREADS));
    return;
  }
  const RowTile tile = row_tile<ROWS, PACKED>(parameters, packing, group.x, lane);
  const Head head = tile.head;
  if (PACKED && tile.first_row >= row_count(parameters, head)) return;
  const HeadMatrix<T> keys = head_matrix(k, parameters.k_strides, head, parameters.head_dim, parameters.k_in_chunks);
  const HeadMatrix<T> values = head_matrix(v, parameters.v_strides, head, parameters.value_dim, parameters.v_in_chunks);

  const KeyRange all_keys =
      threadgroup_keys(parameters, keys_seen(parameters, head, tile.first_row, ROWS).by_any, group.y, KEYS);
  const int simdgroup_row = tile.first_row + int(simdgroup) * ROW_FRAGMENTS * FRAGMENT_SIZE;
  const KeysSeen seen = keys_seen(parameters, head, simdgroup_row, ROW_FRAGMENTS * FRAGMENT_SIZE);
  const FragmentPosition position = fragment_position(lane);
  Row rows[ROW_FRAGMENTS];
  vec<T, 2> query_fragments[ROW_FRAGMENTS * DIM_FRAGMENTS];
  SoftmaxState<VALUE_DIM> states[ROW_FRAGMENTS];
#pragma unroll
  for (int r = 0; r < ROW_FRAGMENTS; ++r) {
    rows[r] = row_at(parameters, head, simdgroup_row + r * FRAGMENT_SIZE + position.row);
    load_query<T, HEAD_DIM>(query_fragments + r * DIM_FRAGMENTS, parameters, q, rows[r], position);
  }
  // First as if all values were finite; only if that comes to NaN or infinity, which may be a hidden value's times 0,
  // all over again with care. So the usual case does not pay for the other, and rows that see finite values only come
  // to the same bits either way.
  for (bool carefully = false;; carefully = true) {
#pragma unroll
    for (int r = 0; r < ROW_FRAGMENTS; ++r) clear(states[r]);
    for (int first_key = all_keys.first; first_key < all_keys.end; first_key += KEYS) {
      threadgroup_barrier(mem_flags::mem_threadgroup);  // nobody reads the tiles before any more
      load_tile<T, KEYS, HEAD_DIM>(key_tile, keys, first_key, thread_index);
      load_tile<T, KEYS, VALUE_DIM>(value_tile, values, first_key, thread_index);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      const KeyRange tile_keys = {first_key, first_key + KEYS};
      if (!overlap(seen.by_any, tile_keys)) continue;
      float2 scores[ROW_FRAGMENTS * KEY_FRAGMENTS];  // products, then logits, then weights
      multiply_queries_and_keys<T, HEAD_DIM, ROW_FRAGMENTS, KEYS>(scores, query_fragments, key_tile, position);
      const bool all_visible = contains(seen.by_all, tile_keys);
#pragma unroll
      for (int r = 0; r < ROW_FRAGMENTS; ++r) {
        thread float2* row_scores = scores + r * KEY_FRAGMENTS;
        if (all_visible)
          products_to_logits<KEYS, true>(row_scores, parameters, mask, rows[r], position, first_key);
        else
          products_to_logits<KEYS, false>(row_scores, parameters, mask, rows[r], position, first_key);
        update_softmax<KEYS>(row_scores, states[r], parameters.logits_in_base_2);
      }
      if (!carefully) {
        accumulate_values<T, VALUE_DIM, ROW_FRAGMENTS, KEYS, false>(states, scores, value_tile, position);
        continue;
      }
      accumulate_values<T, VALUE_DIM, ROW_FRAGMENTS, KEYS, true>(states, scores, value_tile, position);
#pragma unroll
      for (int r = 0; r < ROW_FRAGMENTS; ++r)
        accumulate_values_not_finite<T, VALUE_DIM, KEYS>(states[r], scores + r * KEY_FRAGMENTS, value_tile, position,
                                                         parameters, mask, rows[r], first_key);
    }
    bool finite = true;
#pragma unroll
    for (int r = 0; r < ROW_FRAGMENTS; ++r) finite = finite && is_finite(states[r]);
    if (carefully || !any_in_threadgroup(!finite, votes, simdgroup, lane)) break;
  }
  constexpr float ln_2 = 0.693147180559945309f;
#pragma unroll
  for (int r = 0; r < ROW_FRAGMENTS; ++r) {
    const float sum = row_sum(states[r].sum);
    if (!rows[r].exists) continue;
    const long index = row_index(parameters, head, simdgroup_row + r * FRAGMENT_SIZE + position.row);
    if (parameters.splits > 1) {
      write_partial<T, VALUE_DIM>(partials + partial_offset(parameters, index, group.y), parameters, states[r], sum,
                                  position);
      continue;
    }
    const float maximum = parameters.logits_in_base_2 ? states[r].maximum * ln_2 : states[r].maximum;
    write_output<T, VALUE_DIM, PACKED>(out, logsumexp, parameters, states[r],
                                       normaliser(parameters, sinks, index, {maximum, sum}), index, position);
  }
}
