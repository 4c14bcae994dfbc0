// Attention for many queries: out = softmax(scale * q k^T) v, with the softcap, mask, band and sinks of
// docs/semantics.md.
//
// FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691) on simdgroup_matrix: no score ever reaches memory.
//
// Geometry. One threadgroup of 4 SIMD-groups for 32 queries of one head; each SIMD-group owns 8 of them and meets the
// others only at the tiles of keys and values, which all four load together and all four read:
//
//                            KEYS keys                            VALUE_DIM
//                         +-------------+                      +-------------+
//                         |  key tile,  | HEAD_DIM             | value tile  | KEYS
//              HEAD_DIM   | transposed  |                      +-------------+
//             +--------+  +-------------+       +-------------+
//   8 queries |   q    |  |   scores    |  -->  |   weights   |  values summed so far (8 x VALUE_DIM)
//             +--------+  +-------------+       +-------------+
//
// All matrices are cut into 8x8 fragments (simdgroup_fragment.h) of float32. For each tile of keys: scores = q k^T,
// online softmax (Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867), values += weights v. Tiles that none of
// the queries sees are skipped; only tiles that the band's edge crosses, or a mask covers, pay for looking at every
// key.
//
// Template arguments. HEAD_DIM and VALUE_DIM are multiples of 16, at most 256; the true dimensions may be smaller:
// tiles are filled up with zeros. KEYS is the largest of 32, 16 and 8 with which a tile of keys and one of values take
// at most 16 KiB, so that several threadgroups share a core.
//
// Registers of a thread (32-bit) that live through the loop: HEAD_DIM / 4 for q (half of that in 16 bits), VALUE_DIM /
// 4 for the values, KEYS / 4 for the scores. Threadgroup memory, its padding included:
//
//   HEAD_DIM = VALUE_DIM      64      80      96     128     192     256
//   float:  KEYS              32      16      16      16       8       8
//           registers      16+16+8 20+20+4 24+24+4 32+32+4 48+48+2 64+64+2
//           KiB             17.0    10.5    12.5    16.5    12.3    16.3
//   16 bit: KEYS              32      32      32      32      16      16
//           registers       8+16+8 10+20+8 12+24+8 16+32+8 24+48+4 32+64+4
//           KiB              9.0    11.0    13.0    17.0    12.5    16.5
//
// Memory traffic: q is read and out written once; K and V are read once for every 32 queries of each query head, the
// mask once. 32 queries do 16 multiply-adds for each byte of 16-bit K and V: the kernel is bound by arithmetic.
#include <metal_stdlib>

#include "sdpa_prefill_tile.h"
#include "sdpa_scores.h"
#include "simdgroup_fragment.h"

using namespace metal;

// ---- Tiles of keys and values in threadgroup memory

// What a thread moves at once where rows are contiguous and aligned.
template <typename T>
struct alignas(16) Chunk {
  T elements[16 / sizeof(T)];
};

template <typename T>
constexpr int chunk_size() {
  return 16 / sizeof(T);
}

// Elements from one row of a tile to the next. With this padding, and COLUMNS a multiple of 16, the lanes read a
// fragment from different banks.
template <typename T, int COLUMNS>
constexpr int tile_pitch() {
  return COLUMNS + chunk_size<T>();
}

template <typename T, int ROWS, int COLUMNS>
constexpr int tile_chunks() {
  return ROWS * tile_pitch<T, COLUMNS>() / chunk_size<T>();
}

template <typename T, int HEAD_DIM, int VALUE_DIM>
constexpr int keys_in_tile() {
  static_assert(HEAD_DIM % 16 == 0 && VALUE_DIM % 16 == 0 && HEAD_DIM <= 256 && VALUE_DIM <= 256, "see above");
  constexpr int bytes_per_key = (HEAD_DIM + VALUE_DIM) * sizeof(T);
  return bytes_per_key <= 512 ? 32 : bytes_per_key <= 1024 ? 16 : 8;
}

