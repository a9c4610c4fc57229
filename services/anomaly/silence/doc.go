// Package silence tells which cohorts have fallen silent, since when, and why.
//
// It has two parts, both pure folds in event time. Devices lives in a shard: it keeps 40 bytes a device, and at the end
// of each slot of a cohort says how many of its devices should have been heard, and were not. A sign of life is a record
// on the log, telemetry or events, and nothing that a transport does by itself. Cohorts lives in the judge: it adds up
// what the shards said, compares each cohort with its own past, and finds what silences have in common.
//
// The test is a tail of a beta-binomial beside three CUSUMs, with a share, an over-dispersion and an autocorrelation that
// each cohort teaches; below five devices, each device's own count of missed intervals. Measure plays months of it
// against a simple world, through the very same code.
//
// It never looks at a device's clock, and knows nothing of topics: package shard does.
package silence
