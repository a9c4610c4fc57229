package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

type jobConfig struct {
	Word string `yaml:"word"`
}

func (c jobConfig) Validate() error {
	if c.Word == "" {
		return errors.New("word: is empty")
	}
	return nil
}

func TestAJobIsConfiguredDoneAndItsEndIsItsExitCode(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "job.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		args []string
		fail error
		code int
		says string
	}{
		"defaults":     {nil, nil, ExitOK, "job: does standing\n"},
		"a file":       {[]string{"--config", file("word: given")}, nil, ExitOK, "job: does given\n"},
		"a failure":    {nil, errors.New("the log is away"), ExitFailed, "job: does standing\njob: the log is away\n"},
		"an argument":  {[]string{"now"}, nil, ExitUsage, "job: unexpected argument \"now\"\n"},
		"a bad value":  {[]string{"--config", file("word: ''")}, nil, ExitUsage, "job: configuration: word: is empty\n"},
		"no such file": {[]string{"--config", "nowhere.yaml"}, nil, ExitUsage, "job: read configuration: open nowhere.yaml: no such file or directory\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			do := func(_ context.Context, cfg jobConfig, say func(string)) error {
				say("does " + cfg.Word)
				return c.fail
			}
			if code := ExecuteJob(t.Context(), "job", jobConfig{Word: "standing"}, do, c.args, &out); code != c.code || out.String() != c.says {
				t.Errorf("exit code %d, %q", code, out.String())
			}
		})
	}
	var out bytes.Buffer
	none := func(context.Context, jobConfig, func(string)) error { t.Error("done all the same"); return nil }
	if code := ExecuteJob(t.Context(), "job", jobConfig{}, none, []string{"--no-such-flag"}, &out); code != ExitUsage || out.Len() == 0 {
		t.Errorf("an unknown flag: exit code %d, %q", code, out.String())
	}
}
