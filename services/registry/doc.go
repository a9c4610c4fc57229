// Package registry is the root of the registry service; its README walks through its rooms in the order of the data.
package registry
