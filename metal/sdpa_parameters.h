// What the attention kernels are told beside their arrays. Shared by host and shader.
#pragma once

#include "operand.h"

// Strides are in elements, of (batch, head, query or key, dimension); 0 where an operand is broadcast. Packed sequences
// are one batch, whose lengths are those of all sequences together (sdpa_packing.h).
struct SdpaParameters {
  int64_t q_strides[4];
  int64_t k_strides[4];
  int64_t v_strides[4];
  int64_t mask_strides[4];   // of (batch, query head, query, key)
  int64_t sinks_strides[2];  // of (batch, query head)
  int64_t cu_seqlens_q_stride;
  int64_t cu_seqlens_k_stride;
  // Query i sees the keys i + first_key_shift <= j <= i + last_key_shift.
  int64_t first_key_shift;
  int64_t last_key_shift;
  int32_t query_heads;
  int32_t group_size;  // query heads of one KV head
  int32_t query_length;
  int32_t key_length;
  int32_t head_dim;
  int32_t value_dim;
  int32_t sequences;       // that are packed
  int32_t max_seqlen_q;    // of them; else query_length
  int32_t max_seqlen_k;    // of them
  int32_t last_sees_last;  // in packed sequences the last query counts as facing the last key, not the first the first
  int32_t mask_type;       // OperandType
  int32_t sinks_type;      // OperandType
  int32_t with_logsumexp;
  int32_t q_in_chunks;  // rows can be read 16 bytes at a time; for the prefill kernel
  int32_t k_in_chunks;
  int32_t v_in_chunks;
  int32_t logits_in_base_2;  // scale and softcap contain log2 e; for the prefill kernel
  int32_t splits;            // of the keys
  int32_t keys_per_split;
  float scale;
  float softcap;  // 0: none
};
