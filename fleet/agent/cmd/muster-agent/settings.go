package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"muster.dev/fleet/agent"
	"muster.dev/fleet/agent/ring"
)

// settings are all that can be set, by flags, the environment and a file; in this order the first that says it holds.
type settings struct {
	agent.Config
	dir, config string
	socket      string
	stdin       bool
	wait        time.Duration
	level       slog.Level

	line, device, ca, pin, passwordFile string
	idevid, idevidKey                   string
	firmware, firmwareFile              string
}

const (
	defaultDir = "/var/lib/muster-agent"
	systemFile = "/etc/muster-agent.conf"
	dirFile    = "agent.conf" // in the directory
	envPrefix  = "MUSTER_AGENT_"
)

// misuse is a command line, a file or an environment that cannot be used.
type misuse struct{ error }

func (m *misuse) Unwrap() error { return m.error }

func (s *settings) flags(verb string) *flag.FlagSet {
	f := flag.NewFlagSet("muster-agent "+verb, flag.ContinueOnError)
	s.Config = agent.DefaultConfig()
	s.Identity, s.State = "", ""
	f.StringVar(&s.config, "config", "", "file of these settings, a line each: name = value (default DIR/agent.conf, else "+systemFile+")")
	f.StringVar(&s.dir, "dir", defaultDir, "directory of the agent")
	f.StringVar(&s.Identity, "identity", "", "directory of ca.pem, cert.pem and key.pem (default DIR)")
	f.StringVar(&s.State, "state", "", "directory of the ring and the counters (default DIR/state)")
	f.StringVar(&s.socket, "socket", "", "unix socket that readings are taken on (default DIR/socket)")
	f.BoolVar(&s.stdin, "stdin", false, "take readings on standard input too")
	f.DurationVar(&s.wait, "wait", 0, "how long put and status wait for an agent that is about to start")
	f.TextVar(&s.level, "log", slog.LevelInfo, "least level of the log: debug, info, warn or error")

	f.StringVar(&s.EST, "est", "", "the registry, as https://host:8444; without it the certificate is not renewed")
	f.StringVar(&s.line, "line", "", "product line's label, for enrol")
	f.StringVar(&s.device, "device", "", "name, for enrol with a one-time password")
	f.StringVar(&s.passwordFile, "password-file", "", "file of the one-time password, - for standard input; else "+envPrefix+"PASSWORD")
	f.StringVar(&s.ca, "ca", "", "file of the fleet's root certificate, for enrol")
	f.StringVar(&s.pin, "pin", "", "SHA-256 fingerprint of the fleet's root certificate, for enrol without its file")
	f.StringVar(&s.idevid, "idevid", "", "file of the manufacturer's certificate, for enrol without a password")
	f.StringVar(&s.idevidKey, "idevid-key", "", "file of its key")

	f.StringVar(&s.Send.Gateway, "gateway", s.Send.Gateway, "the gateway, as https://host:8443")
	f.DurationVar(&s.Send.Timeout, "timeout", s.Send.Timeout, "of one message's attempt")
	f.Var((*size)(&s.Ring.Bytes), "ring-bytes", "what the ring may take on the disk, as 64MiB")
	f.Func("ring-order", "oldest-first, or newest-first: what is sent first after an outage (default oldest-first)", func(v string) (err error) {
		s.Ring.Order, err = ring.ParseOrder(v)
		return err
	})
	f.DurationVar(&s.Ring.Sync, "ring-sync", s.Ring.Sync, "0s: every message is on the disk at once; else within this time, which spares flash")
	f.DurationVar(&s.BatchAge, "batch-age", s.BatchAge, "how long a reading waits for others in memory")
	f.IntVar(&s.BatchValues, "batch-values", s.BatchValues, "most readings of a message")
	f.IntVar(&s.BatchBytes, "batch-bytes", s.BatchBytes, "about the most bytes of a message")
	f.DurationVar(&s.Heartbeat, "heartbeat", s.Heartbeat, "between heartbeats; 0s for none")
	f.StringVar(&s.Crashes, "crashes", "", "directory that programs drop crash reports into")
	f.StringVar(&s.Errors, "errors", s.Errors, "log whose errors are told: /dev/kmsg, a file, or nothing")
	f.StringVar(&s.firmware, "firmware", "", "version of the firmware that runs")
	f.StringVar(&s.firmwareFile, "firmware-file", "", "file whose first line is that version")
	return f
}

// load reads the settings of a verb and gives what stands behind its flags.
func load(verb string, args []string, env func(string) string, stderr io.Writer) (*settings, []string, error) {
	s := &settings{}
	f := s.flags(verb)
	f.SetOutput(stderr)
	if err := f.Parse(args); err != nil {
		return nil, nil, &misuse{err}
	}
	said := map[string]bool{}
	f.Visit(func(o *flag.Flag) { said[o.Name] = true })
	set := func(name, value, where string) error {
		if said[name] {
			return nil
		}
		if err := f.Set(name, value); err != nil {
			return &misuse{fmt.Errorf("%s: %s: %w", where, name, err)}
		}
		return nil
	}
	var wrong error
	fromEnv := map[string]bool{}
	f.VisitAll(func(o *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
		if v := env(name); v != "" {
			wrong = errors.Join(wrong, set(o.Name, v, name))
			fromEnv[o.Name] = true
		}
	})
	for name := range fromEnv {
		said[name] = true
	}
	if wrong == nil {
		wrong = s.file(f, set)
	}
	if wrong != nil {
		return nil, nil, wrong
	}
	for path, name := range map[*string]string{&s.Identity: "", &s.State: "state", &s.socket: "socket"} {
		if *path == "" {
			*path = filepath.Join(s.dir, name)
		}
	}
	return s, f.Args(), nil
}

// file reads the settings' file. One that was named must be there.
func (s *settings) file(f *flag.FlagSet, set func(name, value, where string) error) error {
	names := []string{s.config}
	if s.config == "" {
		names = []string{filepath.Join(s.dir, dirFile), systemFile}
	}
	for _, name := range names {
		r, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && s.config == "" {
			continue
		}
		if err != nil {
			return &misuse{err}
		}
		defer r.Close()
		return readFile(r, name, f, set)
	}
	return nil
}

func readFile(r io.Reader, name string, f *flag.FlagSet, set func(name, value, where string) error) error {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		where := fmt.Sprintf("%s:%d", name, n)
		key, value, ok := strings.Cut(text, "=")
		key = strings.TrimSpace(key)
		if !ok || f.Lookup(key) == nil || key == "config" {
			return &misuse{fmt.Errorf("%s: %q: want name = value, with a name that muster-agent run -h lists", where, text)}
		}
		if err := set(key, strings.TrimSpace(value), where); err != nil {
			return err
		}
	}
	return lines.Err()
}

// size reads 65536, 64KiB, 64MiB or 1GiB.
type size int64

func (s *size) String() string { return strconv.FormatInt(int64(*s), 10) }

func (s *size) Set(text string) error {
	digits, shift := text, 0
	for unit, n := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if d, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = d, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > 1<<20 && shift > 0 || n > 1<<40 {
		return fmt.Errorf("size %q: want bytes, or KiB, MiB, GiB", text)
	}
	*s = size(n << shift)
	return nil
}
