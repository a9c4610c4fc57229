package verbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"muster.dev/fleet/edge"
	"muster.dev/fleet/edge/local"
	"muster.dev/platform/daemon"
)

func edgeGateway(f *frame) *cobra.Command {
	var config string
	var check, dump bool
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Run an edge gateway, which keeps what local devices say and speaks for them upstream",
		Long: "It takes MQTT from local devices, keeps each message on its disk before it answers, and sends what it keeps to the gateway\n" +
			"with its own certificate, in the names of the devices that `muster device act-for` lets it speak for. docs/edge.md has a configuration.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := edge.DefaultConfig()
			args := []string{"--config", config}
			if check {
				args = append(args, "--check")
			}
			if dump {
				args = append(args, "--dump")
			}
			ctx, cancel := contextWithCancel(cmd)
			defer cancel()
			program := daemon.Program{
				Name: "edge", Version: f.Version, Config: &cfg,
				Run: func(ctx context.Context, p *daemon.Process) error { return edge.Run(ctx, p, cfg) },
			}
			if code := daemon.Execute(ctx, program, args, f.Out, f.Err); code != ExitOK {
				return exited(code)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "YAML `FILE`; MUSTER_<SECTION>_<KEY> in the environment overrides it")
	cmd.Flags().BoolVar(&check, "check", false, "validate the configuration and exit")
	cmd.Flags().BoolVar(&dump, "dump", false, "print the effective configuration and exit")
	_ = cmd.MarkFlagRequired("config") // fails for an unknown flag only
	cmd.AddCommand(edgePassword(f))
	return cmd
}

func edgePassword(f *frame) *cobra.Command {
	return &cobra.Command{
		Use:     "password NAME",
		Short:   "Read a password from standard input and print its line for an edge's password file",
		Example: `  head -c 24 /dev/urandom | base64 | tee boiler-7.password | muster edge password boiler-7 >> passwords`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if f.In == nil {
				return misuse{errors.New("the password is read from standard input")}
			}
			text, err := bufio.NewReader(io.LimitReader(f.In, 4<<10)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("reading the password: %w", err)
			}
			line, err := local.HashPassword(args[0], strings.TrimRight(text, "\r\n"))
			if err != nil {
				return misuse{err}
			}
			if f.json {
				return f.printJSON(map[string]string{"line": line})
			}
			_, err = fmt.Fprintln(f.Out, line)
			return err
		},
	}
}
