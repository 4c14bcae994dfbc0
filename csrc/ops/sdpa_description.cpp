#include <algorithm>
#include <cstdio>
#include <cstring>

#include "metal/sdpa_decode_tile.h"
#include "metal/sdpa_parameters.h"
#include "ops/checks.h"
#include "ops/sdpa_launches.h"
#include "ops/sdpa_prefill_tiles.h"
#include "ops/sdpa_varlen.h"

namespace fusedops {
namespace {

std::string in_words(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", number);
  return text;
}

template <class Part>
std::string in_words(const Part& part) {
  return checks::to_string(part);
}

template <class... Parts>
std::string text(const Parts&... parts) {
  return (in_words(parts) + ...);
}

// With a decimal prefix: 1234567 bytes are 1.2 MB.
std::string quantity(double number, const char* unit) {
  const char* prefix = "";
  for (const char* larger : {"k", "M", "G", "T", "P"}) {
    if (number < 1000) break;
    number /= 1000;
    prefix = larger;
  }
  return *prefix ? text(number, " ", prefix, unit) : text(static_cast<int64_t>(number), " ", unit);
}

bool is_prefill(const Launch& launch) { return launch.kernel == "sdpa_prefill"; }

SdpaParameters parameters_of(const Launch& launch) {
  SdpaParameters parameters;
  std::memcpy(&parameters, launch.parameters.data(), sizeof parameters);
  return parameters;
}

// The keys from `first` to before `end` that the band shows to some of these queries.
struct Keys {
  int64_t first;
  int64_t end;

  int64_t count() const { return std::max<int64_t>(0, end - first); }
};

Keys keys_seen(const SdpaProblem& problem, int64_t first_query, int64_t last_query) {
  const auto key = [&](int64_t position) { return std::clamp<int64_t>(position, 0, problem.key_length); };
  return {key(problem.band.first_key(first_query)), key(problem.band.last_key(last_query) + 1)};
}

// Pairs of a row and a key, of all heads.
double visible_scores(const SdpaProblem& problem) {
  double scores = 0;
  for (int64_t query = 0; query < problem.query_length; ++query) scores += keys_seen(problem, query, query).count();
  return scores * problem.batch * problem.query_heads;
}

double all_scores(const SdpaProblem& problem) {
  return static_cast<double>(problem.batch) * problem.query_heads * problem.query_length * problem.key_length;
}

// As it was chosen: what the launch instantiates is what it runs.
int64_t argument(const Launch& launch, int index) { return std::stoll(launch.template_arguments[index]); }

struct PrefillTiles {
  int64_t head_dim;
  int64_t value_dim;
  int64_t row_fragments;
  int64_t keys;

  explicit PrefillTiles(const Launch& launch)
      : head_dim(argument(launch, 1)),
        value_dim(argument(launch, 2)),
        row_fragments(argument(launch, 3)),
        keys(argument(launch, 4)) {}

