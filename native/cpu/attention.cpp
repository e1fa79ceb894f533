// Multi-head attention in blocks: scores exist for one block of queries and keys at a time, never for all of them.
// Source of the scheme: Dao et al., "FlashAttention", arXiv 2205.14135; the running maximum and sum of a row are
// Milakov and Gimelshein's, arXiv 1805.02867.
#include "cpu/attention.h"

#include "cpu/families.h"

namespace gyrus::cpu::GYRUS_ISA {
namespace {

// Keys per block: K^T and V of a block at D = 64 fill half an L2 of 128 KiB. Queries per piece of work in the forward
// pass.
constexpr int64_t kKeys = 128, kQueries = 128;
// Queries per block of the backward pass: two blocks of scores, 48 x 128, beside the operands in L2.
constexpr int64_t kGradQueries = 48;

struct Extents {
  int64_t samples, queries, keys, heads, dim;
  bool causal;
};

Extents extentsOf(const View& q, const View& k, bool causal) {
  return {q.shape[0], q.shape[1], k.shape[1], q.shape[2], q.shape[3], causal};
}

// Keys from k0 on that query i sees, at most n.
GYRUS_INLINE int64_t visible(const Extents& e, int64_t i, int64_t k0, int64_t n) {
  return e.causal ? maxOf(0, minOf(n, i + 1 - k0)) : n;
}

// f(from, to) over the pieces; `each` is the work of one in multiplications.
template <class F>
void eachPiece(int64_t pieces, int64_t each, F&& f) {
  // Several in a row, so that one can fetch the operands of the next; but enough for many threads.
  const int64_t step = maxOf(1, minOf(ceilDiv(pieces, 64), (int64_t{1} << 21) / maxOf(1, each)));
  parallelFor(ceilDiv(pieces, step), [&](int64_t c) { f(c * step, minOf(pieces, (c + 1) * step)); });
}

// ---- forward -------------------------------------------------------------------------------------------

template <class T>
struct Forward {
  using V = Vec<T>;
  static constexpr int MR = SmallTile::MR;
  Extents e;
  Heads<T> q, k, v;
  T *y, *lse;  // contiguous [B, Q, H, D], [B, H, Q]
  T scale;
  int64_t keyBlock, queryBlock, ldk, ldd;

  int64_t scratch() const { return e.dim * ldk + keyBlock * ldd + MR * ldk + queryBlock * (ldd + 2); }

  // Which queries of which head.
  struct Piece {
    int64_t b, h, q0, nq;
  };
  Piece pieceOf(int64_t i) const {
    const int64_t blocks = ceilDiv(e.queries, queryBlock), q0 = i % blocks * queryBlock, pair = i / blocks;
    return {pair / e.heads, pair % e.heads, q0, minOf(queryBlock, e.queries - q0)};
  }

  // `next`: the piece that follows on this thread, or null.
  void piece(const Piece& own, const Piece* next, T* memory) const {
    const auto [b, h, q0, nq] = own;
    T *kt = memory, *vs = kt + e.dim * ldk, *scores = vs + keyBlock * ldd, *o = scores + MR * ldk;
    T *top = o + queryBlock * ldd, *total = top + queryBlock;
    for (int64_t i = 0; i < nq; ++i) {
      top[i] = -static_cast<T>(INFINITY);
      total[i] = 0;
    }
    const int64_t last = visible(e, q0 + nq - 1, 0, e.keys);
    for (int64_t k0 = 0; k0 < last; k0 += keyBlock) {
      const int64_t nk = minOf(keyBlock, last - k0);
      packTransposed(k.at(b, h) + k0 * k.time, k.time, nk, e.dim, scale, kt, ldk);
      packRows(v.at(b, h) + k0 * v.time, v.time, nk, e.dim, vs, ldd);
      for (int64_t i = 0; i < nq; i += MR) {
        const int64_t rows = minOf(MR, nq - i), seen = visible(e, q0 + i + rows - 1, k0, nk);
        if (next && k0 == 0) fetch(*next, i, rows);
        if (seen == 0) continue;
        product<T>(rows, padded<T>(seen),
                   {e.dim, q.at(b, h) + (q0 + i) * q.time, q.time, 1, kt, ldk, scores, ldk, false});
        for (int64_t r = 0; r < rows; ++r)
          softmaxRow(scores + r * ldk, visible(e, q0 + i + r, k0, nk), padded<T>(seen), top[i + r], total[i + r],
                     o + (i + r) * ldd, k0 > 0);
        // What all rows see together; the rest of the diagonal row by row, so that a NaN ahead stays ahead.
        const int64_t common = visible(e, q0 + i, k0, nk);
        product<T>(rows, ldd, {common, scores, ldk, 1, vs, ldd, o + i * ldd, ldd, k0 > 0});
        for (int64_t r = 1; r < rows; ++r) {
          const int64_t own = visible(e, q0 + i + r, k0, nk) - common;
          if (own > 0)
            product<T>(1, ldd,
                       {own, scores + r * ldk + common, ldk, 1, vs + common * ldd, ldd, o + (i + r) * ldd, ldd, true});
        }
      }
    }
    for (int64_t i = 0; i < nq; ++i) {
      T* out = y + ((b * e.queries + q0 + i) * e.heads + h) * e.dim;
      const V part = V::broadcast(1 / total[i]);
      eachVector<T>(e.dim, [&](int64_t c, int lanes) { store(V::load(o + i * ldd + c) * part, out + c, lanes); });
    }
    T* sums = lse + (b * e.heads + h) * e.queries + q0;
    eachVector<T>(
        nq, [&](int64_t i, int lanes) { store(load(top + i, lanes) + log(load(total + i, lanes)), sums + i, lanes); });
  }

