// Package retention is the root of the retention service; its README walks through its rooms in the order of the data.
package retention
