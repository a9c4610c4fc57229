// Command muster is the local stack and the operator's commands in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"muster.dev/cmd/muster/verbs"
)

// version is set by the build.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		time.Sleep(time.Second) // make and a terminal both pass on the same Ctrl-C
		stop()                  // a second signal ends the process as it would without us
	}()
	os.Exit(verbs.Main(ctx, verbs.World{Version: version, Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
