// Package decide holds the registry's rules as pure functions: Decide(state, now, command) says which events a command
// makes, State folds them. No clock of its own, no log and no network: what the registry would do is a table of tests.
//
// Refused, each as a *Refusal that names the member at fault: what is malformed, what contradicts the state, and
// what would pass a limit. A command that changes nothing makes no event, so every command is safe to repeat.
package decide