  int64_t rows() const { return row_fragments * SDPA_PREFILL_FRAGMENT_ROWS; }
};

// Keys that the tiles of rows of one KV head load, one after the other.
double keys_loaded(const SdpaProblem& problem, const PrefillTiles& tiles) {
  const int64_t rows = problem.rows_of_kv_head(), group = problem.group_size();
  double loaded = 0;
  for (int64_t row = 0; row < rows; row += tiles.rows()) {
    const int64_t last_row = std::min(row + tiles.rows(), rows) - 1;
    const Keys seen = keys_seen(problem, row / group, last_row / group);
    if (seen.count() > 0) loaded += seen.end - seen.first / tiles.keys * tiles.keys;
  }
  return loaded;
}

std::string choice_in_words(const SdpaProblem& problem, bool prefill) {
  const int64_t rows = problem.rows_of_kv_head();
  if (prefill && problem.deterministic) return "the prefill kernel for any number of queries, since deterministic";
  const auto because = [&](const char* kernel) {
    return text("the ", kernel, " kernel: ", rows, rows == 1 ? " row" : " rows",
                " (queries x query heads) for each KV head");
  };
  if (prefill) return because("prefill");
  if (!sdpa_prefill_takes(problem))
    return "the decode kernel: the prefill kernel's tiles have no place for so long a head_dim or value_dim";
  return because("decode");
}

std::string tiles_in_words(const SdpaProblem& problem, const PrefillTiles& tiles) {
  const int64_t element_size = size_of(problem.dtype), group = problem.group_size();
  const std::string rows = group == 1 ? text(tiles.rows(), " queries")
                                      : text(tiles.rows(), " rows (", blocks_of(tiles.rows(), group),
                                             " queries of the ", group, " query heads of a KV head)");
  const double memory = sdpa_prefill_threadgroup_bytes(element_size, tiles.head_dim, tiles.value_dim, tiles.keys);
  const std::string padded = tiles.head_dim == problem.head_dim && tiles.value_dim == problem.value_dim
                                 ? ""
                                 : text(", padded to head_dim ", tiles.head_dim, " and value_dim ", tiles.value_dim);
  return text("tiles of ", rows, " by ", tiles.keys, " keys", padded, "; threadgroup memory ", memory / 1024, " KiB");
}

std::vector<std::string> slow_loads_in_words(const Launch& launch) {
  const SdpaParameters parameters = parameters_of(launch);
  std::vector<std::string> lines;
  for (const auto& [name, in_chunks] : {std::pair("q", parameters.q_in_chunks), std::pair("k", parameters.k_in_chunks),
                                        std::pair("v", parameters.v_in_chunks)})
    if (!in_chunks)
      lines.push_back(text(name,
                           " is loaded element by element: its rows are not multiples of 16 bytes, aligned, and "
                           "contiguous"));
  return lines;
}

// As the decode kernels declare it.
double decode_threadgroup_bytes(const Launch& launch, int64_t simdgroups) {
  constexpr int64_t vector = 32 * 16, softmax = 8;  // 16 bytes of each lane; a maximum and a sum
  if (launch.kernel == "sdpa_decode_vector") return simdgroups * (argument(launch, 2) * vector + softmax);
  const int64_t vectors_exchanged = std::min<int64_t>(8, argument(launch, 2) / 16);
  return (simdgroups - 1) * vectors_exchanged * vector + simdgroups * 8 * softmax;
}

std::string block_in_words(const SdpaProblem& problem, const Launch& launch) {
  const int64_t simdgroups = launch.threads_per_threadgroup[0] / 32;
  const std::string memory = text("; threadgroup memory ", decode_threadgroup_bytes(launch, simdgroups) / 1024, " KiB");
  if (launch.kernel == "sdpa_decode_matrix")
    return text("a threadgroup takes up to ", std::min<int64_t>(32, blocks_of(problem.rows_of_kv_head(), 8) * 8),
                " rows, 8 in a matrix product by ", int64_t{SDPA_DECODE_MATRIX_KEYS}, " keys; ", simdgroups,
                " SIMD-groups", memory);
  const char* why = problem.rows_of_kv_head() == 1 ? ""
                    : problem.deterministic        ? ", since deterministic"
                                                   : ", since so few keys are in the cache";
  return text("a threadgroup for each row", why, "; ", simdgroups, " SIMD-groups take ",
              int64_t{SDPA_DECODE_VECTOR_KEYS}, " keys at a time", memory);
}

// Which kernel, with what tiles.
std::vector<std::string> kernel_in_words(const SdpaProblem& problem, const Launch& launch) {
  const bool prefill = is_prefill(launch);
  std::vector<std::string> lines{choice_in_words(problem, prefill)};
  lines.push_back(prefill ? tiles_in_words(problem, PrefillTiles(launch)) : block_in_words(problem, launch));
  if (!prefill) return lines;
  for (const std::string& line : slow_loads_in_words(launch)) lines.push_back(line);
  return lines;
}

std::string splits_in_words(const SdpaProblem& problem, const Launch& launch) {
  const SdpaParameters parameters = parameters_of(launch);
  if (parameters.splits > 1)
    return text("keys split into ", parameters.splits, " parts of up to ", parameters.keys_per_split,
                ", since there are too few threadgroups otherwise");
  if (problem.deterministic) return "keys not split, since deterministic";
  return "keys not split";
}

std::string skipped_in_words(const SdpaProblem& problem, double visible, bool has_mask) {
  std::string words;
  if (visible < all_scores(problem)) {
    const double percent = 100 * (1 - visible / all_scores(problem));
    words = text("skipped: tiles of keys outside of the band, which hides ", percent, " % of the scores");
  } else {
    words = "skipped: nothing, every query sees every key";
  }
  return has_mask ? words + "; what the mask hides is computed and left out" : words;
}

std::string work_in_words(const SdpaProblem& problem, double visible) {
  const double flops = 2 * visible * (problem.head_dim + problem.value_dim);
  return "work: " + quantity(flops, "FLOP") + " in products of visible queries, keys and values";
}

double bytes_of(const ArrayInfo& array) {
  return static_cast<double>(element_count(array.shape)) * size_of(array.dtype);
}

double bytes_of(const std::vector<ArrayInfo>& arrays) {
  double bytes = 0;
  for (const ArrayInfo& array : arrays) bytes += bytes_of(array);
  return bytes;
}

std::string partials_in_words(const Plan& plan) {
  if (plan.scratch.empty()) return "";
  return "; partial results " + quantity(bytes_of(plan.scratch), "B") + ", written and read";
}

std::string traffic_in_words(const SdpaProblem& problem, const Plan& plan, const std::optional<ArrayInfo>& mask) {
  const double element_size = size_of(problem.dtype);
  const double kv_heads = static_cast<double>(problem.batch) * problem.kv_heads;
  const double key_bytes = element_size * (problem.head_dim + problem.value_dim);
  const double keys = kv_heads * keys_seen(problem, 0, problem.query_length - 1).count() * key_bytes;
  const double queries = element_size * problem.batch * problem.query_heads * problem.query_length * problem.head_dim;
  const double outputs = bytes_of(plan.outputs);
  std::string words =
      text("device memory: ", quantity(queries + keys + outputs, "B"), " at least: q ", quantity(queries, "B"),
           ", k and v ", quantity(keys, "B"), ", results ", quantity(outputs, "B"));
  if (mask) words += ", and the mask's " + quantity(bytes_of(*mask), "B");
  const Launch& launch = plan.launches[0];
  const auto loaded = [](const char* part, double bytes) {
    return text("; k and v are loaded once for each ", part, ", ", quantity(bytes, "B"), ", mostly from cache");
  };
  if (is_prefill(launch))
    words += loaded("tile of rows", kv_heads * keys_loaded(problem, PrefillTiles(launch)) * key_bytes);
  const int64_t rows = problem.rows_of_kv_head();
  if (launch.kernel == "sdpa_decode_vector" && rows > 1) words += loaded("row", rows * keys);
  return words + partials_in_words(plan);
}

std::string packed_traffic_in_words(const SdpaVarlenProblem& problem, const Plan& plan) {
  const SdpaProblem& longest = problem.longest;
  const double element_size = size_of(longest.dtype);
  const double queries = element_size * problem.total_queries * longest.query_heads * longest.head_dim;
  const double keys = element_size * problem.total_keys * longest.kv_heads * (longest.head_dim + longest.value_dim);
  const double outputs = bytes_of(plan.outputs);
  return text("device memory: ", quantity(queries + keys + outputs, "B"), " at least: q ", quantity(queries, "B"),
              ", k and v ", quantity(keys, "B"), ", results ", quantity(outputs, "B")) +
         partials_in_words(plan);
}

}  // namespace

std::vector<std::string> sdpa_description(const SdpaProblem& problem, const Plan& plan,
                                          const std::optional<ArrayInfo>& mask) {
  if (plan.launches.empty()) return {};
  const Launch& launch = plan.launches[0];
  const double visible = visible_scores(problem);
  std::vector<std::string> lines = kernel_in_words(problem, launch);
  lines.push_back(splits_in_words(problem, launch));
  lines.push_back(skipped_in_words(problem, visible, mask.has_value()));
  lines.push_back(work_in_words(problem, visible));
  lines.push_back(traffic_in_words(problem, plan, mask));
  return lines;
}

std::vector<std::string> sdpa_varlen_description(const SdpaVarlenProblem& problem, const Plan& plan) {
  if (plan.launches.empty()) return {};
  const Launch& launch = plan.launches[0];
  std::vector<std::string> lines = kernel_in_words(problem.longest, launch);
  lines.push_back(splits_in_words(problem.longest, launch));
  lines.push_back(text("skipped: tiles of keys outside of a sequence and its band; lengths are read on the device (",
                       problem.sequences, " sequences), wrong ones make every result NaN"));
  lines.push_back(text("work: ", 2 * (problem.longest.head_dim + problem.longest.value_dim),
                       " FLOP for each query of a query head and each key that it sees"));
  lines.push_back(packed_traffic_in_words(problem, plan));
  return lines;
}

}  // namespace fusedops
