// Package statetest holds a detector's state to what every snapshot promises. It is for tests.
package statetest
