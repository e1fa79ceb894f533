// Group normalisation of [B, S, C] and its gradient: statistics of every channel of a sample as batch norm makes them,
// merged over the pieces and channels of a group.
#include "cuda/families.h"
#include "cuda/normalise.cuh"

namespace gyrus::cuda {
namespace {

// What the pieces of a sample's channels are merged into: number k of a group is channel k % each of piece k / each.
struct Merge {
  std::int64_t samples, groups, each, pieces, rows, piece;

  Merge(const Tiling& t, std::int64_t groups)
      : samples(t.samples), groups(groups), each(t.cols / groups), pieces(t.pieces), rows(t.rows), piece(t.piece) {}
  std::int64_t all() const { return samples * groups; }
  std::int64_t parts() const { return pieces * each; }
  __device__ double rowsOf(std::int64_t i) const {
    return static_cast<double>(i + 1 < pieces ? piece : rows - i * piece);
  }
  // f(piece, channel) for the share of this thread, `parts` in all
  template <class Team, class F>
  __device__ __forceinline__ void eachPart(std::int64_t group, std::int64_t parts, F f) const {
    for (std::int64_t k = Team::rank(); k < parts; k += Team::kSize) f(k / each, group * each + k % each);
  }

  // f.template operator()<Team>() with who merges a group.
  template <class F>
  void byTeam(F f) const {
    if (parts() <= 256)
      f.template operator()<Lanes<32>>();
    else
      f.template operator()<Whole>();
  }
};

template <class T, class Team>
__global__ void __launch_bounds__(kRowBlock, 2)
    groupMomentsKernel(Partials<T> part, Merge m, std::int64_t all, std::int64_t parts, Stat<T> means, Stat<T> rstds,
                       double eps) {
  eachRow<Team>(all, parts, [&](std::int64_t which, std::int64_t mine) {
    const std::int64_t b = which / m.groups, group = which % m.groups;
    const double n = static_cast<double>(m.rows * m.each);
    double mean = 0, m2 = 0;
    m.eachPart<Team>(group, mine, [&](std::int64_t i, std::int64_t c) {
      mean = fma(m.rowsOf(i), static_cast<double>(part.at(b, i, 0)[c]), mean);
    });
    mean = Team::reduce(mean, Sum{}) / n;
    m.eachPart<Team>(group, mine, [&](std::int64_t i, std::int64_t c) {
      const double off = static_cast<double>(part.at(b, i, 0)[c]) - mean;
      m2 += fma(m.rowsOf(i), off * off, static_cast<double>(part.at(b, i, 1)[c]));
    });
    m2 = Team::reduce(m2, Sum{});
    if (mine == 0 || Team::rank() != 0) return;
    means.at(b, group * m.each) = static_cast<T>(mean);
    rstds.at(b, group * m.each) = static_cast<T>(1 / sqrt(m2 / n + eps));
  });
}

// The means over a group of gamma v and of gamma v xhat, of the pieces' sums.
template <class T, class Team>
__global__ void __launch_bounds__(kRowBlock, 2)
    groupSumsKernel(Partials<T> part, Merge m, std::int64_t all, std::int64_t parts, Line<const T> gamma, T* along,
                    T* across) {
  eachRow<Team>(all, parts, [&](std::int64_t which, std::int64_t mine) {
    const std::int64_t b = which / m.groups, group = which % m.groups;
    const double n = static_cast<double>(m.rows * m.each);
    double sum = 0, dot = 0;
    m.eachPart<Team>(group, mine, [&](std::int64_t i, std::int64_t c) {
      const double scale = gamma.data ? static_cast<double>(gamma[c]) : 1.0;
      sum = fma(scale, static_cast<double>(part.at(b, i, 0)[c]), sum);
      dot = fma(scale, static_cast<double>(part.at(b, i, 1)[c]), dot);
    });
    sum = Team::reduce(sum, Sum{});
    dot = Team::reduce(dot, Sum{});
    if (mine == 0 || Team::rank() != 0) return;
    along[which] = static_cast<T>(sum / n);
    across[which] = static_cast<T>(dot / n);
  });
}

// [B, G] as a statistic of channels.
template <class T>
Stat<T> groupStat(const View& v, std::int64_t each) {
  return {v.as<T>(), v.stride[0], v.stride[1], each};
}

void groupNorm(const Args& args) {
  const auto& p = args.as<GroupNormParams>();
  const View& x = args.in[0];
  const auto groups = static_cast<std::int64_t>(p.groups);
  const std::int64_t each = x.shape[2] / groups;
  byFloat(x.dtype, [&]<class T>() {
    Apply<T> q{};
    q.y = Cube<T>(args.out[0]);
    q.x = Cube<const T>(x);
    if (p.affine != 0) {
      q.gamma = Line<const T>(args.in[1]);
      q.beta = Line<const T>(args.in[2]);
    }
    q.mean = groupStat<const T>(args.out[1], each);
    q.second = groupStat<const T>(args.out[2], each);
    const Tiling t(x.shape[0], x.shape[1], x.shape[2], foursOf<T>(q.y.fours() && q.x.fours()), across(q.x));
    if (t.empty()) return;
    const Partials<T> part = takePartials<T>(args, t, 2);
    const Merge m(t, groups);
    byPack<T>(t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (momentsKernel<T, V>), q.x, t, part); });
    m.byTeam([&]<class Team>() {
      GYRUS_LAUNCH(blocksFor(m.all(), Team::kRows), kRowBlock, 0, (groupMomentsKernel<T, Team>), part, m, m.all(),
                   m.parts(), groupStat<T>(args.out[1], each), groupStat<T>(args.out[2], each), p.eps);
    });
    byPack<T>(t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (applyKernel<T, V>), q, t); });
  });
}

