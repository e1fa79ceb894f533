// Capture and replay: rebinding, ownership of buffers, constants, refusals.
#include "core_support.h"

using namespace gyrus;
using namespace gyrus::test;

TEST_CASE("graph: replays with other inputs") {
  TestDevice d;
  const double x = d.fill(0, 16, 1), other = d.fill(0, 16, 5);
  d.beginCapture({x});
  const double y = d.twice(x, 16), z = d.twice(y, 16);
  d.release(y);
  const std::shared_ptr<Graph> graph = d.endCapture();
  CHECK(graph->program()->calls() == 2);
  CHECK(d.first(z) == 4);
  d.replay(*graph, {other});
  CHECK(d.first(z) == 20);
  d.replay(*graph, {x});
  CHECK(d.first(z) == 4);
  const double small = d.alloc(32), big = d.alloc(128);
  CHECK(codeOf([&] { d.replay(*graph, {small}); }) == Code::Shape);
  d.replay(*graph, {big});
  CHECK(codeOf([&] { d.replay(*graph, {}); }) == Code::Config);
  CHECK(codeOf([&] { d.replay(*graph, {z}); }) == Code::Config);
  d.sync();
}

TEST_CASE("graph: owns what was allocated while recording, and keeps outside buffers alive") {
  TestDevice d;
  const double x = d.fill(0, 16, 1), weight = d.fill(0, 16, 3);
  d.sync();
  const std::size_t before = d.memory().bytesInUse;
  d.beginCapture({x});
  const double a = d.twice(x, 16);
  d.release(a);
  const double b = d.twice(weight, 16);  // takes a's place
  const std::shared_ptr<Graph> graph = d.endCapture();
  CHECK(d.memory().graphBytes == 64);
  d.release(weight);
  d.release(d.fill(0, 16, 99));  // must not land in the weight's memory
  d.replay(*graph, {x});
  CHECK(d.first(b) == 6);
  d.release(b);
  CHECK(d.memory().graphBytes == 64);
  graph->dispose();
  CHECK(d.memory().graphBytes == 0);
  CHECK(d.memory().bytesInUse == before - 64);
  CHECK(codeOf([&] { d.replay(*graph, {x}); }) == Code::Disposed);
}

TEST_CASE("graph: host data is replayed as a constant") {
  TestDevice d;
  const double x = d.fill(0, 16, 1);
  d.beginCapture({x});
  const double c = d.alloc(64);
  float v = 7;
  d.write(c, 0, &v, 4);
  const double y = d.twice(c, 16);
  const std::shared_ptr<Graph> graph = d.endCapture();
  v = 8;
  d.write(c, 0, &v, 4);
  d.replay(*graph, {x});
  CHECK(d.first(y) == 14);
}

TEST_CASE("graph: refusals, abort and replays that outlive the graph") {
  TestDevice d;
  const double x = d.fill(0, 16, -1);
  CHECK(codeOf([&] { d.endCapture(); }) == Code::Config);
  CHECK(codeOf([&] { d.beginCapture({x, x}); }) == Code::Config);
  d.beginCapture({x});
  CHECK(codeOf([&] { d.beginCapture({}); }) == Code::Config);
  CHECK(codeOf([&] { d.first(x); }) == Code::Config);
  const double kept = d.twice(x, 16);
  d.abortCapture();
  CHECK(d.first(kept) == -2);
  CHECK(d.memory().graphBytes == 0);
  d.beginCapture({x});
  const double y = d.twice(x, 16);
  std::shared_ptr<Graph> graph = d.endCapture();
  for (int i = 0; i < 5; ++i) d.replay(*graph, {x});
  graph->dispose();
  graph.reset();
  CHECK(d.first(y) == -2);
  // An error inside a replay names the op.
  d.beginCapture({x});
  d.release(d.broken(x, 16));
  graph = d.endCapture();
  CHECK_THROWS_AS(d.sync(), Error);
  d.replay(*graph, {x});
  CHECK_THROWS_WITH_AS(d.sync(), "copy: broken on purpose", Error);
  graph->dispose();
}
