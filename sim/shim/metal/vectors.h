// metal::vec<T, N>: alignment and names of the components as in Metal (a vec of three takes the room of four).
#pragma once

namespace metal {
template <class T, int N>
struct vec;

namespace detail {
template <class T, int N>
struct components;
template <class T>
struct alignas(2 * sizeof(T)) components<T, 2> {
  union {
    T e[2];
    struct {
      T x, y;
    };
    struct {
      T r, g;
    };
  };
};
template <class T>
struct alignas(4 * sizeof(T)) components<T, 3> {
  union {
    T e[3];
    struct {
      T x, y, z;
    };
    struct {
      T r, g, b;
    };
  };
};
template <class T>
struct alignas(4 * sizeof(T)) components<T, 4> {
  union {
    T e[4];
    struct {
      T x, y, z, w;
    };
    struct {
      T r, g, b, a;
    };
  };
};

template <class T>
inline constexpr int component_count = 1;
template <class T, int N>
inline constexpr int component_count<vec<T, N>> = N;

template <class T>
struct component {
  using type = T;
};
template <class T, int N>
struct component<vec<T, N>> {
  using type = T;
};
template <class T>
using component_t = typename component<T>::type;
}  // namespace detail

template <class T, int N>
struct vec : detail::components<T, N> {
  using detail::components<T, N>::e;

  vec() = default;
  MSL_FN constexpr vec(T scalar) : detail::components<T, N>{} {
    for (int i = 0; i < N; i++) e[i] = scalar;
  }
  template <class U>
  MSL_FN explicit constexpr vec(vec<U, N> other) : detail::components<T, N>{} {
    for (int i = 0; i < N; i++) e[i] = T(other.e[i]);
  }
  // From scalars and vectors in turn. A braced list may leave the last components zero.
  template <class A, class B, class... C>
  MSL_FN constexpr vec(const A& a, const B& b, const C&... c) : detail::components<T, N>{} {
    constexpr int given =
        detail::component_count<A> + detail::component_count<B> + (0 + ... + detail::component_count<C>);
    static_assert(given <= N, "too many components");
    int i = 0;
    append(i, a);
    append(i, b);
    (append(i, c), ...);
    while (i < N) e[i++] = T(0);
  }

  MSL_FN constexpr T& operator[](int i) { return e[i]; }
  MSL_FN constexpr const T& operator[](int i) const { return e[i]; }

  // The translator writes the swizzle v.xy as v.template sw<0,1>(), and left of an assignment as swr<0,1>().
  template <int... I>
  MSL_FN constexpr vec<T, sizeof...(I)> sw() const {
    return {e[I]...};
  }
  template <int... I>
  struct swizzled {
    vec& target;
    using values = vec<T, sizeof...(I)>;
    template <class F>
    MSL_FN void for_each(const values& other, F assign) {
      int k = 0;
      (assign(target.e[I], other.e[k++]), ...);
    }
    MSL_FN void operator=(values o) {
      for_each(o, [](T& a, T b) { a = b; });
    }
    MSL_FN void operator+=(values o) {
      for_each(o, [](T& a, T b) { a = T(a + b); });
    }
    MSL_FN void operator-=(values o) {
      for_each(o, [](T& a, T b) { a = T(a - b); });
    }
    MSL_FN void operator*=(values o) {
      for_each(o, [](T& a, T b) { a = T(a * b); });
    }
    MSL_FN void operator/=(values o) {
      for_each(o, [](T& a, T b) { a = T(a / b); });
    }
  };
  template <int... I>
  MSL_FN swizzled<I...> swr() {
    return {*this};
  }

 private:
  template <class A>
  MSL_FN constexpr void append(int& i, const A& a) {
    e[i++] = T(a);
  }
  template <class A, int M>
  MSL_FN constexpr void append(int& i, const vec<A, M>& a) {
    for (int j = 0; j < M; j++) e[i++] = T(a.e[j]);
  }
};

namespace detail {
// f of the components of one, two or three vectors.
template <class F, class T, int N, class... U>
MSL_FN constexpr auto map(F f, const vec<T, N>& first, const vec<U, N>&... rest) {
  vec<decltype(f(first.e[0], rest.e[0]...)), N> result{};
  for (int i = 0; i < N; i++) result.e[i] = f(first.e[i], rest.e[i]...);
  return result;
}
}  // namespace detail
}  // namespace metal
