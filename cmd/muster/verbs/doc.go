// Package verbs is the command line: `muster` noun verb. Each file is one noun.
//
// Contract: data goes to standard output, progress and complaints to standard error; --json makes the data one
// JSON document (or one document a line where the data is a stream); --data DIR names the local stack that is
// meant. An error is a sentence that says what is wrong, where, and what to do. Exit codes: ExitOK, ExitFailed,
// ExitUsage, ExitNoStack, ExitFinding.
//
// The verbs decide nothing that a service should decide: they ask the public interfaces like anybody else.
package verbs
