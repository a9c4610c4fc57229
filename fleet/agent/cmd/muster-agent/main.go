// Command muster-agent is Muster on a device: it enrols it, keeps its certificate, and takes readings on a socket to the
// gateway, through a ring on the disk. docs/agent.md is its manual.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: muster-agent VERB [flags]

  enrol                           get an identity: a key is made here, a certificate asked for
  run                             take readings and events, and send them
  put [metric value [time]]       give the running agent a reading, or the lines of standard input
  status                          how the running agent stands, in JSON
  version                         which agent this is

muster-agent VERB -h lists the flags of a verb.
`

// Exit codes beside 0 and 1.
const (
	exitUsage  = 2
	exitNobody = 3 // no agent runs that could be asked
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(code(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}

// code says what is wrong, and what the process ends with.
func code(err error, stderr io.Writer) int {
	var wrong *misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "muster-agent: %v\n", err)
		return exitUsage
	case errors.Is(err, errNobody):
		fmt.Fprintf(stderr, "muster-agent: %v\n", err)
		return exitNobody
	}
	fmt.Fprintf(stderr, "muster-agent: %v\n", err)
	return 1
}
