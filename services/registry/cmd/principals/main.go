// Command principals gives the log its users and their rights, once, at the start of an installation.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"muster.dev/platform/daemon"
	"muster.dev/platform/principals"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("principals", flag.ContinueOnError)
	path := flags.String("config", "", "YAML `FILE`; MUSTER_<SECTION>_<KEY> in the environment overrides it")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return daemon.ExitUsage
	}
	cfg := principals.DefaultConfig()
	if err := daemon.Load(*path, &cfg, os.LookupEnv); err != nil {
		fmt.Fprintln(os.Stderr, "principals:", err)
		return daemon.ExitUsage
	}
	say := func(line string) { fmt.Fprintln(os.Stderr, "principals:", line) }
	if err := principals.Apply(ctx, cfg, say); err != nil {
		say(err.Error())
		return daemon.ExitFailed
	}
	return daemon.ExitOK
}
