// The rows of attention, queries of query heads: where they lie, and which keys they see by causality and window.
#pragma once

#include <metal_stdlib>

#include "sdpa_parameters.h"

using namespace metal;

// Queries and the keys that they may see: all of one batch, or those of one of the sequences that are packed in it.
// Queries and keys are counted from its first ones.
struct Sequence {
  int batch;
  int first_query;
  int query_length;
  int first_key;
  int key_length;
  int key_shift;  // of its queries' band, beyond that of the parameters
};

// Not one of several.
inline Sequence whole_batch(constant SdpaParameters& parameters, int batch) {
  return {batch, 0, parameters.query_length, 0, parameters.key_length, 0};
}

// A KV head, and the sequence whose rows read it. They are numbered query by query, the query heads of each next to
// each other, so that neighbours see much the same keys.
struct Head {
  Sequence sequence;
  int kv_head;
};

inline int row_count(constant SdpaParameters& parameters, Head head) {
  return parameters.group_size * head.sequence.query_length;
}

// Where an array's elements of a head begin.
inline long head_offset(constant int64_t* strides, Head head, int first_row) {
  return head.sequence.batch * strides[0] + head.kv_head * strides[1] + first_row * strides[2];
}

// Keys from `first` to before `end`.
struct KeyRange {
  int first;
  int end;
};

inline bool overlap(KeyRange a, KeyRange b) { return a.first < b.end && b.first < a.end; }
inline bool contains(KeyRange outer, KeyRange inner) { return outer.first <= inner.first && inner.end <= outer.end; }

// Never outside the keys that there are.
inline KeyRange visible_keys(constant SdpaParameters& parameters, Sequence sequence, int query) {
  const long position = long(query) + sequence.key_shift, length = sequence.key_length;
  const long first = position + parameters.first_key_shift, end = position + parameters.last_key_shift + 1;
  return {int(min(max(first, 0l), length)), int(min(max(end, 0l), length))};
}

// The keys that some of a number of rows see, and those that all of them see whatever is in the mask. The band moves on
// from query to query.
struct KeysSeen {
  KeyRange by_any;
  KeyRange by_all;
};

inline KeysSeen keys_seen(constant SdpaParameters& parameters, Head head, int first_row, int rows) {
  const int last_row = min(first_row + rows, row_count(parameters, head)) - 1;
  if (last_row < first_row) return {{0, 0}, {0, 0}};
  const KeyRange first = visible_keys(parameters, head.sequence, first_row / parameters.group_size);
  const KeyRange last = visible_keys(parameters, head.sequence, last_row / parameters.group_size);
  const bool masked = parameters.mask_type != OPERAND_ABSENT;
  return {{first.first, last.end}, {last.first, masked ? last.first : first.end}};
}

inline int query_head(constant SdpaParameters& parameters, Head head, int row) {
  return head.kv_head * parameters.group_size + row % parameters.group_size;
}

// A row's place in logsumexp.
inline long row_index(constant SdpaParameters& parameters, Head head, int row) {
  const long heads = long(head.sequence.batch) * parameters.query_heads + query_head(parameters, head, row);
  return heads * parameters.query_length + head.sequence.first_query + row / parameters.group_size;
}

// What a row is computed from. One beyond the last does not exist and sees nothing.
struct Row {
  bool exists;
  KeyRange keys;
  long q_offset;
  long mask_offset;
};

inline Row row_at(constant SdpaParameters& parameters, Head head, int row) {
  const Sequence sequence = head.sequence;
  const int query = row / parameters.group_size, own_head = query_head(parameters, head, row);
  const long position = long(sequence.first_query) + query;
  constant int64_t* q = parameters.q_strides;
  constant int64_t* mask = parameters.mask_strides;
  const bool exists = query < sequence.query_length;
  KeyRange keys = {0, 0};
  if (exists) keys = visible_keys(parameters, sequence, query);
  return {exists, keys, sequence.batch * q[0] + own_head * q[1] + position * q[2],
          sequence.batch * mask[0] + own_head * mask[1] + position * mask[2]};
}
