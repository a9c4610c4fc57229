// Package share counts what each of many holds of something limited, and says who is one of many: the connections of an
// address, of a device. What is counted over time (rates) or over all (budgets) does not belong here; each service judges
// that by its own measure.
package share
