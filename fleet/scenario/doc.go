// Package scenario reads scenario files: what a simulated fleet is, and what befalls it.
//
// In: YAML, from an operator. Out: plain data with its defaults filled in and its references resolved by name, or all
// that is wrong with the text in one list, each with line and column, the key's path, what is there and what to do.
//
// The types are the schema: a field's tag holds its key, its bounds and its default, its comment what it means.
// docs/scenarios.md is made from them. What a scenario does in time is not this package's concern.
package scenario
