// Types that registrations of kernels name: a function's result, and the type of a parameter.
#pragma once

namespace msl {
template <class R, class... A>
R result(R (*)(A...));
template <auto F>
using result_t = decltype(result(F));

template <class A>
A arg_of(void (*)(A));
template <class F>
decltype(arg_of(std::declval<F*>())) arg();
}  // namespace msl
