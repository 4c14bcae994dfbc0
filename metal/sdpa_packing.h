// Sequences that lie one behind the other in a single batch, as flash-attention's varlen functions have them
// (https://github.com/Dao-AILab/flash-attention): sequence i has the queries cu_seqlens_q[i] to cu_seqlens_q[i + 1] and
// the keys cu_seqlens_k[i] to cu_seqlens_k[i + 1]. Kernels with PACKED take these, others a sequence for each batch.
#pragma once

#include <metal_stdlib>

#include "sdpa_rows.h"

using namespace metal;

// Which queries and which keys are those of which sequence.
struct Packing {
  device const int* cu_seqlens_q;
  device const int* cu_seqlens_k;
};

inline int first_query(constant SdpaParameters& parameters, Packing packing, int sequence) {
  return packing.cu_seqlens_q[sequence * parameters.cu_seqlens_q_stride];
}

inline int first_key(constant SdpaParameters& parameters, Packing packing, int sequence) {
  return packing.cu_seqlens_k[sequence * parameters.cu_seqlens_k_stride];
}

inline bool is_length(long length, int longest) { return 0 <= length && length <= longest; }

// Whether the sequences cover all queries and keys and none is longer than it may be. Nobody on the host has looked: it
// would have had to wait. Each SIMD-group looks for itself, and they all come to the same.
inline bool covers_all(constant SdpaParameters& parameters, Packing packing, uint lane) {
  bool covers = first_query(parameters, packing, 0) == 0 && first_key(parameters, packing, 0) == 0 &&
                first_query(parameters, packing, parameters.sequences) == parameters.query_length &&
                first_key(parameters, packing, parameters.sequences) == parameters.key_length;
  for (int i = lane; i < parameters.sequences; i += 32) {
    const long queries = long(first_query(parameters, packing, i + 1)) - first_query(parameters, packing, i);
    const long keys = long(first_key(parameters, packing, i + 1)) - first_key(parameters, packing, i);
    covers = covers && is_length(queries, parameters.max_seqlen_q) && is_length(keys, parameters.max_seqlen_k);
  }
  return simd_all(covers);
}

inline Sequence packed_sequence(constant SdpaParameters& parameters, Packing packing, int index) {
  const int query = first_query(parameters, packing, index), key = first_key(parameters, packing, index);
  const int queries = first_query(parameters, packing, index + 1) - query;
  const int keys = first_key(parameters, packing, index + 1) - key;
  return {0, query, queries, key, keys, parameters.last_sees_last ? keys - queries : 0};
}

// The sequence of a launch's batch, where its geometry has room for max_seqlen_q queries of each.
template <bool PACKED>
inline Sequence sequence_at(constant SdpaParameters& parameters, Packing packing, int index) {
  if (PACKED) return packed_sequence(parameters, packing, index);
  return whole_batch(parameters, index);
}

// Tiles of rows without regard to max_seqlen_q, so that one long sequence among short ones costs no empty tiles for
// each of these: those of sequence i begin with tile (rows before it) / ROWS + i, which leaves each enough of them.
template <int ROWS>
inline int first_packed_tile(constant SdpaParameters& parameters, Packing packing, int sequence) {
  return first_query(parameters, packing, sequence) * parameters.group_size / ROWS + sequence;
}

// For all tiles that a launch has, of one KV head.
template <int ROWS>
inline int packed_tiles(constant SdpaParameters& parameters) {
  return parameters.query_length * parameters.group_size / ROWS + parameters.sequences;
}

// A SIMD-group counts the sequences that begin with this tile or before it.
template <int ROWS>
inline int sequence_of_tile(constant SdpaParameters& parameters, Packing packing, int tile, uint lane) {
  int begun = 0;
  for (int i = lane; i < parameters.sequences; i += 32)
    if (first_packed_tile<ROWS>(parameters, packing, i) <= tile) ++begun;
  return simd_sum(begun) - 1;
}

// A row's place in out, by its place in logsumexp: (query, head) instead of (head, query).
template <bool PACKED>
inline long output_row(constant SdpaParameters& parameters, long index) {
  if (!PACKED) return index;
  return index % parameters.query_length * parameters.query_heads + index / parameters.query_length;
}
