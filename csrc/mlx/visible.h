// Attention's products over the pairs (query, key) that see each other, such that what is hidden, NaN included, stays
// out of values and of derivatives of any order.
//
// MLX's own operators let it in: the derivative of where() multiplies by the condition and that of matmul() sums over
// all pairs, so that a hidden NaN comes back as 0 * NaN.
#pragma once

#include "mlx/arrays.h"

namespace fusedops::mlx {

// The pairs in bool, broadcastable to (..., G, M, N); absent where nothing is hidden.
using Visible = OptionalArray;

// The contractions belong to one trilinear form, sum_ij w_ij (a_i . b_j) over visible pairs: each is the form's
// gradient in the third operand, hence their derivatives are contractions, too. The operands, in float32, are
//   weights w (..., G, M, N),  queries a (..., G, M, D),  keys b (..., 1, N, D),
// G being the heads that share keys. A visible infinity counts with a positive weight.
mx::array contract_to_weights(const mx::array& queries, const mx::array& keys, const Visible& visible, mx::Stream s);
mx::array contract_to_queries(const mx::array& weights, const mx::array& keys, const Visible& visible, mx::Stream s);

// x where the condition holds, elsewhere a constant. The condition broadcasts to x.
mx::array keep(const mx::array& x, const mx::array& condition, float otherwise, mx::Stream s);

}  // namespace fusedops::mlx
