// Package bench measures the way of a sample from a device to the store, beside what this machine can do at all.
//
// Every process is one of its own, so that each one's CPU is known: the log, the store, the gateway and the sink as
// `muster process` runs them, the devices, and the floors. A floor is the least that the same work can cost: a bare
// HTTPS handler, a bare producer, and a loop that fetches, decodes and posts blocks made before. Floors and product
// take turns within one run, and what is told is the median.
//
// `make bench` runs it and prints one table; docs/benchmarks.md says how to read it. It holds no code of the product:
// all of it is in test files.
package bench
