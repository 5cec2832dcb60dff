import assert from "node:assert/strict";
import { test } from "node:test";
import { classOf, postage } from "../src/postage.js";

test("a parcel goes by the cheapest class that takes it", () => {
  assert.equal(classOf(20).name, "letter");
  assert.equal(classOf(999).name, "small");
  assert.equal(classOf(4200).name, "medium");
});

test("a class takes parcels of exactly its weight", () => {
  assert.equal(classOf(100).name, "letter");
  assert.equal(classOf(20000).name, "large");
});

test("from the fifth parcel on they cost half", () => {
  assert.equal(postage([50, 50, 50, 50]), 640);
  assert.equal(postage([50, 50, 50, 50, 50]), 720);
});