 private:
  // Rows i.. of the next piece's operands; only its first block of keys.
  GYRUS_INLINE void fetch(const Piece& next, int64_t i, int64_t rows) const {
    fetchRows(q.at(next.b, next.h) + (next.q0 + i) * q.time, q.time, minOf(rows, next.nq - i), e.dim);
    fetchRows(k.at(next.b, next.h) + i * k.time, k.time, minOf(rows, keyBlock - i), e.dim);
    fetchRows(v.at(next.b, next.h) + i * v.time, v.time, minOf(rows, keyBlock - i), e.dim);
  }

  // n scores of one row and block become exp(score - maximum so far), the rest up to `end` 0; what was added up before
  // is scaled to that maximum.
  GYRUS_INLINE void softmaxRow(T* row, int64_t n, int64_t end, T& top, T& total, T* o, bool later) const {
    constexpr T none = -static_cast<T>(INFINITY);
    const int64_t full = n / V::N * V::N;
    const int rest = static_cast<int>(n - full);
    V high = V::broadcast(top), tail = V::zero();
    for (int64_t j = 0; j < full; j += V::N) high = max(high, V::load(row + j));
    if (rest > 0) {
      tail = inLine(V::load(row + full), rest, none);
      high = max(high, tail);
    }
    const T now = reduceMax(high), base = now == none ? 0 : now;
    const V shift = V::broadcast(base);
    V sum = V::zero();
    for (int64_t j = 0; j < full; j += V::N) {
      const V p = expScore(V::load(row + j) - shift);
      p.store(row + j);
      sum = sum + p;
    }
    if (rest > 0) {
      const V p = expScore(tail - shift);
      p.store(row + full);
      sum = sum + p;
    }
    for (int64_t j = padded<T>(n); j < end; j += V::N) V::zero().store(row + j);
    T before = total;
    if (later && now != top) {
      const T factor = expOf(top - base);
      before *= factor;
      const V f = V::broadcast(factor);
      for (int64_t c = 0; c < ldd; c += V::N) (V::load(o + c) * f).store(o + c);
    }
    total = before + reduceAdd(sum);
    top = now;
  }
};

// y [B, Q, H, D], lse [B, H, Q] <- q [B, Q, H, D], k, v [B, K, H, D]
template <class T>
void attention(const Args& args) {
  const auto& p = args.as<AttentionParams>();
  const Extents e = extentsOf(args.in[0], args.in[1], p.causal != 0);
  T *y = args.out[0].as<T>(), *lse = args.out[1].as<T>();
  if (e.keys == 0) {
    for (int64_t i = 0; i < e.samples * e.queries * e.heads * e.dim; ++i) y[i] = 0;
    for (int64_t i = 0; i < e.samples * e.queries * e.heads; ++i) lse[i] = -static_cast<T>(INFINITY);
    return;
  }
  if (e.samples * e.queries * e.heads == 0) return;
  const int64_t keys = blockOf(e.keys, kKeys, Vec<T>::N), queries = blockOf(e.queries, kQueries, SmallTile::MR);
  const Forward<T> f{e,
                     {args, args.in[0], true},
                     {args, args.in[1], true},
                     {args, args.in[2], true},
                     y,
                     lse,
                     static_cast<T>(p.scale),
                     keys,
                     queries,
                     padded<T>(keys),
                     padded<T>(e.dim)};
  const int64_t pieces = e.samples * e.heads * ceilDiv(e.queries, queries);
  const Slots<T> slots(args, pieces, f.scratch());
  eachPiece(pieces, 2 * queries * e.keys * maxOf(e.dim, 8), [&](int64_t from, int64_t to) {
    slots.with([&](T* memory) {
      for (int64_t i = from; i < to; ++i) {
        const auto next = f.pieceOf(i + 1);
        f.piece(f.pieceOf(i), i + 1 < to ? &next : nullptr, memory);
      }
    });
  });
}

// ---- backward ------------------------------------------------------------------------------------------
// P = exp(scale q k^T - lse), dP = g v^T, dS = P (dP - delta), delta_i = g_i y_i:
//   dv = P^T g, dk = scale dS^T q, dq = scale dS k. Scores are computed again, block by block.

template <class T>
struct Backward {
  using V = Vec<T>;
  Extents e;
  Heads<T> dq, dk, dv, g, y, q, k, v;
  const T* lse;  // contiguous
  T scale;
  int64_t keyBlock, queryBlock, ldk, ldd;

