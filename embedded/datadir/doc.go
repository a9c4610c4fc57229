// Package datadir gives a data directory to one process at a time: two engines on one directory overwrite each other.
//
// It knows nothing of what is in the directory.
package datadir
