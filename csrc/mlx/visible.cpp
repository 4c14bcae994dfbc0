#include "mlx/visible.h"

#include <limits>

#include "mlx/multilinear.h"

namespace fusedops::mlx {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

mx::array zero_unless(const mx::array& condition, const mx::array& x, mx::Stream s) {
  return mx::where(condition, x, mx::array(0.f), s);
}

mx::array transposed(const mx::array& matrix, mx::Stream s) { return mx::swapaxes(matrix, -1, -2, s); }

// (..., G, M, X) as (..., G * M, X): the rows of all the heads that share keys.
mx::array stacked(const mx::array& x, mx::Stream s) { return mx::flatten(x, -3, -2, s); }

// weights @ values, the weights being 0 where nothing is visible. `visible` (1 or 0, of the weights' shape) keeps NaN
// and infinite values out of the rows that do not see them: 0 * NaN is NaN.
mx::array weighted_sum(const mx::array& weights, const mx::array& values, const OptionalArray& visible, mx::Stream s) {
  if (!visible) return mx::matmul(weights, values, s);
  const mx::array sum = mx::matmul(weights, zero_unless(mx::isfinite(values, s), values, s), s);
  const auto sees = [&](const mx::array& property) {
    const mx::array count = mx::matmul(*visible, mx::astype(property, mx::float32, s), s);
    return mx::greater(count, mx::array(0.f), s);
  };
  const mx::array nan = mx::isnan(values, s), infinity = mx::array(kInfinity);
  const mx::array up = zero_unless(sees(mx::logical_or(nan, mx::isposinf(values, s), s)), infinity, s);
  const mx::array down = zero_unless(sees(mx::logical_or(nan, mx::isneginf(values, s), s)), infinity, s);
  return mx::add(sum, mx::subtract(up, down, s), s);
}

enum Operand { weights, queries, keys };

mx::array contract(Operand result, const Arrays& arguments, mx::Stream s);

// The arguments are the two operands beside the result, in the order above, and perhaps the visible pairs.
class Contraction final : public Multilinear {
 public:
  Contraction(mx::Stream stream, Operand result) : Multilinear(stream), result_(result) {}

  const char* name() const override { return "FusedVisibleContraction"; }

  bool is_equivalent(const mx::Primitive& other) const override {
    return result_ == static_cast<const Contraction&>(other).result_;
  }

  mx::array apply(const Arrays& arguments) override { return contract(result_, arguments, stream()); }

  // The cotangent takes the result's place in the form, and the argument becomes the result.
  mx::array transpose(const Arrays& arguments, int argument, const mx::array& cotangent) override {
    const Operand first = result_ == weights ? queries : weights, second = result_ == keys ? queries : keys;
    const Operand missing = argument == 0 ? first : second, other = argument == 0 ? second : first;
    const mx::array& other_array = arguments[1 - argument];
    Arrays operands = result_ < other ? Arrays{cotangent, other_array} : Arrays{other_array, cotangent};
    operands.insert(operands.end(), arguments.begin() + 2, arguments.end());
    return contract(missing, operands, stream());
  }

 private:
  Operand result_;
};

mx::array contraction_value(Operand result, const Arrays& arguments, mx::Stream s) {
  const mx::array &first = arguments[0], &second = arguments[1];
  Visible visible;
  if (arguments.size() == 3) visible = arguments[2];
  if (result == weights) {
    const mx::array products = mx::matmul(first, transposed(second, s), s);
    return visible ? zero_unless(*visible, products, s) : products;
  }
  OptionalArray seen;
  if (visible) seen = zero_unless(*visible, mx::ones_like(first, s), s);
  const mx::array shown = visible ? zero_unless(*visible, first, s) : first;
  if (result == queries) return weighted_sum(shown, second, seen, s);
  if (seen) seen = transposed(stacked(*seen, s), s);
  const mx::array sum = weighted_sum(transposed(stacked(shown, s), s), stacked(second, s), seen, s);
  return mx::expand_dims(sum, -3, s);
}

mx::array contract(Operand result, const Arrays& arguments, mx::Stream s) {
  return Multilinear::node(std::make_shared<Contraction>(s, result), arguments,
                           contraction_value(result, arguments, s));
}

Arrays operands(const mx::array& first, const mx::array& second, const Visible& visible) {
  Arrays arguments{first, second};
  if (visible) arguments.push_back(*visible);
  return arguments;
}

// x where the condition holds, elsewhere 0. The arguments are x and the condition.
class Keep final : public Multilinear {
 public:
  using Multilinear::Multilinear;

  const char* name() const override { return "FusedKeep"; }
  bool is_equivalent(const mx::Primitive&) const override { return true; }

  mx::array apply(const Arrays& arguments) override {
    return node(std::make_shared<Keep>(stream()), arguments, zero_unless(arguments[1], arguments[0], stream()));
  }

  mx::array transpose(const Arrays& arguments, int, const mx::array& cotangent) override {
    return apply({cotangent, arguments[1]});
  }
};

}  // namespace

mx::array contract_to_weights(const mx::array& a, const mx::array& b, const Visible& visible, mx::Stream s) {
  return contract(weights, operands(a, b, visible), s);
}

mx::array contract_to_queries(const mx::array& w, const mx::array& b, const Visible& visible, mx::Stream s) {
  return contract(queries, operands(w, b, visible), s);
}

mx::array keep(const mx::array& x, const mx::array& condition, float otherwise, mx::Stream s) {
  const mx::array kept = Keep(s).apply({x, condition});
  return otherwise == 0 ? kept : mx::where(condition, kept, mx::array(otherwise), s);
}

}  // namespace fusedops::mlx