// A query head, and the KV head that it reads.
struct Head {
  int batch;
  int query_head;
  int kv_head;
};

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
inline HeadMatrix<T> head_matrix(device const T* data, constant int64_t* strides, Head head, int rows, int columns,
                                 bool in_chunks) {
  return {data + head.batch * strides[0] + head.kv_head * strides[1], strides[2], strides[3], rows, columns, in_chunks};
}

template <typename T, int ROWS, int COLUMNS>
inline void load_tile_in_chunks(threadgroup T* tile, HeadMatrix<T> matrix, int first_row, uint thread_index) {
  constexpr int CHUNKS = COLUMNS / chunk_size<T>();
  for (uint i = thread_index; i < ROWS * CHUNKS; i += SDPA_PREFILL_THREADS) {
    const int row = i / CHUNKS, column = i % CHUNKS * chunk_size<T>();
    Chunk<T> chunk = {};
    if (first_row + row < matrix.rows && column < matrix.columns)
      chunk = *(device const Chunk<T>*)(matrix.data + (first_row + row) * matrix.row_stride + column);
    *(threadgroup Chunk<T>*)(tile + row * tile_pitch<T, COLUMNS>() + column) = chunk;
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

// ---- Which keys queries see

// A row of q and what it sees: nothing, if it lies beyond the last one.
struct Query {
  int index;
  KeyRange keys;  // by causality and window
  long mask_row;  // where the mask's row begins
};

inline Query query_at(constant SdpaParameters& parameters, Head head, int index) {
  constant int64_t* strides = parameters.mask_strides;
  KeyRange keys = {0, 0};
  if (index < parameters.query_length) keys = visible_keys(parameters, index);
  return {index, keys, head.batch * strides[0] + head.query_head * strides[1] + index * strides[2]};
}

// The keys that any of the queries first to first + count - 1 sees: the band moves on from query to query.
inline KeyRange keys_seen_by_any(constant SdpaParameters& parameters, int first, int count) {
  const int last = min(first + count, parameters.query_length) - 1;
  if (last < first) return {0, 0};
  return {visible_keys(parameters, first).first, visible_keys(parameters, last).end};
}

// The keys that all of them see, whatever is in the mask.
inline KeyRange keys_seen_by_all(constant SdpaParameters& parameters, int first, int count) {
  const int last = min(first + count, parameters.query_length) - 1;
  if (last < first || parameters.mask_type != OPERAND_ABSENT) return {0, 0};
  return {visible_keys(parameters, last).first, visible_keys(parameters, first).end};
}

inline bool overlap(KeyRange a, KeyRange b) { return a.first < b.end && b.first < a.end; }
inline bool contains(KeyRange outer, KeyRange inner) { return outer.first <= inner.first && inner.end <= outer.end; }

// ---- The steps, for the 8 queries of a SIMD-group. Matrices are arrays of fragments, of which a thread holds its two
// elements: those of `position` and the one to the right.

template <typename T>
inline T query_element(device const T* row, int column, int columns, long stride) {
  return column < columns ? row[column * stride] : T(0);
}

// Zeros beyond the last query or dimension.
template <typename T, int HEAD_DIM>
inline void load_query(thread vec<T, 2>* query_fragments, constant SdpaParameters& parameters, device const T* q,
                       Head head, Query query, FragmentPosition position) {
  constant int64_t* strides = parameters.q_strides;
  const int columns = query.index < parameters.query_length ? parameters.head_dim : 0;
  q += head.batch * strides[0] + head.query_head * strides[1] + query.index * strides[2];
#pragma unroll
  for (int d = 0; d < HEAD_DIM / FRAGMENT_SIZE; ++d) {
    const int column = d * FRAGMENT_SIZE + position.column;
    query_fragments[d] =
        vec<T, 2>(query_element(q, column, columns, strides[3]), query_element(q, column + 1, columns, strides[3]));
  }
}

// products = q k^T
template <typename T, int HEAD_DIM, int KEYS>
inline void multiply_queries_and_keys(thread float2* products, thread const vec<T, 2>* query_fragments,
                                      threadgroup const T* key_tile, FragmentPosition position) {
  constexpr int PITCH = tile_pitch<T, HEAD_DIM>();
  key_tile += position.column * PITCH + position.row;  // k^T: its rows are dimensions, its columns keys
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) products[i] = float2(0);
#pragma unroll
  for (int d = 0; d < HEAD_DIM / FRAGMENT_SIZE; ++d) {
    const float2 query = float2(query_fragments[d]);
#pragma unroll
    for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
      threadgroup const T* keys = key_tile + i * FRAGMENT_SIZE * PITCH + d * FRAGMENT_SIZE;
      products[i] = multiply_accumulate(query, float2(float(keys[0]), float(keys[PITCH])), products[i]);
    }
  }
}

