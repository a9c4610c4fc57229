// Package scenarios is the library of scenarios, which is part of the program: `muster simulate list` shows it.
// docs/scenarios.md is the reference of what a scenario may say.
package scenarios

import "embed"

// Files are the scenarios, NAME.yaml each.
//
//go:embed *.yaml
var Files embed.FS