void groupNormGrad(const Args& args) {
  const auto& p = args.as<GroupNormGradParams>();
  const View& x = args.in[1];
  const bool affine = p.affine != 0;
  const auto groups = static_cast<std::int64_t>(p.groups);
  const std::int64_t each = x.shape[2] / groups;
  byFloat(x.dtype, [&]<class T>() {
    Gradient<T> q{};
    q.dx = Cube<T>(args.out[0]);
    q.g = Cube<const T>(args.in[0]);
    q.x = Cube<const T>(x);
    q.mean = groupStat<const T>(args.in[2], each);
    q.rstd = groupStat<const T>(args.in[3], each);
    if (affine) q.gamma = Line<const T>(args.in[4]);
    const Tiling t(x.shape[0], x.shape[1], x.shape[2], foursOf<T>(q.fours()), across(q.x));
    const Partials<T> part = takePartials<T>(args, t, 2);
    if (!t.empty()) {
      const Merge m(t, groups);
      T *along = args.scratch->array<T>(m.all()), *over = args.scratch->array<T>(m.all());
      byPack<T>(
          t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (gradientSumsKernel<T, V, false>), q, t, part); });
      m.byTeam([&]<class Team>() {
        GYRUS_LAUNCH(blocksFor(m.all(), Team::kRows), kRowBlock, 0, (groupSumsKernel<T, Team>), part, m, m.all(),
                     m.parts(), q.gamma, along, over);
      });
      q.along = {along, groups, 1, each};
      q.across = {over, groups, 1, each};
      byPack<T>(t, [&]<int V>() { GYRUS_LAUNCH(t.grid(), kColumnBlock, 0, (gradientKernel<T, V>), q, t); });
    }
    if (!affine || t.cols == 0) return;
    Tiling none = t;  // without positions the sums are of nothing, not of unwritten memory
    if (t.empty()) none.samples = 0;
    finishSums(none, part, ChannelSums<T>{Line<T>(args.out[1]), Line<T>(args.out[2]), {}, nullptr, nullptr, 1});
  });
}

}  // namespace

void registerGroupNorm(KernelTable& t) {
  t.set(Op::GroupNorm, groupNorm);
  t.set(Op::GroupNormGrad, groupNormGrad);
}

}  // namespace gyrus::cuda