// Products become logits. Only where not all keys of the tile are visible to all queries is every one looked at.
template <int KEYS, bool ALL_VISIBLE>
inline void products_to_logits(thread float2* products, constant SdpaParameters& parameters, device const uchar* mask,
                               Query query, FragmentPosition position, int first_key) {
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
    const int key = first_key + i * FRAGMENT_SIZE + position.column;
    const float bias0 = ALL_VISIBLE ? 0.0f : key_bias(parameters, mask, query.mask_row, query.keys, key);
    const float bias1 = ALL_VISIBLE ? 0.0f : key_bias(parameters, mask, query.mask_row, query.keys, key + 1);
    products[i] = float2(logit(products[i].x, parameters, bias0), logit(products[i].y, parameters, bias1));
  }
}

// What online softmax has come to for a query, relative to the largest logit so far.
template <int VALUE_DIM>
struct SoftmaxState {
  float2 values[VALUE_DIM / FRAGMENT_SIZE];  // sum of e^(logit - maximum) * value
  float maximum;
  float sum;  // of e^(logit - maximum), over the keys that this thread holds
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
inline void update_softmax(thread float2* logits, thread SoftmaxState<VALUE_DIM>& state) {
  float tile_maximum = -INFINITY;
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) tile_maximum = max(tile_maximum, max(logits[i].x, logits[i].y));
  const float maximum = max(state.maximum, row_maximum(tile_maximum));
  const float reference = maximum == -INFINITY ? 0.0f : maximum;  // nothing seen yet: weights of 0, not NaN
  const float rescale = fast::exp(state.maximum - reference);
  state.maximum = maximum;
  state.sum *= rescale;
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
    logits[i] = fast::exp(logits[i] - reference);
    state.sum += logits[i].x + logits[i].y;
  }
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) state.values[d] *= rescale;
}

// The values of a key in two neighbouring columns, the first one even.
template <typename T, int VALUE_DIM>
inline float2 value_pair(threadgroup const T* value_tile, int key, int column) {
  return float2(*(threadgroup const vec<T, 2>*)(value_tile + key * tile_pitch<T, VALUE_DIM>() + column));
}

// values += weights v
template <typename T, int VALUE_DIM, int KEYS>
inline void accumulate_values(thread SoftmaxState<VALUE_DIM>& state, thread const float2* weights,
                              threadgroup const T* value_tile, FragmentPosition position) {
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
#pragma unroll
    for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) {
      const float2 values =
          value_pair<T, VALUE_DIM>(value_tile, i * FRAGMENT_SIZE + position.row, d * FRAGMENT_SIZE + position.column);
      state.values[d] = multiply_accumulate(weights[i], values, state.values[d]);
    }
  }
}