  // Beside these, dq of all queries where it is added up over the blocks of keys.
  int64_t scratch(int64_t ownQueries) const {
    return 2 * e.dim * ldk + 3 * keyBlock * ldd + queryBlock * (2 * ldd + 2 * ldk) + ownQueries * ldd;
  }

  struct Memory {
    T *kt, *vt, *ks, *dks, *dvs, *qs, *gs, *p, *ds, *dqs;
  };
  Memory cut(T* m) const {
    Memory r;
    r.kt = m;
    r.vt = r.kt + e.dim * ldk;
    r.ks = r.vt + e.dim * ldk;
    r.dks = r.ks + keyBlock * ldd;
    r.dvs = r.dks + keyBlock * ldd;
    r.qs = r.dvs + keyBlock * ldd;
    r.gs = r.qs + queryBlock * ldd;
    r.p = r.gs + queryBlock * ldd;
    r.ds = r.p + queryBlock * ldk;
    r.dqs = r.ds + queryBlock * ldk;
    return r;
  }

  // All of one head.
  void whole(int64_t b, int64_t h, T* memory) const {
    const Memory m = cut(memory);
    if (e.keys == 0) zero(m.dqs, e.queries * ldd);
    for (int64_t k0 = 0; k0 < e.keys; k0 += keyBlock) keysOf(b, h, k0, m, true);
    finish(m.dqs, dq.at(b, h), dq.time, e.queries, scale);
  }

  // dk and dv of a block of keys, over the queries in order; adds to dq of all queries where asked to.
  void keysOf(int64_t b, int64_t h, int64_t k0, const Memory& m, bool addQueries) const {
    const int64_t nk = minOf(keyBlock, e.keys - k0);
    packKeys(b, h, k0, nk, m);
    const int64_t first = e.causal ? k0 / queryBlock * queryBlock : 0;
    if (first >= e.queries) {  // no query sees these keys
      zero(m.dks, nk * ldd);
      zero(m.dvs, nk * ldd);
    }
    for (int64_t q0 = first; q0 < e.queries; q0 += queryBlock) {
      const int64_t nq = minOf(queryBlock, e.queries - q0);
      scores(b, h, q0, nq, k0, nk, m);
      packRows(q.at(b, h) + q0 * q.time, q.time, nq, e.dim, m.qs, ldd);
      packRows(g.at(b, h) + q0 * g.time, g.time, nq, e.dim, m.gs, ldd);
      overQueries(q0, nq, k0, nk, m.p, m.gs, m.dvs, q0 > first);
      overQueries(q0, nq, k0, nk, m.ds, m.qs, m.dks, q0 > first);
      if (addQueries) overKeys(q0, nq, k0, nk, m, m.dqs + q0 * ldd, k0 > 0);
    }
    finish(m.dks, dk.at(b, h) + k0 * dk.time, dk.time, nk, scale);
    finish(m.dvs, dv.at(b, h) + k0 * dv.time, dv.time, nk, T(1));
  }

