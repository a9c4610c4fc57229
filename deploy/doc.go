// Package deploy holds what a team runs in production's likeness and the tests that keep it true. It is a
// module of its own so that the Compose library stays out of every service.
package deploy