// The same key by key, without those that are hidden. A matrix product multiplies their values by 0, which makes NaN of
// NaN and infinity.
template <typename T, int VALUE_DIM, int KEYS>
inline void accumulate_visible_values(thread SoftmaxState<VALUE_DIM>& state, thread const float2* weights,
                                      threadgroup const T* value_tile, FragmentPosition position,
                                      constant SdpaParameters& parameters, device const uchar* mask, Query query,
                                      int first_key) {
#pragma unroll
  for (int i = 0; i < KEYS / FRAGMENT_SIZE; ++i) {
    for (int column = 0; column < FRAGMENT_SIZE; ++column) {
      const int key = i * FRAGMENT_SIZE + column;
      const float weight =
          simd_shuffle(column % 2 == 0 ? weights[i].x : weights[i].y, fragment_lane(position.row, column));
      const bool visible = key_bias(parameters, mask, query.mask_row, query.keys, first_key + key) != -INFINITY;
#pragma unroll
      for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d)
        if (visible)
          state.values[d] += weight * value_pair<T, VALUE_DIM>(value_tile, key, d * FRAGMENT_SIZE + position.column);
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

// The softmax of a query over all its keys, and its sink if there is one.
struct Normaliser {
  float factor;  // of the values that were summed
  float logsumexp;
};

inline Normaliser normaliser(constant SdpaParameters& parameters, device const uchar* sinks, Head head, float maximum,
                             float sum) {
  if (sum == 0) return {0, -INFINITY};  // it saw nothing, and a sink alone counts for nothing
  if (parameters.sinks_type == OPERAND_ABSENT) return {1 / sum, maximum + precise::log(sum)};
  constant int64_t* strides = parameters.sinks_strides;
  const float sink = operand_at(sinks, parameters.sinks_type, head.batch * strides[0] + head.query_head * strides[1]);
  const float total_maximum = max(maximum, sink);
  const float rescale = fast::exp(maximum - total_maximum);
  const float total = sum * rescale + fast::exp(sink - total_maximum);
  return {rescale / total, total_maximum + precise::log(total)};
}

// Writes the query's row of the output, and its logsumexp.
template <typename T, int VALUE_DIM>
inline void write_output(device T* out, device float* logsumexp, constant SdpaParameters& parameters,
                         thread const SoftmaxState<VALUE_DIM>& state, Normaliser normaliser, Head head, Query query,
                         FragmentPosition position) {
  if (query.index >= parameters.query_length) return;
  const long row =
      (long(head.batch) * parameters.query_heads + head.query_head) * parameters.query_length + query.index;
  if (parameters.with_logsumexp && position.column == 0) logsumexp[row] = normaliser.logsumexp;
  out += row * parameters.value_dim;
#pragma unroll
  for (int d = 0; d < VALUE_DIM / FRAGMENT_SIZE; ++d) {
    const int column = d * FRAGMENT_SIZE + position.column;
    const float2 values = state.values[d] * normaliser.factor;
    if (column < parameters.value_dim) out[column] = T(values.x);
    if (column + 1 < parameters.value_dim) out[column + 1] = T(values.y);
  }
}

// Threadgroup by threadgroup: the tiles of a head's queries, then of the next head's, then of the next batch's. The
// last queries come first: by causality they see the most keys, and what takes longest should not start last.
template <typename T, int HEAD_DIM, int VALUE_DIM>
[[kernel, max_total_threads_per_threadgroup(SDPA_PREFILL_THREADS)]] void sdpa_prefill(
    device const T* q [[buffer(0)]], device const T* k [[buffer(1)]], device const T* v [[buffer(2)]],
    device const uchar* mask [[buffer(3)]], device const uchar* sinks [[buffer(4)]], device T* out [[buffer(5)]],
    device float* logsumexp [[buffer(6)]], constant SdpaParameters& parameters [[buffer(7)]],
    uint threadgroup_index [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  constexpr int KEYS = keys_in_tile<T, HEAD_DIM, VALUE_DIM>();
  threadgroup Chunk<T> key_chunks[tile_chunks<T, KEYS, HEAD_DIM>()];
  threadgroup Chunk<T> value_chunks[tile_chunks<T, KEYS, VALUE_DIM>()];
  threadgroup bool votes[SDPA_PREFILL_SIMDGROUPS];
  threadgroup T* key_tile = (threadgroup T*)key_chunks;
  threadgroup T* value_tile = (threadgroup T*)value_chunks;

  const uint query_tiles = (parameters.query_length + SDPA_PREFILL_QUERIES - 1) / SDPA_PREFILL_QUERIES;
  const uint query_tile = query_tiles - 1 - threadgroup_index % query_tiles;
  const uint head_index = threadgroup_index / query_tiles;
  const int query_head = head_index % parameters.query_heads;
  const Head head = {int(head_index / parameters.query_heads), query_head, query_head / parameters.group_size};
  const HeadMatrix<T> keys =
      head_matrix(k, parameters.k_strides, head, parameters.key_length, parameters.head_dim, parameters.k_in_chunks);
  const HeadMatrix<T> values =
      head_matrix(v, parameters.v_strides, head, parameters.key_length, parameters.value_dim, parameters.v_in_chunks);

  const int first_query = query_tile * SDPA_PREFILL_QUERIES;
  const KeyRange threadgroup_keys = keys_seen_by_any(parameters, first_query, SDPA_PREFILL_QUERIES);
  const int simdgroup_query = first_query + int(simdgroup) * FRAGMENT_SIZE;
  const KeyRange seen_by_any = keys_seen_by_any(parameters, simdgroup_query, FRAGMENT_SIZE);
  const KeyRange seen_by_all = keys_seen_by_all(parameters, simdgroup_query, FRAGMENT_SIZE);
  const FragmentPosition position = fragment_position(lane);
  const Query query = query_at(parameters, head, simdgroup_query + position.row);

  vec<T, 2> query_fragments[HEAD_DIM / FRAGMENT_SIZE];
  load_query<T, HEAD_DIM>(query_fragments, parameters, q, head, query, position);
  SoftmaxState<VALUE_DIM> state;
  // First by matrix products alone; only if they come to NaN or infinity, which may be a hidden value's, all over again
  // key by key. So the usual case does not pay for the other.
  for (bool key_by_key = false;; key_by_key = true) {
    clear(state);
    for (int first_key = threadgroup_keys.first; first_key < threadgroup_keys.end; first_key += KEYS) {
      threadgroup_barrier(mem_flags::mem_threadgroup);  // nobody reads the tiles before any more
      load_tile<T, KEYS, HEAD_DIM>(key_tile, keys, first_key, thread_index);
      load_tile<T, KEYS, VALUE_DIM>(value_tile, values, first_key, thread_index);
      threadgroup_barrier(mem_flags::mem_threadgroup);
      const KeyRange tile_keys = {first_key, first_key + KEYS};
      if (!overlap(seen_by_any, tile_keys)) continue;
      float2 scores[KEYS / FRAGMENT_SIZE];  // products, then logits, then weights
      multiply_queries_and_keys<T, HEAD_DIM, KEYS>(scores, query_fragments, key_tile, position);
      if (contains(seen_by_all, tile_keys))
        products_to_logits<KEYS, true>(scores, parameters, mask, query, position, first_key);
      else
        products_to_logits<KEYS, false>(scores, parameters, mask, query, position, first_key);
      update_softmax<KEYS>(scores, state);
      if (key_by_key)
        accumulate_visible_values<T, VALUE_DIM, KEYS>(state, scores, value_tile, position, parameters, mask, query,
                                                      first_key);
      else
        accumulate_values<T, VALUE_DIM, KEYS>(state, scores, value_tile, position);
    }
    if (key_by_key || !any_in_threadgroup(!is_finite(state), votes, simdgroup, lane)) break;
  }
  const Normaliser query_normaliser = normaliser(parameters, sinks, head, state.maximum, row_sum(state.sum));
  write_output(out, logsumexp, parameters, state, query_normaliser, head, query, position);
}