  // dq of a block of queries, over the keys in order.
  void queriesOf(int64_t b, int64_t h, int64_t q0, const Memory& m) const {
    const int64_t nq = minOf(queryBlock, e.queries - q0);
    if (e.keys == 0) zero(m.dqs, nq * ldd);
    const int64_t last = visible(e, q0 + nq - 1, 0, e.keys);
    for (int64_t k0 = 0; k0 < last; k0 += keyBlock) {
      const int64_t nk = minOf(keyBlock, e.keys - k0);
      packKeys(b, h, k0, nk, m);
      scores(b, h, q0, nq, k0, nk, m);
      overKeys(q0, nq, k0, nk, m, m.dqs, k0 > 0);
    }
    finish(m.dqs, dq.at(b, h) + q0 * dq.time, dq.time, nq, scale);
  }

 private:
  // to [nk, D] (+)= of^T rows, from of [nq, nk] and rows [nq, D]. Of a block on the diagonal only the part that is
  // seen: zero times a NaN is no zero, and what a query doesn't see must not get into its gradients, nor theirs into
  // it.
  void overQueries(int64_t q0, int64_t nq, int64_t k0, int64_t nk, const T* of, const T* rows, T* to, bool add) const {
    if (visible(e, q0, k0, nk) == nk) return product<T>(nk, ldd, {nq, of, 1, ldk, rows, ldd, to, ldd, add});
    for (int64_t j = 0; j < nk; j += SmallTile::MR) {
      const int64_t n = minOf(SmallTile::MR, nk - j);
      // The first query that sees key j + r of the block; from `common` on they see all n.
      const auto from = [&](int64_t r) { return maxOf(0, minOf(nq, k0 + j + r - q0)); };
      const int64_t common = from(n - 1);
      product<T>(n, ldd,
                 {nq - common, of + common * ldk + j, 1, ldk, rows + common * ldd, ldd, to + j * ldd, ldd, add});
      for (int64_t r = 0; r + 1 < n; ++r)
        if (const int64_t i = from(r); i < common)
          product<T>(1, ldd,
                     {common - i, of + i * ldk + j + r, 1, ldk, rows + i * ldd, ldd, to + (j + r) * ldd, ldd, true});
    }
  }
  // dq [nq, D] (+)= dS k, the same.
  void overKeys(int64_t q0, int64_t nq, int64_t k0, int64_t nk, const Memory& m, T* to, bool add) const {
    if (visible(e, q0, k0, nk) == nk) return product<T>(nq, ldd, {nk, m.ds, ldk, 1, m.ks, ldd, to, ldd, add});
    for (int64_t i = 0; i < nq; i += SmallTile::MR) {
      const int64_t n = minOf(SmallTile::MR, nq - i), common = visible(e, q0 + i, k0, nk);
      product<T>(n, ldd, {common, m.ds + i * ldk, ldk, 1, m.ks, ldd, to + i * ldd, ldd, add});
      for (int64_t r = 1; r < n; ++r)
        if (const int64_t own = visible(e, q0 + i + r, k0, nk) - common; own > 0)
          product<T>(
              1, ldd,
              {own, m.ds + (i + r) * ldk + common, ldk, 1, m.ks + common * ldd, ldd, to + (i + r) * ldd, ldd, true});
    }
  }
  static void zero(T* p, int64_t n) {
    for (int64_t i = 0; i < n; ++i) p[i] = 0;
  }
  void finish(const T* from, T* to, int64_t stride, int64_t rows, T factor) const {
    const V f = V::broadcast(factor);
    for (int64_t r = 0; r < rows; ++r)
      eachVector<T>(e.dim,
                    [&](int64_t c, int lanes) { store(V::load(from + r * ldd + c) * f, to + r * stride + c, lanes); });
  }
  void packKeys(int64_t b, int64_t h, int64_t k0, int64_t nk, const Memory& m) const {
    packTransposed(k.at(b, h) + k0 * k.time, k.time, nk, e.dim, scale, m.kt, ldk);
    packTransposed(v.at(b, h) + k0 * v.time, v.time, nk, e.dim, T(1), m.vt, ldk);
    packRows(k.at(b, h) + k0 * k.time, k.time, nk, e.dim, m.ks, ldd);
  }

  // P and dS of a block.
  void scores(int64_t b, int64_t h, int64_t q0, int64_t nq, int64_t k0, int64_t nk, const Memory& m) const {
    const T *qr = q.at(b, h) + q0 * q.time, *gr = g.at(b, h) + q0 * g.time, *yr = y.at(b, h) + q0 * y.time;
    const T* sums = lse + (b * e.heads + h) * e.queries + q0;
    const int64_t end = padded<T>(nk);
    product<T>(nq, end, {e.dim, qr, q.time, 1, m.kt, ldk, m.p, ldk, false});
    product<T>(nq, end, {e.dim, gr, g.time, 1, m.vt, ldk, m.ds, ldk, false});
    for (int64_t i = 0; i < nq; ++i) {
      V dot = V::zero();
      eachVector<T>(e.dim, [&](int64_t c, int lanes) {
        dot = fma(load(gr + i * g.time + c, lanes), load(yr + i * y.time + c, lanes), dot);
      });
      const V delta = V::broadcast(reduceAdd(dot)), shift = V::broadcast(sums[i]);
      T *p = m.p + i * ldk, *ds = m.ds + i * ldk;
      for (int64_t j = visible(e, q0 + i, k0, nk); j < end; ++j) p[j] = -static_cast<T>(INFINITY);
      for (int64_t j = 0; j < end; j += V::N) {
        const V x = expScore(V::load(p + j) - shift);
        x.store(p + j);
        (x * (V::load(ds + j) - delta)).store(ds + j);
      }
      // Zero times a NaN ahead is no zero.
      for (int64_t j = visible(e, q0 + i, k0, nk); j < end; ++j) p[j] = ds[j] = T(0);
    }
  }
};

// dq [B, Q, H, D], dk, dv [B, K, H, D] <- g, y [B, Q, H, D], lse [B, H, Q], q, k, v
template <class T>
void attentionGrad(const Args& args) {
  const auto& p = args.as<AttentionParams>();
  const View &q = args.in[3], &k = args.in[4];
  const Extents e = extentsOf(q, k, p.causal != 0);
  const int64_t keys = blockOf(e.keys, kKeys, Vec<T>::N), queries = blockOf(e.queries, kGradQueries, SmallTile::MR);
  const Backward<T> f{e,
                      {args, args.out[0], false},
                      {args, args.out[1], false},
                      {args, args.out[2], false},
                      {args, args.in[0], true},
                      {args, args.in[1], true},
                      {args, q, true},
                      {args, k, true},
                      {args, args.in[5], true},
                      readRows<T>(args, args.in[2]).data,
                      static_cast<T>(p.scale),
                      keys,
                      queries,
                      padded<T>(keys),
                      padded<T>(e.dim)};
  const int64_t pairs = e.samples * e.heads, work = 5 * e.queries * e.keys * maxOf(e.dim, 8);
  if (pairs >= 8 || e.queries * e.keys <= kKeys * kKeys) {
    const Slots<T> slots(args, pairs, f.scratch(e.queries));
    eachPiece(pairs, work, [&](int64_t from, int64_t to) {
      slots.with([&](T* memory) {
        for (int64_t i = from; i < to; ++i) f.whole(i / e.heads, i % e.heads, memory);
      });
    });
  } else {
    // Few heads and long sequences: more pieces, for which scores are computed twice.
    const int64_t keyBlocks = ceilDiv(e.keys, keys), queryBlocks = ceilDiv(e.queries, queries);
    const int64_t each = keyBlocks + queryBlocks;
    const Slots<T> slots(args, pairs * each, f.scratch(queries));
    parallelFor(pairs * each, [&](int64_t i) {
      const int64_t b = i / each / e.heads, h = i / each % e.heads, block = i % each;
      slots.with([&](T* memory) {
        if (block < keyBlocks)
          f.keysOf(b, h, block * keys, f.cut(memory), false);
        else
          f.queriesOf(b, h, (block - keyBlocks) * queries, f.cut(memory));
      });
    });
  }
  f.dq.flush();
  f.dk.flush();
  f.dv.flush();
}

}  // namespace

void registerAttention(KernelTable& t) {
  t.set(Op::Attention, GYRUS_BY_TYPE(attention));
  t.set(Op::AttentionGrad, GYRUS_BY_TYPE(attentionGrad));
}

}  // namespace gyrus::cpu::GYRUS_ISA
